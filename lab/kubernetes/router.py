"""Stands for a cloud's load balancer: routes each balanced address to the nodes that are to have it. Run as a script.

An address leads to every node, with externalTrafficPolicy Local to those whose health-check node port says that they
have an endpoint. Connections are spread over them; with client affinity a client's way is one node.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from agent.kube.client import TROUBLE, Client, Refused, connect

PERIOD_S = 0.5
PATIENCE_S = 5.0
UPLINK = "eth0"

Routes = Mapping[str, str]  # the rest of the line, by address
IsWell = Callable[[str, int], bool]  # what a node says at a port


def main(kubeconfig: str, far: str, *nodes: str) -> None:
    """Run until it is ended. *far* are the client's addresses, *nodes* each node's: IPv4 and IPv6 with a comma."""
    client, there = Client(partial(connect, Path(kubeconfig))), dict[str, str]()
    families = list(zip(*(node.split(",") for node in nodes), strict=True))
    while True:
        try:
            found = json.loads(client.send("GET", "/api/v1/services", None, "", PATIENCE_S))
        except (Refused, *TROUBLE) as error:
            print(f"Services are not listed: {error}", flush=True)
        else:
            wanted = dict(routes(found["items"], far.split(","), families, _is_well))
            _apply(there, wanted)
            there = wanted
        time.sleep(PERIOD_S)


def routes(
    services: Sequence[Any], far: Sequence[str], families: Sequence[Sequence[str]], is_well: IsWell
) -> Iterator[tuple[str, str]]:
    """The route of each balanced address; *families* are the nodes' addresses, IPv4's and IPv6's."""
    for service in services:
        for entry in service["status"]["loadBalancer"].get("ingress", ()):
            index = 0 if ip_address(entry["ip"]).version == 4 else 1  # noqa: PLR2004  of IP
            nodes = _nodes(service["spec"], families[index], is_well)
            yield entry["ip"], " ".join([f"src {far[index]}", *(f"nexthop via {one} dev {UPLINK}" for one in nodes)])


def _nodes(spec: Any, nodes: Sequence[str], is_well: IsWell) -> Sequence[str]:
    """Those that have an endpoint, all where none says so: these drop what comes."""
    fit = nodes
    if port := spec.get("healthCheckNodePort"):
        with ThreadPoolExecutor() as pool:
            answers = pool.map(lambda node: is_well(node, port), nodes)
            fit = [node for node, answer in zip(nodes, answers, strict=True) if answer] or nodes
    return fit[:1] if spec.get("sessionAffinity") == "ClientIP" else fit


def _is_well(node: str, port: int) -> bool:
    connection = HTTPConnection(node, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _apply(there: Routes, wanted: Routes) -> None:
    lines = [f"route del {address}" for address in there.keys() - wanted.keys()]
    lines += [f"route replace {address} {way}" for address, way in wanted.items() if there.get(address) != way]
    if lines:
        print("; ".join(lines), flush=True)
        subprocess.run(["ip", "-force", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
