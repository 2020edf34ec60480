"""What options say of services: nodes whose agents are started anew with them, with the socket hooks and without."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import agents, cluster, site, use
from lab.addresses import SERVICES4, SERVICES6
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from lab.use import Client
from tests.lab.conftest import dropped, is_refused

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
UNTAKEN = (str(SERVICES4[0xF007]), str(SERVICES6[0xF007]))


@dataclass(frozen=True, slots=True)
class Nodes:
    """Two nodes."""

    cluster: Cluster
    pods: dict[str, Client]  # by node, to ask from

    @property
    def outside(self) -> Client:
        """A host that is no node."""
        return use.host(self.cluster.site.outside)

    def machine(self, name: str) -> Machine:
        """A node."""
        return self.cluster.site.machine(name)

    def asking(self, who: str) -> Client:
        """Somebody on n1, or outside with a route by n1."""
        return {"a pod": self.pods["n1"], "the node": use.host(self.machine("n1")), "the outside": self.outside}[who]

    def start(self, *flags: str) -> None:
        """Other agents in place of the last ones."""
        for node in self.cluster.site.nodes:
            agents.stop(node)
            agents.start_again(node, flags=flags)
        for node in self.cluster.site.nodes:
            agents.wait(node)


@pytest.fixture(scope="module")
def made() -> Iterator[Nodes]:
    """Without any of the options yet."""
    name = f"swlab-options-{os.getpid()}"
    try:
        found = cluster.up(name, Options(nodes=2), print)
        yield Nodes(found, {node: use.idle(found, f"asking-{node}", node) for node in found.site.node_names})
    finally:
        site.remove(name)


@pytest.fixture(scope="module", params=["on", "off"], ids=["with hooks", "without"])
def ranged(made: Nodes, request: pytest.FixtureRequest) -> Nodes:
    """Nodes that know of which ranges cluster IPs are taken."""
    made.start(f"--socket-lb={request.param}", f"--service-cidrs={SERVICES4},{SERVICES6}")
    via = made.machine("n1").addresses
    for family, address in enumerate(UNTAKEN):
        made.outside.machine.run("ip", "route", "replace", address, "via", str(via[family]))
    return made


@KINDS
@FAMILIES
@pytest.mark.parametrize("who", ["a pod", "the node", "the outside"])
def test_a_cluster_ip_that_no_service_has_is_refused(ranged: Nodes, kind: str, family: int, who: str) -> None:
    assert is_refused(ranged.asking(who).ask(kind, UNTAKEN[family], 80))


@FAMILIES
@pytest.mark.parametrize("who", ["a pod", "the node", "the outside"])
def test_nobody_answers_an_echo_there(ranged: Nodes, family: int, who: str) -> None:
    node, asking = ranged.machine("n1"), ranged.asking(who)
    before = dropped(node, "no_service_silent")
    argv = ["ping", "-n", "-c", "1", "-W", "0.2", UNTAKEN[family]]
    asking.machine.run(*argv, check=False, context=asking.context)
    assert dropped(node, "no_service_silent") == before + 1
