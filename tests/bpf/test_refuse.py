"""A service without endpoints answers as a host where nobody listens, or drops where no answer can be made."""

import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, IPOption_NOP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps import libbpf
from maps.abi import DropReason, Scope, ServiceFlag
from tests.behaviours import shows
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    LOOPBACK,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    POD,
    POD6,
    POD_MAC,
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
from tests.bpf.packets import addresses, icmp_sum_holds, ip_of, ports, quoted_by

pytestmark = pytest.mark.kernel

HOOKS = [
    pytest.param("pod_ingress", POD, VIP, 80, id="a pod's"),
    pytest.param("pod_ingress", POD6, VIP6, 80, id="a pod's, IPv6"),
    pytest.param("uplink_ingress", CLIENT, NODE, 30080, id="from outside"),
    pytest.param("uplink_ingress", CLIENT6, NODE6, 30080, id="from outside, IPv6"),
    pytest.param("uplink_egress", NODE, VIP, 80, id="the node's own"),
    pytest.param("uplink_egress", NODE6, VIP6, 80, id="the node's own, IPv6"),
]
SILENT = (TC_ACT_SHOT, DropReason.DROP_NO_BACKEND_SILENT)


def empty_service(node: Datapath, program: str, address: str, port: int, *, local: bool = False) -> None:
    """A TCP and UDP service without endpoints where the program looks for it."""
    scope = Scope.SCOPE_EXTERNAL if program == "uplink_ingress" else Scope.SCOPE_INTERNAL
    under = {NODE: "0.0.0.0", NODE6: "::"}.get(address, address)
    for protocol in (6, 17):
        flags = ServiceFlag.SERVICE_LOCAL if local else 0
        node.service(under, port, [], protocol=protocol, scope=scope, flags=flags)


def segment(port: int, flags: str, *, seq: int = 1000, ack: int = 0, options: bool = False) -> Packet:
    """A segment without data."""
    extra = [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))] if options else []
    return TCP(sport=40000, dport=port, flags=flags, seq=seq, ack=ack, options=extra)


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
@pytest.mark.parametrize("options", [False, True], ids=["bare", "with options"])
@pytest.mark.parametrize(
    ("flags", "seq", "ack", "answer"),
    [
        pytest.param("S", 1000, 0, ("RA", 0, 1001), id="SYN: acknowledged, as it takes a number"),
        pytest.param("S", 0xFFFFFFFF, 0, ("RA", 0, 0), id="SYN with the last number: the next is zero"),
        pytest.param("A", 1000, 77, ("R", 77, 0), id="ACK: the number it expects"),
        pytest.param("FA", 1000, 77, ("R", 77, 0), id="FIN with ACK: the number it expects"),
        pytest.param("F", 1000, 0, ("RA", 0, 1001), id="FIN without ACK: acknowledged"),
        pytest.param("SEC", 1000, 0, ("RA", 0, 1001), id="SYN that asks for ECN: no ECN in the answer"),
    ],
)
def test_a_segment_without_data_is_answered_by_a_reset(  # a segment's fields, and where it goes
    node: Datapath,
    program: str,
    src: str,
    dst: str,
    port: int,
    options: bool,  # noqa: FBT001 - a parameter of the test
    flags: str,
    seq: int,
    ack: int,
    answer: tuple[str, int, int],
) -> None:
    empty_service(node, program, dst, port)
    done = node.run(program, frame(src, dst, segment(port, flags, seq=seq, ack=ack, options=options)))
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NO_BACKEND)
    assert (addresses(done.packet), ports(done.packet)) == ((dst, src), (port, 40000))
    tcp = done.packet[TCP]
    assert (str(tcp.flags), tcp.seq, tcp.ack) == answer
    assert (tcp.dataofs, tcp.window, tcp.urgptr, bytes(tcp.payload)) == (5, 0, 0, b"")
    assert len(done.packet) == 14 + len(ip_of(done.packet))
    assert checksums_hold(done.packet)
    assert (done.packet[Ether].dst, done.packet[Ether].src) == (POD_MAC, GATEWAY_MAC)


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
def test_a_reset_is_never_answered(node: Datapath, program: str, src: str, dst: str, port: int) -> None:
    empty_service(node, program, dst, port)
    for flags in ("R", "RA"):
        done = node.run(program, frame(src, dst, segment(port, flags)))
        assert (done.verdict, done.reason) == SILENT


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
@pytest.mark.parametrize("kind", ["UDP", "UDP, empty", "UDP, odd and long", "TCP with data"])
def test_the_rest_is_answered_port_unreachable_and_quoted_whole(
    node: Datapath, program: str, src: str, dst: str, port: int, kind: str
) -> None:
    empty_service(node, program, dst, port)
    sizes = {"UDP": 33, "UDP, empty": 0, "UDP, odd and long": 1183}
    asked = frame(src, dst, datagram(dport=port, size=sizes[kind]) if kind in sizes else data(dport=port))
    done = node.run(program, asked)
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NO_BACKEND)
    assert addresses(done.packet) == (dst, src)
    if IPv6 in asked:
        assert (done.packet[ICMPv6DestUnreach].code, ip_of(done.packet).hlim) == (4, 64)
    else:
        assert (done.packet[ICMP].type, done.packet[ICMP].code, ip_of(done.packet).ttl) == (3, 3, 64)
        assert IPerror in done.packet
    assert bytes(quoted_by(done.packet)) == bytes(ip_of(asked))
    assert len(done.packet) <= 14 + 1280
    assert icmp_sum_holds(done.packet)
    assert (done.packet[Ether].dst, done.packet[Ether].src) == (POD_MAC, GATEWAY_MAC)


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
def test_a_datagram_too_long_to_quote_is_dropped_silently(
    node: Datapath, program: str, src: str, dst: str, port: int
) -> None:
    empty_service(node, program, dst, port)
    done = node.run(program, frame(src, dst, datagram(dport=port, size=1185)))
    assert (done.verdict, done.reason) == SILENT


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
def test_udp_without_a_checksum_is_dropped_silently(
    node: Datapath, program: str, src: str, dst: str, port: int
) -> None:
    empty_service(node, program, dst, port)
    bare = UDP(sport=40000, dport=port, chksum=0) / Raw(b"query")
    assert (node.run(program, frame(src, dst, bare)).reason, node.tables["flows"].count()) == (SILENT[1], 0)


UNANSWERABLE = [
    pytest.param(IP(src=POD, dst=VIP, flags="MF") / datagram(dport=80), id="a first fragment"),
    pytest.param(IP(src=POD, dst=VIP, flags="MF") / data(dport=80), id="a first fragment of TCP"),
    pytest.param(IP(src=POD, dst=VIP, options=[IPOption_NOP()] * 4) / syn(), id="IPv4 options"),
    pytest.param(IPv6(src=POD6, dst=VIP6) / IPv6ExtHdrDestOpt() / syn(), id="an extension header"),
]


@pytest.mark.parametrize("packet", UNANSWERABLE)
def test_what_can_not_be_quoted_whole_is_dropped_silently(node: Datapath, packet: Packet) -> None:
    empty_service(node, "pod_ingress", VIP6 if IPv6 in packet else VIP, 80)
    done = node.run("pod_ingress", Ether(src=POD_MAC, dst=GATEWAY_MAC) / packet)
    assert (done.verdict, done.reason) == SILENT


def test_a_later_fragment_to_a_service_without_endpoints_is_dropped_silently(node: Datapath) -> None:
    empty_service(node, "pod_ingress", VIP, 80)
    link = Ether(src=POD_MAC, dst=GATEWAY_MAC)
    node.run("pod_ingress", link / IP(src=POD, dst=VIP, flags="MF", id=5) / datagram(dport=80))
    later = node.run("pod_ingress", link / IP(src=POD, dst=VIP, frag=6, id=5, proto=17) / Raw(b"rest"))
    assert (later.verdict, later.reason) == SILENT


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
@shows("60 62 no local endpoint", pytest.mark.parametrize("kind", ["TCP", "TCP with data", "UDP"]))
def test_policy_local_without_an_endpoint_drops_and_does_not_refuse(
    node: Datapath, program: str, src: str, dst: str, port: int, kind: str
) -> None:
    empty_service(node, program, dst, port, local=True)
    l4 = {"TCP": syn(dport=port), "TCP with data": data(dport=port), "UDP": datagram(dport=port)}[kind]
    done = node.run(program, frame(src, dst, l4))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NO_LOCAL_BACKEND)


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
@pytest.mark.parametrize("protocol", [6, 17], ids=["TCP", "UDP"])
def test_the_very_next_packet_is_served_once_there_is_an_endpoint(
    node: Datapath, program: str, src: str, dst: str, port: int, protocol: int
) -> None:
    """Of the flow that was refused, too; nothing is left of a refusal, and the agent says no more than the service."""
    empty_service(node, program, dst, port)
    sent = frame(src, dst, syn(dport=port) if protocol == 6 else datagram(dport=port))
    for _ in range(3):
        assert node.run(program, sent).reason is DropReason.DROP_NO_BACKEND
    assert node.tables["flows"].count() == 0
    scope = Scope.SCOPE_EXTERNAL if program == "uplink_ingress" else Scope.SCOPE_INTERNAL
    under = {NODE: "0.0.0.0", NODE6: "::"}.get(dst, dst)
    backend = OTHER6 if ":" in dst else OTHER
    node.service(under, port, [(backend, 8080, True)], protocol=protocol, scope=scope)
    served = node.run(program, sent)
    assert (addresses(served.packet)[1], ports(served.packet)[1]) == (backend, 8080)


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
def test_each_refusal_of_a_burst_is_answered(node: Datapath, program: str, src: str, dst: str, port: int) -> None:
    """None is left out for there being many, as ICMP's rate limits would have it."""
    empty_service(node, program, dst, port)
    sent = [bytes(frame(src, dst, l4)) for l4 in (syn(dport=port), datagram(dport=port))]
    fd = node.objects["tc_pod" if program == "pod_ingress" else "tc_uplink"].program_fd(program)
    context = struct.pack("<40xI", LOOPBACK).ljust(192, b"\0")  # struct __sk_buff, with the device
    before = node.counted()
    seen = [libbpf.test_run(fd, sent[turn % 2], context=context) for turn in range(1000)]
    assert {one.retval for one in seen} == {TC_ACT_REDIRECT}
    counted = {key: number - before.get(key, 0) for key, number in node.counted().items()}
    assert {reason: number for (_, _, reason), number in counted.items() if number} == {"DROP_NO_BACKEND": 1000}
    assert node.tables["flows"].count() == 0


@shows("31 the last ready endpoint leaves")
def test_a_connection_outlives_its_services_last_endpoint(node: Datapath) -> None:
    node.service(VIP, 80, [("10.244.1.3", 8080, True)])
    node.run("pod_ingress", frame(POD, VIP, syn()))
    empty_service(node, "pod_ingress", VIP, 80)
    established = node.run("pod_ingress", frame(POD, VIP, data()))
    assert (addresses(established.packet), established.reason) == ((POD, "10.244.1.3"), DropReason.DROP_NONE)
    fresh = node.run("pod_ingress", frame(POD, VIP, syn(sport=40001)))
    assert fresh.reason == DropReason.DROP_NO_BACKEND
