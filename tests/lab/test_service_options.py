"""What options say of services: nodes whose agents are started anew with them, with the socket hooks and without."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import agents, cluster, site, use
from lab.addresses import SERVICES4, SERVICES6, at_once
from lab.cluster import Cluster
from lab.machine import Machine
from lab.manifests import Object
from lab.site import Options
from lab.use import Client
from tests.behaviours import shows
from tests.lab import modes
from tests.lab.conftest import dropped

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
WHO = pytest.mark.parametrize("who", ["a pod", "the node", "the outside"])
UNTAKEN = (str(SERVICES4[0xF007]), str(SERVICES6[0xF007]))
SECOND = ("10.99.0.1", "fd99::1")  # of n1
LOOPBACK = ("127.0.0.1", "::1")
SERVICE = """
kind: Service
metadata: {name: echo}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: echo}
  ports: [{name: tcp, port: 80, targetPort: 8080}, {name: udp, port: 80, targetPort: 8080, protocol: UDP}]
"""
SERVERS = frozenset({"web1", "web2"})
OFTEN = 30  # that one of two backends gets none of them has a chance of 1 in 500 million


@dataclass(frozen=True, slots=True)
class Nodes:
    """Two nodes with a server and a client each, of which n1 has second addresses, and a service."""

    cluster: Cluster
    pods: dict[str, Client]  # by node, to ask from
    service: Object

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
        (service,) = found.apply(SERVICE)
        for number, node in enumerate(found.site.node_names, start=1):
            use.serve(found, f"web{number}", node, {"app": "echo"})
        pods = {node: use.idle(found, f"asking-{node}", node) for node in found.site.node_names}
        first = found.site.machine("n1")
        for address, bits, via in zip(SECOND, (32, 128), first.addresses, strict=True):
            first.run("ip", "address", "add", f"{address}/{bits}", "dev", "lo", *at_once(address))
            found.site.outside.run("ip", "route", "replace", address, "via", str(via))
        yield Nodes(found, pods, service)
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
@WHO
def test_a_cluster_ip_that_no_service_has_is_refused(ranged: Nodes, kind: str, family: int, who: str) -> None:
    assert ranged.asking(who).ask(kind, UNTAKEN[family], 80).is_refused


@FAMILIES
@WHO
def test_nobody_answers_an_echo_there(ranged: Nodes, family: int, who: str) -> None:
    node, asking = ranged.machine("n1"), ranged.asking(who)
    before = dropped(node, "no_service_silent")
    argv = ["ping", "-n", "-c", "1", "-W", "0.2", UNTAKEN[family]]
    asking.machine.run(*argv, check=False, context=asking.context)
    assert dropped(node, "no_service_silent") == before + 1


@dataclass(frozen=True, slots=True)
class WithNodePorts:
    """Where node ports are on nodes whose agents were told so."""

    nodes: Nodes
    at: frozenset[str]

    def ask(self, who: str, kind: str, address: str) -> None:
        """Ask for the node port there: every backend answers, or the node refuses."""
        port = self.nodes.service["spec"]["ports"][0]["nodePort"]
        asking = self.nodes.asking(who)
        if address in self.at:
            seen = asking.ask(kind, address, port, OFTEN)
            assert (seen.names, seen.errors) == (SERVERS, {})
        else:
            assert asking.ask(kind, address, port).is_refused


EVERYWHERE, PRIMARY, SOME = "", "primary", "10.99.0.0/24,127.0.0.0/8,fd99::/64,::1/128"


@pytest.fixture(
    scope="module",
    params=[(given, hooks) for hooks in ("on", "off") for given in (EVERYWHERE, PRIMARY, SOME)],
    ids=[f"{name}, {hooks}" for hooks in ("with hooks", "without") for name in ("everywhere", "primary", "some")],
)
def node_ports(made: Nodes, request: pytest.FixtureRequest) -> WithNodePorts:
    """Nodes with node ports at all their addresses, at the first of each family, or at others than those."""
    given, hooks = request.param
    made.start(f"--socket-lb={hooks}", *([f"--nodeport-addresses={given}"] if given else []))
    primary = frozenset(map(str, made.machine("n1").addresses))
    some = frozenset((*SECOND, *LOOPBACK))
    return WithNodePorts(made, {EVERYWHERE: primary | some, PRIMARY: primary, SOME: some}[given])


@KINDS
@FAMILIES
@WHO
def test_node_ports_are_at_the_first_address_where_they_are_to_be(
    node_ports: WithNodePorts, kind: str, family: int, who: str
) -> None:
    node_ports.ask(who, kind, str(node_ports.nodes.machine("n1").addresses[family]))


@KINDS
@FAMILIES
@WHO
def test_node_ports_are_at_another_address_where_they_are_to_be(
    node_ports: WithNodePorts, kind: str, family: int, who: str
) -> None:
    node_ports.ask(who, kind, SECOND[family])


@KINDS
@shows("40 139 loopback", FAMILIES)
def test_the_node_finds_node_ports_at_loopback_where_they_are_to_be(
    node_ports: WithNodePorts, kind: str, family: int
) -> None:
    node_ports.ask("the node", kind, LOOPBACK[family])


@KINDS
@FAMILIES
def test_a_pods_loopback_is_its_own(node_ports: WithNodePorts, kind: str, family: int) -> None:
    port = node_ports.nodes.service["spec"]["ports"][0]["nodePort"]
    assert node_ports.nodes.asking("a pod").ask(kind, LOOPBACK[family], port).is_refused


@dataclass(frozen=True, slots=True)
class Seeing:
    """Services whose backends say how they see who asks, on nodes whose agents were told to masquerade all of it."""

    nodes: Nodes
    services: dict[str, Object]  # by the backend's node


@pytest.fixture(scope="module")
def seeing(made: Nodes) -> dict[str, Object]:
    """The services."""
    return {node: modes.serve(made.cluster, f"seeing-{node}", node, modes.PORT)[1] for node in made.pods}


@pytest.fixture(scope="module", params=["on", "off"], ids=["with hooks", "without"])
def masqueraded(made: Nodes, seeing: dict[str, Object], request: pytest.FixtureRequest) -> Seeing:
    """Agents with the option."""
    made.start(f"--socket-lb={request.param}", "--masquerade-all=on")
    return Seeing(made, seeing)


@FAMILIES
@pytest.mark.parametrize("node", [pytest.param("n1", id="a backend here"), pytest.param("n2", id="one elsewhere")])
def test_a_backend_sees_the_node_in_place_of_a_pod_where_all_is_masqueraded(
    masqueraded: Seeing, family: int, node: str
) -> None:
    target = (masqueraded.services[node]["spec"]["clusterIPs"][family], 80)
    seen = modes.both(masqueraded.nodes.asking("a pod"), target)
    assert seen == {str(masqueraded.nodes.machine("n1").addresses[family])}
