"""While pods come and go and agents die, start and change their maps, not one datagram of anybody else is lost."""

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab import agents, cluster, site, use
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from lab.use import Client
from tests.lab.modes import PORT, PROBE, addresses, serve

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

SEQUENCE = (sys.executable, "-I", "-S", str(Path(__file__).with_name("sequence.py")))
LEAST = 1000  # datagrams to each target; 200 a second, while agents start three times
MOVED_S = 2.5  # after which a pod's programs have moved to tcx
MODES = {
    "native": Options(nodes=2, socket_lb=False),
    "vxlan": Options(nodes=2, encapsulation="vxlan"),
}


@pytest.fixture(params=MODES)
def made(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    name = f"swlab-lossless-{os.getpid()}"
    try:
        yield cluster.up(name, MODES[request.param], print)
    finally:
        site.remove(name)


def test_no_datagram_is_lost_whatever_pods_and_agents_do(made: Cluster) -> None:
    nodes = made.site.nodes
    direct, services, node_ports = [], [], []
    for node in nodes:
        item, service = serve(made, f"at-{node.name}", node.name, PORT)
        direct += [(ip, PORT) for ip in addresses(item)]
        services += [(ip, 80) for ip in service["spec"]["clusterIPs"]]
        node_ports += [(str(ip), service["spec"]["ports"][0]["nodePort"]) for ip in node.addresses]
    for machine in (made.site.outside, *nodes):
        machine.daemon("probe", [*PROBE, "serve", str(PORT)])
        direct += [(str(ip), PORT) for ip in machine.addresses]
    asking = [
        (use.idle(made, "asking", "n1"), direct + services),
        (use.host(nodes[0]), direct + services),
        (use.host(made.site.outside), node_ports),
    ]
    enough = made.site.folder / "enough"
    with ThreadPoolExecutor() as pool:
        exchanges = [pool.submit(exchange, client, enough, targets) for client, targets in asking]
        try:
            disturb(made, *nodes)
        finally:
            enough.touch()
        seen = [exchanged.result() for exchanged in exchanges]
    assert [found["missing"] for found in seen] == [{}, {}, {}]
    assert min(found["sent"] for found in seen) > LEAST


def exchange(asking: Client, enough: Path, targets: list[tuple[str, int]]) -> dict[str, Any]:
    """What the script saw."""
    argv = [*SEQUENCE, str(enough), *(str(word) for target in targets for word in target)]
    found: dict[str, Any] = json.loads(asking.machine.run(*argv, context=asking.context).stdout)
    return found


def disturb(made: Cluster, first: Machine, second: Machine) -> None:
    """All that happens on nodes every day, one after the other."""
    made.run("passing", first.name, ["sleep", "infinity"])
    time.sleep(MOVED_S)
    made.delete("passing")
    agents.kill(first)
    restart(first)
    agents.stop(second)
    restart(second)
    agents.stop(first)
    restart(first, "--max-services=70000")  # which makes a generation beside the one in use


def restart(node: Machine, *flags: str) -> None:
    """An agent again."""
    agents.start_again(node, flags=flags)
    agents.wait(node)
