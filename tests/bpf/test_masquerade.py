"""Pods that leave the cluster are seen under their node's address, and get their answers back."""

from collections.abc import Callable, Iterator

import pytest
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps.abi import DropReason, FlowFlag, NodeFlag, PrefixFlag, Scope
from tests.behaviours import shows
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    LOOPBACK,
    NAT_PORTS,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import TOO_BIG, addresses, answer, icmp_error, icmp_sum_holds, ip_of, ports, quoted_by
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

ROUTER_MAC = "02:00:00:00:00:99"
FAMILIES = [
    pytest.param(POD, NODE, CLIENT, id="IPv4"),
    pytest.param(POD6, NODE6, CLIENT6, id="IPv6"),
]


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


@pytest.fixture
def masked(node: Datapath, device: int) -> Datapath:
    """A node that masquerades."""
    assert device
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    return node


def echo(pod: str, ident: int = 77, *, reply: bool = False) -> Packet:
    """A ping, with a payload of odd length."""
    kind = {True: (0, ICMPv6EchoReply), False: (8, ICMPv6EchoRequest)}[reply]
    head = kind[1](id=ident, seq=1) if ":" in pod else ICMP(type=kind[0], id=ident, seq=1)
    return head / Raw(b"payload")


def ident_of(packet: Packet) -> int:
    """An echo's identifier."""
    return int.from_bytes(bytes(ip_of(packet).payload)[4:6], "big")


@pytest.mark.parametrize(("pod", "own", "outside"), FAMILIES)
@shows(
    "79 to the outside", pytest.mark.parametrize("l4", [syn(), data(), datagram()], ids=["TCP", "TCP with data", "UDP"])
)
def test_a_pod_outside_is_its_node_and_itself_in_the_answer(
    masked: Datapath, device: int, pod: str, own: str, outside: str, l4: Packet
) -> None:
    there = masked.run("pod_ingress", frame(pod, outside, l4))
    assert there.verdict == TC_ACT_REDIRECT
    assert addresses(there.packet) == (own, outside)
    assert NAT_PORTS[0] <= ports(there.packet)[0] <= NAT_PORTS[1]
    assert ports(there.packet)[1] == l4.dport
    assert ip_of(there.packet).fields.get("ttl", ip_of(there.packet).fields.get("hlim")) == 63
    assert checksums_hold(there.packet)
    back = masked.run("uplink_ingress", answer(there.packet, ROUTER_MAC), device)
    assert back.verdict == TC_ACT_REDIRECT
    assert addresses(back.packet) == (outside, pod)
    assert ports(back.packet) == (l4.dport, l4.sport)
    assert checksums_hold(back.packet)


@pytest.mark.parametrize(("pod", "own", "outside"), FAMILIES)
def test_a_ping_goes_out_under_another_identifier_and_comes_back_under_its_own(
    masked: Datapath, device: int, pod: str, own: str, outside: str
) -> None:
    there = masked.run("pod_ingress", frame(pod, outside, echo(pod)))
    assert addresses(there.packet) == (own, outside)
    assert NAT_PORTS[0] <= ident_of(there.packet) <= NAT_PORTS[1]
    assert checksums_hold(there.packet)
    reply = frame(outside, own, echo(pod, ident_of(there.packet), reply=True), mac=ROUTER_MAC)
    back = masked.run("uplink_ingress", reply, device)
    assert addresses(back.packet) == (outside, pod)
    assert ident_of(back.packet) == 77
    assert checksums_hold(back.packet)


@pytest.mark.parametrize(("pod", "own", "outside"), FAMILIES)
@pytest.mark.parametrize("l4", ["echo", datagram(), data()], ids=["echo", "UDP", "TCP"])
def test_an_icmp_error_about_a_masqueraded_packet_reaches_the_pod(
    masked: Datapath, device: int, pod: str, own: str, outside: str, l4: Packet | str
) -> None:
    sent = frame(pod, outside, echo(pod) if isinstance(l4, str) else l4)
    there = masked.run("pod_ingress", sent)
    router = "198.51.100.1" if ":" not in pod else "2001:db8:1::1"
    error = icmp_error(there.packet, TOO_BIG, router, mac=ROUTER_MAC)
    assert addresses(error) == (router, own)
    done = masked.run("uplink_ingress", error, device)
    assert addresses(done.packet) == (router, pod)
    assert icmp_sum_holds(done.packet)
    told = quoted_by(done.packet)
    assert (told.src, told.dst) == (pod, outside)
    assert bytes(told.payload) == bytes(ip_of(sent).payload)


@pytest.mark.parametrize(("pod", "own", "outside"), FAMILIES)
@pytest.mark.parametrize("kind", [syn, datagram])
def test_a_flow_for_which_no_port_is_left_is_dropped_and_counted_as_that(
    masked: Datapath, pod: str, own: str, outside: str, kind: Callable[..., Packet]
) -> None:
    masked.node(nat=(5000, 5001), flags=NodeFlag.NODE_MASQUERADE)
    sent = [masked.run("pod_ingress", frame(pod, outside, kind(sport=n))).packet for n in (40001, 40002)]
    assert {(addresses(one)[0], ports(one)[0]) for one in sent} == {(own, 5000), (own, 5001)}
    done = masked.run("pod_ingress", frame(pod, outside, kind(sport=40003)))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NAT_PORTS)
    elsewhere = masked.run("pod_ingress", frame(pod, outside, kind(sport=40003, dport=81)))
    assert ports(elsewhere.packet)[0] in {5000, 5001}, "another destination has all of them"


def test_a_node_that_has_no_port_to_spare_drops_rather_than_sends_from_port_zero(masked: Datapath) -> None:
    masked.node(nat=(0, 0), flags=NodeFlag.NODE_MASQUERADE)
    done = masked.run("pod_ingress", frame(POD, CLIENT, syn()))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NAT_PORTS)


@pytest.mark.parametrize("network", ["192.0.2.0/24", "0.0.0.0/0"])
def test_a_range_that_is_never_masqueraded_sees_the_pod(masked: Datapath, network: str) -> None:
    masked.prefix(network, flags=PrefixFlag.PREFIX_NO_MASQUERADE)
    done = masked.run("pod_ingress", frame(POD, CLIENT, syn()))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_OK, (POD, CLIENT))


def test_a_longer_prefix_is_the_one_that_counts(masked: Datapath) -> None:
    masked.prefix("192.0.0.0/8", flags=PrefixFlag.PREFIX_NO_MASQUERADE)
    masked.prefix("192.0.2.0/24")
    assert addresses(masked.run("pod_ingress", frame(POD, CLIENT, syn())).packet) == (NODE, CLIENT)


def test_all_of_ipv6_does_not_contain_ipv4(masked: Datapath) -> None:
    masked.prefix("::/0", flags=PrefixFlag.PREFIX_NO_MASQUERADE)
    assert addresses(masked.run("pod_ingress", frame(POD, CLIENT, syn())).packet) == (NODE, CLIENT)


@shows(
    "78 pods see each other's addresses",
    pytest.mark.parametrize("dst", [OTHER, NODE], ids=["a pod of this node", "the node itself"]),
)
def test_who_is_on_this_node_sees_the_pod(masked: Datapath, dst: str) -> None:
    assert addresses(masked.run("pod_ingress", frame(POD, dst, syn())).packet) == (POD, dst)


@shows("7 a pod's address is kept")
def test_a_services_backend_elsewhere_sees_the_pod(masked: Datapath) -> None:
    masked.prefix("10.244.2.0/24", flags=PrefixFlag.PREFIX_NO_MASQUERADE)
    masked.service("10.96.0.50", 80, [(REMOTE, 8080, False)])
    assert addresses(masked.run("pod_ingress", frame(POD, "10.96.0.50", syn())).packet) == (POD, REMOTE)


def test_a_flow_under_way_is_not_masqueraded_when_masquerading_begins(node: Datapath, device: int) -> None:
    assert device
    node.run("pod_ingress", frame(POD, CLIENT, syn()))
    node.node(revision=2, flags=NodeFlag.NODE_MASQUERADE)
    assert addresses(node.run("pod_ingress", frame(POD, CLIENT, data())).packet) == (POD, CLIENT)


def test_a_masqueraded_flow_outlives_a_change_of_backends(masked: Datapath) -> None:
    first = masked.run("pod_ingress", frame(POD, CLIENT, datagram()))
    masked.node(revision=2, flags=NodeFlag.NODE_MASQUERADE)
    again = masked.run("pod_ingress", frame(POD, CLIENT, datagram()))
    assert ports(again.packet) == ports(first.packet)
    assert {FlowFlag(f.flags) & FlowFlag.FLOW_FORWARD for _, f in masked.tables["flows"].items()} == {
        FlowFlag.FLOW_FORWARD,
        FlowFlag(0),
    }


@pytest.mark.parametrize(("pod", "outside"), [(POD, CLIENT), (POD6, CLIENT6)], ids=["IPv4", "IPv6"])
def test_who_reached_the_pod_by_the_stack_is_answered_by_the_pod_through_the_stack(
    masked: Datapath, pod: str, outside: str
) -> None:
    asked = masked.run("pod_egress", frame(outside, pod, syn(), mac=GATEWAY_MAC, to=POD_MAC))
    done = masked.run("pod_ingress", answer(asked.packet, POD_MAC))
    assert (done.verdict, addresses(done.packet), ports(done.packet)) == (TC_ACT_OK, (pod, outside), (80, 40000))


def test_a_later_fragment_follows_its_first(masked: Datapath) -> None:
    whole = frame(POD, CLIENT, datagram(size=1400))
    first, later = fragments(whole)
    one = masked.run("pod_ingress", first)
    two = masked.run("pod_ingress", later)
    assert addresses(one.packet) == addresses(two.packet) == (NODE, CLIENT)
    assert bytes(ip_of(two.packet).payload) == bytes(ip_of(later).payload)


def fragments(packet: Packet) -> list[Packet]:
    """An IPv4 packet in two."""
    return [Ether(bytes(Ether(src=packet.src, dst=GATEWAY_MAC) / part)) for part in ip_of(packet).fragment(1000)]


@pytest.mark.parametrize("flags", ["R", "RA", "SA"])
@pytest.mark.parametrize(("pod", "there"), [(POD, CLIENT), (POD6, CLIENT6)], ids=["IPv4", "IPv6"])
def test_a_segment_of_a_connection_that_nobody_knows_takes_no_port(
    masked: Datapath, pod: str, there: str, flags: str
) -> None:
    done = masked.run("pod_ingress", frame(pod, there, data(flags=flags)))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_STRAY_SEGMENT)
    assert masked.tables["flows"].count() == 0


ASKS = pytest.mark.parametrize("asks", [syn, lambda: datagram(dport=80)], ids=["TCP", "UDP"])
BACKENDS = pytest.mark.parametrize(
    ("backends", "is_here"),
    [
        pytest.param((OTHER, OTHER6), True, id="a pod of this node"),
        pytest.param((REMOTE, REMOTE6), False, id="a pod of another node"),
    ],
)


def asked(node: Datapath, family: int, backend: str, *, is_here: bool, scope: Scope = Scope.SCOPE_INTERNAL) -> str:
    """The address of a service that a backend serves, at port 80 of TCP and UDP."""
    vip = VIP6 if family else VIP
    for protocol in (6, 17):
        node.service(vip, 80, [(backend, 8080, is_here)], protocol=protocol, scope=scope)
    return vip


@ASKS
@BACKENDS
@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_backend_sees_the_node_in_place_of_each_pod_where_all_is_masqueraded(
    node: Datapath,
    family: int,
    asks: Callable[[], Packet],
    backends: tuple[str, str],
    is_here: bool,  # noqa: FBT001
) -> None:
    own, pod, backend = (NODE6, POD6, backends[1]) if family else (NODE, POD, backends[0])
    vip = asked(node, family, backend, is_here=is_here)
    if is_here:
        node.endpoint(backend, LOOPBACK, OTHER_MAC)  # the one device there is: its answer comes by it
    for flags, seen in ((0, pod), (NodeFlag.NODE_MASQUERADE_ALL, own)):
        node.node(flags=flags)
        done = node.run("pod_ingress", frame(pod, vip, asks()))
        assert (done.reason, addresses(done.packet)) == (DropReason.DROP_NONE, (seen, backend))
        assert checksums_hold(done.packet)
        if flags:
            program = "pod_ingress" if is_here else "uplink_ingress"
            back = node.run(program, answer(done.packet, OTHER_MAC))
            assert (back.reason, addresses(back.packet)) == (DropReason.DROP_NONE, (vip, pod))
            assert ports(back.packet) == (80, 40000)
        node.tables["flows"].delete([key for key, _ in node.tables["flows"].items()])


@ASKS
@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_who_is_outside_is_seen_by_a_backend_here_where_all_is_masqueraded(
    node: Datapath, family: int, asks: Callable[[], Packet]
) -> None:
    client, backend = (CLIENT6, OTHER6) if family else (CLIENT, OTHER)
    vip = asked(node, family, backend, is_here=True, scope=Scope.SCOPE_EXTERNAL)
    node.node(flags=NodeFlag.NODE_MASQUERADE_ALL)
    assert addresses(node.run("uplink_ingress", frame(client, vip, asks())).packet) == (client, backend)


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_what_is_no_service_s_is_not_masqueraded_with_it(node: Datapath, family: int) -> None:
    pod, backend = (POD6, OTHER6) if family else (POD, OTHER)
    node.node(flags=NodeFlag.NODE_MASQUERADE_ALL)
    assert addresses(node.run("pod_ingress", frame(pod, backend, syn())).packet) == (pod, backend)
