"""Every drop reason has a packet that is dropped for it, and every packet counted is counted with its octets."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_RA, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Packet, Raw

from maps import abi
from maps.abi import DropReason, ServiceFlag
from tests.bpf.cpus import OWN_CPU, on_cpu
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    LOOPBACK,
    NODE,
    NODE6,
    OTHER,
    OTHER_MAC,
    OTHER_POD_DEVICE,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    XDP_DROP,
    Datapath,
    data,
    frame,
    prefix_key,
    syn,
)
from tests.bpf.packets import UNREACHABLE, icmp_error
from tests.bpf.uplink import UNREACHED, routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

# the packet goes on
NO_DROPS = {DropReason.DROP_NONE, DropReason.DROP_REASONS}
# the kernel refuses to change a packet only when it has no memory for a copy: the headers were read before
NEVER_HERE = {DropReason.DROP_REWRITE}
SYN = frame(POD, VIP, syn())
OUT = frame(POD, CLIENT, syn())
NODE_PORT = frame(CLIENT, NODE, syn(dport=30080))
BEGUN_SCTP = Ether(src=POD_MAC, dst=GATEWAY_MAC) / IP(src=POD, dst=VIP, flags="MF") / SCTP(dport=80) / SCTPChunkData()
EXTENDED = Ether(src=POD_MAC, dst=GATEWAY_MAC) / IPv6(src=POD6, dst=VIP6)
for _ in range(9):
    EXTENDED /= IPv6ExtHdrDestOpt()


def nothing(node: Datapath) -> None:
    """The node as it is."""


def service(*backends: tuple[str, int, bool], flags: int = 0) -> Callable[[Datapath], None]:
    """A service at the test's address."""

    def make(node: Datapath) -> None:
        node.service(VIP, 80, list(backends), flags=flags)

    return make


def node_port(*backends: tuple[str, int, bool]) -> Callable[[Datapath], None]:
    """A service at a node port."""

    def make(node: Datapath) -> None:
        node.service("0.0.0.0", 30080, list(backends), scope=abi.Scope.SCOPE_EXTERNAL)

    return make


def cluster_ip(node: Datapath) -> None:
    """A service's address without the port that is asked for."""
    node.service_address(VIP)


def lost(node: Datapath) -> None:
    """A service whose table names a backend that is not there."""
    set_id = node.service(VIP, 80, [(OTHER, 8080, True)])
    node.tables["backends"].delete([abi.BackendKey(set_id, 0)])


def full(node: Datapath) -> None:
    """No room for another flow."""
    service((OTHER, 8080, True))(node)
    node.fill_flows(0)


def shared_out(node: Datapath) -> None:
    """The pod has more than its share of a table that seems full, by the places of many flows."""
    service((OTHER, 8080, True))(node)
    for sport in range(1, 300):
        node.run("pod_ingress", frame(POD, OTHER, syn(sport=sport)))
    share = abi.Share(abi.Load(1000, 0, 0), 0, 0, 0, 0, 0)
    node.tables["shares"].update([(abi.SHARE_PODS + node.slot(LOOPBACK), share)])


def spent(node: Datapath) -> None:
    """The only port for source translation is in use."""
    service((POD, 8080, True))(node)
    node.node(nat=(5000, 5000))
    node.run("pod_ingress", frame(POD, VIP, syn(sport=40001)))


def nameless(node: Datapath) -> None:
    """A node without an address."""
    service((POD, 8080, True))(node)
    node.node(addr4="", addr6="")


def limited(ifindex: int) -> Callable[[Datapath], None]:
    """A pod that has had more than its limits."""

    def make(node: Datapath) -> None:
        node.limit(ifindex, ingress=1000, egress=1000, ahead_s=100)
        node.node(flags=abi.NodeFlag.NODE_LIMITS)

    return make


def behind_tunnel(node: Datapath) -> None:
    """A node port's backend behind headers of our own, with the uplink for the device that has the MTU."""
    node.service("::", 30080, [(REMOTE6, 8080, False)], protocol=17, scope=abi.Scope.SCOPE_EXTERNAL)
    node.node(tunnel=socket.if_nametoindex("up0"), flags=abi.NodeFlag.NODE_IPIP)
    node.prefix("fd00:2::/64", "10.88.0.12")


def tunnel(port: int, flags: abi.NodeFlag) -> Callable[[Datapath], None]:
    """A node that encapsulates, and another one."""

    def make(node: Datapath) -> None:
        node.node(tunnel=socket.if_nametoindex("up1"), port=port, flags=flags)
        node.prefix("10.88.0.12/32", flags=abi.PrefixFlag.PREFIX_NODE)

    return make


vxlan = tunnel(8472, abi.NodeFlag(0))
ipip = tunnel(0, abi.NodeFlag.NODE_IPIP)
geneve = tunnel(6081, abi.NodeFlag.NODE_GENEVE)


def later(ident: int) -> Packet:
    """A later fragment."""
    return Ether(src=POD_MAC, dst=GATEWAY_MAC) / IP(src=POD, dst=OTHER, id=ident, frag=100, proto=17) / Raw(b"later")


def alone(node: Datapath) -> None:
    """As many wait as can, for a first that does not come."""
    for ident in range(2, abi.SLOTS_PER_GROUP + 2):
        node.run("pod_ingress", later(ident))


def fragment_of(port: int, octets: int, offset: int = 5) -> Packet:
    """A part of a datagram to a node port."""
    head = IP(src=CLIENT, dst=NODE, id=9, frag=offset, flags="MF", proto=17)
    content = UDP(sport=40000, dport=port, len=2000, chksum=0) / Raw(bytes(32)) if not offset else Raw(bytes(octets))
    return Ether(bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / head / content))


def begun(node: Datapath) -> None:
    """The first fragment of a datagram to a node port has gone to a backend elsewhere."""
    node.service("0.0.0.0", 30080, [(REMOTE, 8080, False)], protocol=17, scope=abi.Scope.SCOPE_EXTERNAL)
    node.run("uplink_ingress", fragment_of(30080, 0, 0))


def masquerading(node: Datapath) -> None:
    """Pods leave under the node's address."""
    node.node(flags=abi.NodeFlag.NODE_MASQUERADE)


def diverted(node: Datapath) -> None:
    """The kernel's route for a masqueraded flow has moved to another device, which has another address."""
    masquerading(node)
    for device, own in (("up0", NODE), ("up1", "10.77.0.1")):
        node.uplink(socket.if_nametoindex(device), own)
    node.run("pod_ingress", OUT)
    for line in ("address add 10.77.0.1/24 dev up1", f"route add {CLIENT}/32 dev up1"):
        subprocess.run(["ip", *line.split()], check=True)


def denied(node: Datapath) -> None:
    """Nothing is let in from the client's range."""
    node.tables["denied_prefixes"].update([(prefix_key("192.0.2.0/24"), abi.DeniedPrefix(1))])


def sctp_service(node: Datapath) -> None:
    """A service of SCTP, whose backend has another port."""
    node.service(VIP, 80, [(OTHER, 8080, True)], protocol=132)


def moving(node: Datapath) -> None:
    """Flows are on their way from other maps."""
    node.service(VIP, 80, [(OTHER, 8080, True)])
    node.tables["flow_moves"].update([(0, abi.FlowMove((time.monotonic_ns() >> abi.SEEN_BITS) + 1000))])


def ending(node: Datapath) -> None:
    """A backend is about to answer, and the connection begins anew elsewhere at that moment."""
    node.service(VIP, 80, [(OTHER, 8080, True)])
    node.run("pod_ingress", SYN)
    flows = node.tables["flows"]
    flows.update([(key, replace(flow, flags=flow.flags | abi.FlowFlag.FLOW_ENDED)) for key, flow in flows.items()])


@dataclass(frozen=True)
class Case:
    """What is there, and the packet that is dropped for it."""

    prepare: Callable[[Datapath], None]
    packet: Packet | bytes
    program: str = "pod_ingress"
    answered: bool = False
    sizes: dict[str, int] = field(default_factory=dict)


def denying(node: Datapath, ifindex: int) -> None:
    """The pod behind a device has a rule set that lets nobody in, and it out to nobody; all others have none."""
    node.node(flags=abi.NodeFlag.NODE_POLICY)
    nothing_else = abi.PodPolicy(abi.RULES_NONE, abi.RULES_NONE, abi.PodPolicyFlag(0), 0)
    node.tables["pod_policies"].update((slot, nothing_else) for slot in node.slots.values())
    number = abi.RULES_FIRST
    ranges = (abi.PortRange(0, 0, 0, 0, 0),) * abi.RULE_RANGES
    node.tables["rules"].update([(abi.RuleKey(number, 0), abi.Rule(0, 7, abi.PolicyVerdict.POLICY_DENY, 0, ranges))])
    node.tables["pod_policies"].update([(node.slot(ifindex), abi.PodPolicy(number, number, abi.PodPolicyFlag(0), 0))])


def unheard_of(node: Datapath) -> None:
    """Nobody has said yet which policies select the node's pods."""
    node.node(flags=abi.NodeFlag.NODE_POLICY)
    unknown = abi.PodPolicy(abi.RULES_UNKNOWN, abi.RULES_UNKNOWN, abi.PodPolicyFlag(0), 0)
    node.tables["pod_policies"].update((slot, unknown) for slot in node.slots.values())


CASES = {
    DropReason.DROP_SHORT_PACKET: Case(nothing, bytes(SYN)[:44]),
    DropReason.DROP_BAD_HEADER: Case(nothing, bytes(SYN)[:14] + b"\x54" + bytes(SYN)[15:]),
    DropReason.DROP_EXTENSION_HEADERS: Case(nothing, EXTENDED / TCP()),
    DropReason.DROP_MAPPED_ADDRESS: Case(nothing, frame("::ffff:10.244.1.2", VIP6, syn())),
    DropReason.DROP_ETHERTYPE: Case(nothing, bytes(SYN)[:12] + b"\x88\xcc" + bytes(60)),
    DropReason.DROP_SOURCE_MAC: Case(nothing, frame(POD, VIP, syn(), mac=OTHER_MAC)),
    DropReason.DROP_SOURCE_ADDRESS: Case(nothing, frame(OTHER, VIP, syn())),
    DropReason.DROP_NO_BACKEND: Case(service(), SYN, answered=True),
    DropReason.DROP_NO_BACKEND_SILENT: Case(service(), frame(POD, VIP, data(flags="R"))),
    DropReason.DROP_NO_SERVICE: Case(cluster_ip, SYN, answered=True),
    DropReason.DROP_NO_SERVICE_SILENT: Case(cluster_ip, frame(POD, VIP, data(flags="R"))),
    DropReason.DROP_SERVICE_SOURCE: Case(cluster_ip, frame(VIP, OTHER, data()), "uplink_ingress"),
    DropReason.DROP_NO_LOCAL_BACKEND: Case(service(flags=ServiceFlag.SERVICE_LOCAL), SYN),
    DropReason.DROP_BACKEND_LOST: Case(lost, SYN),
    DropReason.DROP_CONNTRACK_FULL: Case(full, SYN, sizes={"flows": 1}),
    DropReason.DROP_FLOW_SHARE: Case(shared_out, SYN, sizes={"flows": 1}),
    DropReason.DROP_NAT_PORTS: Case(spent, frame(POD, VIP, syn(sport=40002))),
    DropReason.DROP_NAT_ADDRESS: Case(nameless, SYN),
    DropReason.DROP_NO_ROUTE: Case(node_port((UNREACHED, 8080, False)), NODE_PORT, "uplink_ingress"),
    DropReason.DROP_TTL: Case(
        node_port((REMOTE, 8080, False)), frame(CLIENT, NODE, syn(dport=30080), ttl=1), "uplink_ingress"
    ),
    DropReason.DROP_NO_TUNNEL: Case(nothing, SYN, "tunnel_egress"),
    DropReason.DROP_INGRESS_LIMIT: Case(limited(OTHER_POD_DEVICE), frame(POD, OTHER, syn())),
    DropReason.DROP_EGRESS_LIMIT: Case(limited(LOOPBACK), frame(POD, OTHER, syn())),
    DropReason.DROP_TOO_BIG: Case(
        behind_tunnel, frame(CLIENT6, NODE6, UDP(sport=1, dport=30080) / bytes(1453)), "uplink_ingress", answered=True
    ),
    DropReason.DROP_TOO_BIG_SILENT: Case(begun, fragment_of(30080, 1600), "uplink_ingress"),
    DropReason.DROP_FRAGMENT_ALONE: Case(alone, later(1)),
    DropReason.DROP_OWN_SOURCE: Case(nothing, frame(NODE, OTHER, syn()), "uplink_ingress"),
    DropReason.DROP_STRAY_SEGMENT: Case(service((OTHER, 8080, True)), frame(POD, VIP, data(flags="R"))),
    DropReason.DROP_ROUTED_BACK: Case(
        lambda node: node.routed_range("10.200.0.0/16", LOOPBACK), frame(POD, "10.200.0.1", syn())
    ),
    DropReason.DROP_NAT_PROTOCOL: Case(masquerading, frame(POD, CLIENT, ICMP(type=13))),
    DropReason.DROP_STRAY_ERROR: Case(masquerading, icmp_error(frame(CLIENT, POD, syn()), UNREACHABLE, POD)),
    DropReason.DROP_NAT_WAY: Case(diverted, OUT),
    DropReason.DROP_POLICY_INGRESS: Case(lambda node: denying(node, OTHER_POD_DEVICE), frame(POD, OTHER, syn())),
    DropReason.DROP_POLICY_EGRESS: Case(lambda node: denying(node, LOOPBACK), frame(POD, OTHER, syn())),
    DropReason.DROP_POLICY_UNKNOWN: Case(unheard_of, frame(POD, OTHER, syn())),
    DropReason.DROP_SOURCE_RANGE: Case(service((OTHER, 8080, True), flags=ServiceFlag.SERVICE_RANGED), SYN),
    DropReason.DROP_VLAN: Case(nothing, Ether(src=POD_MAC, dst=GATEWAY_MAC) / Dot1Q(vlan=5) / SYN.payload),
    DropReason.DROP_ARP: Case(nothing, Ether(src=POD_MAC) / ARP(hwsrc=POD_MAC, psrc=OTHER, pdst=NODE)),
    DropReason.DROP_ND: Case(nothing, Ether(src=POD_MAC) / IPv6(src=POD6, dst="ff02::1") / ICMPv6ND_RA()),
    DropReason.DROP_DHCP_ANSWER: Case(nothing, frame(POD, "255.255.255.255", UDP(sport=67, dport=68))),
    DropReason.DROP_TUNNEL_POD: Case(vxlan, frame(POD, "10.88.0.12", UDP(sport=1, dport=8472))),
    DropReason.DROP_TUNNEL_OUTER: Case(vxlan, frame(CLIENT, NODE, UDP(sport=1, dport=8472)), "uplink_ingress"),
    DropReason.DROP_TUNNEL_INNER: Case(
        ipip,
        Ether(dst=GATEWAY_MAC) / IP(src="10.88.0.12", dst=NODE) / frame(CLIENT, POD, syn()).payload,
        "uplink_ingress",
    ),
    DropReason.DROP_TUNNEL_HEADER: Case(
        geneve, frame("10.88.0.12", NODE, UDP(sport=1, dport=6081) / Raw(bytes(64))), "uplink_ingress"
    ),
    DropReason.DROP_DENIED_PREFIX: Case(denied, frame(CLIENT, POD, syn()), "uplink_xdp"),
    DropReason.DROP_FLOW_MOVES: Case(moving, frame(POD, VIP, data())),
    DropReason.DROP_FLOW_ENDED: Case(
        ending, frame(OTHER, POD, TCP(sport=8080, dport=40000, flags="SA"), mac=OTHER_MAC), "pod_egress"
    ),
    DropReason.DROP_SCTP_FRAGMENT: Case(sctp_service, BEGUN_SCTP),
}


SHOT = {"uplink_xdp": XDP_DROP}  # and everywhere else TC_ACT_SHOT


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


def test_every_reason_has_a_packet() -> None:
    assert set(CASES) == set(DropReason) - NO_DROPS - NEVER_HERE


@pytest.mark.parametrize("reason", CASES, ids=lambda reason: reason.name)
def test_a_packet_is_dropped_for_the_reason(node: Datapath, device: int, reason: DropReason) -> None:
    case = CASES[reason]
    used = Datapath.load(sizes=case.sizes) if case.sizes else node
    try:
        with on_cpu(OWN_CPU):  # how full the table seems is a CPU's own
            case.prepare(used)
            done = used.run(case.program, case.packet, device if case.program.startswith("uplink") else 1)
        assert done.reason == reason
        assert (done.verdict == SHOT.get(case.program, TC_ACT_SHOT)) != case.answered
    finally:
        if case.sizes:
            used.close()


@pytest.mark.parametrize("packet", [SYN, frame(POD, VIP, data()), bytes(SYN)[:44]], ids=["SYN", "data", "short"])
@pytest.mark.parametrize("prepare", [nothing, service(), service((OTHER, 8080, True))], ids=["no", "empty", "whole"])
def test_octets_are_counted_as_they_came(
    node: Datapath, packet: Packet | bytes, prepare: Callable[[Datapath], None]
) -> None:
    prepare(node)
    before = sum(counter.octets for _, counter in node.tables["counters"].items())
    node.run("pod_ingress", packet)
    after = sum(counter.octets for _, counter in node.tables["counters"].items())
    assert after - before == len(packet)
