"""Clusters that the tests share: three nodes each, with the socket hook and without, and what runs on them."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import cluster, site, use
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from lab.use import Client

SERVICES = Path(__file__).with_name("services.yaml")
NAME = "swlab-test"
BACKENDS = frozenset({"web1", "web2", "web3"})
OFTEN = 50  # that one of three backends gets none of them has a chance of 1 in 200 million


@dataclass(frozen=True, slots=True)
class Echo:
    """A cluster with a server on every node, and a pod on n1 to ask from."""

    cluster: Cluster
    asking: Client
    other: Client  # another pod of n1: its flows to other nodes' ports share no key with those of `asking`
    services: dict[str, Any]  # by name, as they are stored
    pods: dict[str, Any]

    @property
    def outside(self) -> Client:
        """A host that is no node."""
        return use.host(self.cluster.site.outside)

    def node(self, name: str) -> Client:
        """A node itself."""
        return use.host(self.cluster.site.machine(name))

    def ips(self, service: str) -> list[str]:
        """A service's cluster addresses, IPv4 first."""
        found: list[str] = self.services[service]["spec"]["clusterIPs"]
        return found

    def pod_ips(self, pod: str) -> list[str]:
        """A pod's addresses, IPv4 first."""
        return [ip["ip"] for ip in self.pods[pod]["status"]["podIPs"]]

    def node_port(self, service: str) -> int:
        """The node port of a service's first port."""
        return int(self.services[service]["spec"]["ports"][0]["nodePort"])


def held_by_sockets(node: Machine) -> int:
    """How many services the open sockets of a node and its pods are known to have asked."""
    rows = json.loads(node.run(str(Path(sys.prefix) / "bin" / "dpctl"), "map", "list", "-o", "json").stdout)
    return next(int(row["used"]) for row in rows if row["name"] == "sock_peers")


def dropped(machine: Machine, reason: str) -> int:
    """The packets that a node has dropped for a reason."""
    rows = json.loads(machine.run(str(Path(sys.prefix) / "bin" / "dpctl"), "status", "-o", "json").stdout)
    return sum(row["packets"] for row in rows if row["about"] == "traffic" and row["reason"] == reason)


def _lab(kind: str, options: Options) -> Iterator[Cluster]:
    for folder in site.STATE.glob(f"{NAME}-{kind}-*"):
        if not Path("/proc", folder.name.rpartition("-")[2]).exists():
            site.remove(folder.name)  # of a run that was killed
    name = f"{NAME}-{kind}-{os.getpid()}"  # two checkouts may be tested at once
    try:
        yield cluster.up(name, options, print)
    finally:
        site.remove(name)


@pytest.fixture(scope="session")
def lab3() -> Iterator[Cluster]:
    """Three nodes, standalone."""
    yield from _lab("socket", Options())


@pytest.fixture(scope="session")
def lab3_tc() -> Iterator[Cluster]:
    """Three nodes without the socket hook: every packet to a service is translated at tc."""
    yield from _lab("tc", Options(socket_lb=False))


def _echo(made: Cluster) -> Echo:
    services = {item["metadata"]["name"]: item for item in made.apply(SERVICES.read_text())}
    pods = {f"web{n}": use.serve(made, f"web{n}", f"n{n}", {"app": "echo", "at": f"n{n}"}) for n in (1, 2, 3)}
    return Echo(made, use.idle(made, "asking", "n1"), use.idle(made, "other", "n1"), services, pods)


@pytest.fixture(scope="session")
def echo_socket(lab3: Cluster) -> Echo:
    """Servers on the cluster with the socket hook."""
    return _echo(lab3)


@pytest.fixture(scope="session")
def echo_tc(lab3_tc: Cluster) -> Echo:
    """Servers on the cluster without it."""
    return _echo(lab3_tc)


@pytest.fixture(params=["socket", "tc"])
def echo(request: pytest.FixtureRequest) -> Echo:
    """Each of the two in turn."""
    found: Echo = request.getfixturevalue(f"echo_{request.param}")
    return found
