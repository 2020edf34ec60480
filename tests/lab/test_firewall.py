"""The cluster's traffic passes a host that forwards nothing, and drops what its conntrack calls invalid."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import agents, cluster, site, use
from lab.addresses import ROUTER
from lab.cluster import Cluster
from lab.machine import ExecContext, Machine
from lab.pods import Port
from lab.site import Options
from lab.use import Client
from tests.lab.modes import ON_HOST, OVER_MTU, PORT, PROBE, addresses, ask, ping

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

WIDER = 2000
PATH_MTU = (sys.executable, "-I", "-S", str(Path(__file__).with_name("path_mtu.py")))
WRITTEN = 20_000  # octets
DATAGRAM = 1000
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
# each with the flags that the agents are started again with
LABS = {
    "native": (Options(nodes=2), ()),
    "native without socket programs": (Options(nodes=2, socket_lb=False), ()),
    "native without masquerading": (Options(nodes=2, socket_lb=False), ("--masquerade=off",)),
    "vxlan": (Options(nodes=2, socket_lb=False, subnets=2, encapsulation="vxlan"), ()),
    "geneve": (Options(nodes=2, socket_lb=False, subnets=2, encapsulation="geneve"), ()),
    "ipip": (Options(nodes=2, socket_lb=False, subnets=2, encapsulation="ipip"), ()),
    "ipip across subnets": (Options(nodes=2, socket_lb=False, encapsulation="ipip", cross_subnet=True), ()),
}
# what a host behind Docker, ufw or firewalld has; the counters say what met it
FIREWALL = """
table inet strict {
  counter invalid {}
  counter forwarded {}
  chain input {
    type filter hook input priority filter; policy accept;
    ct state invalid counter name invalid drop
    ct state established,related accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid counter name invalid drop
    counter name forwarded
  }
  chain output {
    type filter hook output priority filter; policy accept;
    ct state invalid counter name invalid drop
  }
}
"""
BOX = (("172.31.0.1", "172.31.0.2"), ("fd77::1", "fd77::2"))  # the node's addresses there, and the box's
SERVICE = """
kind: Service
metadata: {{name: {called}}}
spec:
  type: NodePort
  selector: {{app: {called}}}
  externalIPs: ["{external4}", "{external6}"]
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: tcp, port: 80, targetPort: {port}, nodePort: {node_port}}},
          {{name: udp, port: 80, targetPort: {port}, protocol: UDP, nodePort: {node_port}}}]
"""
MTUS = {"native": 1500, "vxlan": 1450, "geneve": 1450, "ipip": 1480}
BACKENDS = ("pod on n1", "pod on n2", "host pod on n1", "host pod on n2")  # in the order of their services' addresses


@dataclass(frozen=True, slots=True)
class Walled:
    """Two nodes behind firewalls, with a server in a pod of each, in one on its network, on each node and outside."""

    cluster: Cluster
    flags: tuple[str, ...]
    asking: Client  # in a pod on n1
    own: list[str]  # its addresses
    pods: dict[str, list[str]]  # addresses by backend
    cluster_ips: dict[str, list[str]]  # by backend

    def machine(self, name: str) -> Machine:
        """A machine by its name."""
        return self.cluster.site.machine(name)

    def node(self, name: str, family: int) -> str:
        """A machine's address."""
        return str(self.machine(name).addresses[family])

    def client(self, who: str) -> Client:
        """Who asks."""
        return {"a pod": self.asking, "the node": use.host(self.machine("n1"))}.get(who) or use.host(
            self.cluster.site.outside
        )

    @property
    def is_masqueraded(self) -> bool:
        """Whether pods go outside under their node's address."""
        return "--masquerade=off" not in self.flags

    @property
    def mtu(self) -> int:
        """What the way to another node's pods carries."""
        return (
            MTUS[self.cluster.site.options.encapsulation] if self.cluster.site.options.subnets > 1 else MTUS["native"]
        )

    @property
    def is_native(self) -> bool:
        """Whether the network between knows the pods."""
        return self.cluster.site.options.encapsulation == "native"

    def forget_neighbours(self) -> None:
        """Have the nodes know nobody on their links."""
        for machine in self.cluster.site.nodes:
            machine.run("ip", "neigh", "flush", "dev", "eth0")  # of both families

    def met(self) -> dict[str, int]:
        """What the firewalls' chains have counted, by node and counter."""
        found: dict[str, int] = {}
        for machine in self.cluster.site.nodes:
            words = machine.run("nft", "list", "counters").stdout.split()
            names = [words[i + 1] for i, word in enumerate(words) if word == "counter"]
            counts = [int(words[i + 1]) for i, word in enumerate(words) if word == "packets"]
            found |= {f"{machine.name} {name}": n for name, n in zip(names, counts, strict=True)}
        return found


def external(index: int) -> tuple[str, str]:
    """The external addresses of a backend's service."""
    return f"192.0.2.{index + 1}", f"2001:db8::{index + 1}"


def node_port(index: int) -> int:
    """The node port of a backend's service."""
    return 30100 + index


@pytest.fixture(scope="module", params=LABS)
def walled(request: pytest.FixtureRequest) -> Iterator[Walled]:
    options, flags = LABS[request.param]
    name = f"swlab-wall-{os.getpid()}"
    try:
        yield _filled(cluster.up(name, options, print), flags)
    finally:
        site.remove(name)


def _filled(made: Cluster, flags: tuple[str, ...]) -> Walled:
    if flags:
        for node in made.site.nodes:
            agents.stop(node)
            agents.start_again(node, flags=flags)
        for node in made.site.nodes:
            agents.wait(node)
    pods, cluster_ips = {}, {}
    for index, called in enumerate(BACKENDS):
        label, on_host = called.replace(" ", "-"), called.startswith("host")
        port = ON_HOST if on_host else PORT
        four, six = external(index)
        text = SERVICE.format(called=label, port=port, external4=four, external6=six, node_port=node_port(index))
        (service,) = made.apply(text)
        ports = (Port("tcp", port), Port("udp", port, "UDP"))
        command = [*PROBE, "serve", str(port)]
        item = made.run(label, called[-2:], command, labels={"app": label}, ports=ports, host_network=on_host)
        pods[called], cluster_ips[called] = addresses(item), service["spec"]["clusterIPs"]
    for machine in (made.site.outside, *made.site.nodes):
        machine.daemon("probe", [*PROBE, "serve", str(PORT)])
    asking = made.run("asking", "n1", ["sleep", "infinity"])
    for machine in (made.site.outside, made.site.machine(ROUTER)):
        for index in range(len(BACKENDS)):
            for address, via in zip(external(index), made.site.machine("n1").addresses, strict=True):
                machine.run("ip", "route", "replace", address, "via", str(via))
    for machine in made.site.nodes:
        machine.run("nft", "-f", "-", stdin=FIREWALL)
    return Walled(made, flags, use.client(made, asking), addresses(asking), pods, cluster_ips)


def passes(walled: Walled, who: str, target: tuple[str, int]) -> set[str]:
    """How servers see the client, over TCP and UDP, each to neighbours that are not known; nothing met the firewall."""
    before, asking = walled.met(), walled.client(who)
    seen = set()
    for kind, size in (("udp", DATAGRAM), ("tcp", WRITTEN)):
        walled.forget_neighbours()
        seen.add(ask(asking, kind, size, target))
    assert walled.met() == before
    return seen


@FAMILIES
@pytest.mark.parametrize("who", ["a pod", "the node"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_is_reached_directly(walled: Walled, who: str, backend: str, family: int) -> None:
    port = ON_HOST if backend.startswith("host") else PORT
    seen = passes(walled, who, (walled.pods[backend][family], port))
    assert seen == {walled.own[family] if who == "a pod" else walled.node("n1", family)}


@FAMILIES
@pytest.mark.parametrize("who", ["a pod", "the node"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_service_is_reached(walled: Walled, who: str, backend: str, family: int) -> None:
    seen = passes(walled, who, (walled.cluster_ips[backend][family], 80))
    assert seen == {walled.own[family] if who == "a pod" else walled.node("n1", family)}


@FAMILIES
@pytest.mark.parametrize("who", ["a pod", "the node", "the outside"])
@pytest.mark.parametrize("node", ["n1", "n2"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_node_port_is_reached(walled: Walled, who: str, node: str, backend: str, family: int) -> None:
    assert passes(walled, who, (walled.node(node, family), node_port(BACKENDS.index(backend))))


@FAMILIES
@pytest.mark.parametrize("who", ["a pod", "the node", "the outside"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_external_address_is_reached(walled: Walled, who: str, backend: str, family: int) -> None:
    assert passes(walled, who, (external(BACKENDS.index(backend))[family], 80))


@FAMILIES
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_pod_reaches_a_node(walled: Walled, node: str, family: int) -> None:
    assert passes(walled, "a pod", (walled.node(node, family), PORT)) == {walled.own[family]}


@FAMILIES
def test_a_pod_reaches_the_outside(walled: Walled, family: int) -> None:
    if not walled.is_masqueraded and not walled.is_native:
        pytest.skip("the outside knows no way to pods")
    seen = passes(walled, "a pod", (walled.node("outside", family), PORT))
    assert seen == {walled.node("n1", family) if walled.is_masqueraded else walled.own[family]}


@FAMILIES
@pytest.mark.parametrize("backend", [name for name in BACKENDS if not name.startswith("host")])
def test_the_outside_reaches_a_pod(walled: Walled, backend: str, family: int) -> None:
    if not walled.is_native:
        pytest.skip("the outside knows no way to pods")
    seen = passes(walled, "the outside", (walled.pods[backend][family], PORT))
    assert seen == {walled.node("outside", family)}


@FAMILIES
@pytest.mark.parametrize("who", ["a pod", "the node"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_echo_is_answered(walled: Walled, who: str, backend: str, family: int) -> None:
    before = walled.met()
    walled.forget_neighbours()
    assert ping(walled.client(who), walled.pods[backend][family], 56)
    assert walled.met() == before


@FAMILIES
@pytest.mark.parametrize("who", ["a pod", "the outside"])
def test_a_datagram_in_fragments_arrives(walled: Walled, who: str, family: int) -> None:
    if who != "a pod" and walled.cluster.site.options.encapsulation == "ipip" and walled.mtu < MTUS["native"]:
        pytest.skip("the stack has to fragment its fragments")
    called = "pod on n2"
    port = (walled.cluster_ips[called][family], 80)
    if who != "a pod":
        port = (walled.node("n1", family), node_port(BACKENDS.index(called)))
    before = walled.met()
    walled.forget_neighbours()
    assert ask(walled.client(who), "udp", OVER_MTU, port)
    assert walled.met() == before


@contextmanager
def box(node: Machine) -> Iterator[Client]:
    """Somebody behind a device of the node that is no uplink, as Docker's containers are; the firewall lets it pass."""
    node.run("ip", "netns", "add", "box")
    try:
        inside = ("ip", "netns", "exec", "box")
        node.run("ip", "link", "add", "box0", "type", "veth", "peer", "name", "eth0", "netns", "box")
        for end, device, number in (((), "box0", 0), (inside, "eth0", 1)):
            node.run(*end, "ip", "addr", "add", f"{BOX[0][number]}/24", "dev", device)
            node.run(*end, "ip", "addr", "add", f"{BOX[1][number]}/64", "dev", device, "nodad")
            node.run(*end, "ip", "link", "set", device, "up")
        for via, _ in BOX:
            node.run(*inside, "ip", "route", "add", "default", "via", via)
        for way in ("iifname", "oifname"):
            node.run("nft", "add", "rule", "inet", "strict", "forward", way, "box0", "accept")
        netns = node.root / "run/netns/box"
        node.daemon("box", [*PROBE, "serve", str(PORT)], context=ExecContext(netns=netns))
        yield Client("a box", node, ExecContext(netns=netns))
    finally:
        node.stop("box")
        node.run("ip", "netns", "delete", "box")


def test_who_is_behind_no_uplink_is_reached_and_answered_through_the_firewall(walled: Walled) -> None:
    if walled.is_masqueraded:
        pytest.skip("what is masqueraded leaves past the stack")
    with box(walled.machine("n1")) as boxed:
        before = {name: count for name, count in walled.met().items() if "invalid" in name}
        for family in (0, 1):
            for kind in ("udp", "tcp"):
                assert ask(walled.asking, kind, DATAGRAM, (BOX[family][1], PORT)) == walled.own[family]
                there = (walled.pods["pod on n1"][family], PORT)
                assert ask(boxed, kind, DATAGRAM, there) == BOX[family][1]
        assert {name: count for name, count in walled.met().items() if "invalid" in name} == before


@contextmanager
def wider(pod: Client) -> Iterator[None]:
    """Both ends of a pod's link carry more than any way on."""
    links = pod.machine.run("ip", "-o", "link", "show", "type", "veth").stdout.split()
    here = [(use.host(pod.machine), word.partition("@")[0]) for word in links if word.startswith("swp")]
    ends = [(pod, "eth0"), *here]
    words = pod.machine.run("ip", "-o", "link", "show", "eth0", context=pod.context).stdout.split()
    before = words[words.index("mtu") + 1]
    try:
        for client, device in ends:
            client.machine.run("ip", "link", "set", device, "mtu", str(WIDER), context=client.context)
        yield
    finally:
        for client, device in ends:
            client.machine.run("ip", "link", "set", device, "mtu", before, context=client.context)


@FAMILIES
@pytest.mark.parametrize("is_service", [pytest.param(False, id="a pod"), pytest.param(True, id="a service")])
def test_a_sender_of_what_must_not_be_fragmented_learns_the_path_mtu(
    walled: Walled, family: int, *, is_service: bool
) -> None:
    addresses = walled.cluster_ips if is_service else walled.pods
    with wider(walled.asking):
        target = (addresses["pod on n2"][family], str(80 if is_service else PORT))
        argv = [*PATH_MTU, "mtu", *target, str(WIDER - 48), str(walled.mtu)]
        found = walled.asking.machine.run(*argv, context=walled.asking.context).stdout
    assert found == str(walled.mtu)
