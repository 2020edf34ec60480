"""What can not be read is dropped under its own reason; what can be read is, whatever stands before its ports."""

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from maps.abi import DropReason
from tests.bpf.datapath import (
    GATEWAY_MAC,
    OTHER,
    OTHER6,
    POD,
    POD6,
    POD_MAC,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses

pytestmark = pytest.mark.kernel

ETHER = Ether(src=POD_MAC, dst=GATEWAY_MAC)
LINK = bytes.fromhex("eeeeeeeeeeee020000000001")


def ether(*layers: Packet) -> Packet:
    """A frame of the pod with these layers."""
    whole = ETHER.copy()
    for layer in layers:
        whole /= layer
    return Ether(bytes(whole))


def v6(next_header: int, payload: bytes, src: str = POD6, dst: str = VIP6) -> Packet:
    """An IPv6 packet of the pod, whatever stands behind its header."""
    return ether(IPv6(src=src, dst=dst, nh=next_header), Raw(payload))


def patched(packet: Packet, at: int, octets: bytes) -> bytes:
    """A packet with other octets at an offset in its IP header."""
    raw = bytes(packet)
    at += 14
    return raw[:at] + octets + raw[at + len(octets) :]


def option(following: int, units: int = 0) -> bytes:
    """A destination options header of padding, 8 octets and so many units more."""
    return bytes((following, units, 1, 4)) + bytes(4 + 8 * units)


SEGMENT = bytes(TCP(sport=40000, dport=80, flags="S"))
MALFORMED = [
    pytest.param(bytes(frame(POD, VIP, syn()))[:44], "SHORT_PACKET", id="ends in the TCP header"),
    pytest.param(bytes(frame(POD6, VIP6, syn()))[:60], "SHORT_PACKET", id="ends in the TCP header, IPv6"),
    pytest.param(bytes(frame(POD, VIP, datagram()))[:40], "SHORT_PACKET", id="ends in the UDP header"),
    pytest.param(bytes(ether(IP(src=POD, dst=VIP, proto=1)) / Raw(b"\3\3")), "SHORT_PACKET", id="ends in ICMP"),
    pytest.param(bytes(v6(58, b"\1\4")), "SHORT_PACKET", id="ends in ICMPv6"),
    pytest.param(patched(frame(POD, VIP, syn()), 0, b"\x4a")[:50], "SHORT_PACKET", id="ends in its IPv4 options"),
    pytest.param(bytes(v6(60, b"\6\0\1")), "SHORT_PACKET", id="ends in an extension header"),
    pytest.param(patched(v6(60, option(6, 5)), 4, b"\1\0")[:80], "SHORT_PACKET", id="ends in an extension's options"),
    pytest.param(patched(frame(POD, VIP, syn()), 2, b"\0\x1c"), "SHORT_PACKET", id="its length ends in the TCP header"),
    pytest.param(patched(frame(POD, VIP, datagram()), 2, b"\0\x1b"), "SHORT_PACKET", id="and in the UDP header"),
    pytest.param(
        patched(frame(POD, VIP, SCTP(sport=5, dport=80) / Raw(b"\3\0\0\4")), 2, b"\0\x22"),
        "SHORT_PACKET",
        id="and in a chunk",
    ),
    pytest.param(patched(frame(POD6, VIP6, syn()), 4, b"\0\x13"), "SHORT_PACKET", id="and in TCP's of IPv6"),
    pytest.param(patched(v6(58, b"\x80" + bytes(7)), 4, b"\0\4"), "SHORT_PACKET", id="and in ICMPv6"),
    pytest.param(
        patched(v6(44, b"\x3c\0\0\1\0\0\0\7" + option(6) + SEGMENT), 4, b"\0\x10"),
        "SHORT_PACKET",
        id="a first fragment that ends before its ports, and padding that looks like them",
    ),
    pytest.param(patched(frame(POD, VIP, syn()), 0, b"\x55"), "BAD_HEADER", id="version 5 in an IPv4 frame"),
    pytest.param(patched(frame(POD, VIP, syn()), 0, b"\x44"), "BAD_HEADER", id="an IPv4 header of 16 octets"),
    pytest.param(patched(frame(POD, VIP, syn()), 2, b"\0\x13"), "BAD_HEADER", id="IPv4 shorter than its header"),
    pytest.param(patched(frame(POD, VIP, syn()), 0, b"\x4f\0\0\x28"), "BAD_HEADER", id="IPv4 options past its length"),
    pytest.param(patched(frame(POD6, VIP6, syn()), 0, b"\x45"), "BAD_HEADER", id="version 4 in an IPv6 frame"),
    pytest.param(patched(v6(60, option(6) + SEGMENT), 4, b"\0\4"), "BAD_HEADER", id="an extension past the length"),
    pytest.param(bytes(v6(60, option(60) * 9 + SEGMENT)), "EXTENSION_HEADERS", id="nine extension headers"),
    pytest.param(bytes(v6(6, SEGMENT, src="::ffff:10.244.1.2")), "MAPPED_ADDRESS", id="from an IPv4-mapped address"),
    pytest.param(bytes(v6(6, SEGMENT, dst="::ffff:10.96.0.50")), "MAPPED_ADDRESS", id="to an IPv4-mapped address"),
    pytest.param(LINK + b"\x88\xcc" + bytes(60), "ETHERTYPE", id="LLDP"),
    pytest.param(bytes(ether(Dot1Q(vlan=5), IP(src=POD, dst=OTHER), syn())), "VLAN", id="a VLAN tag in the frame"),
    pytest.param(LINK + b"\x81\0\0\5\x08\6" + bytes(40), "VLAN", id="ARP behind a VLAN tag"),
]


@pytest.mark.parametrize(("packet", "reason"), MALFORMED)
def test_what_a_pod_may_not_send_is_dropped_for_its_reason(node: Datapath, packet: bytes, reason: str) -> None:
    done = node.run("pod_ingress", packet)
    assert (done.verdict, done.reason.name) == (TC_ACT_SHOT, f"DROP_{reason}")


@pytest.mark.parametrize(("packet", "reason"), MALFORMED)
def test_the_uplink_leaves_what_it_can_not_read_to_the_stack(node: Datapath, packet: bytes, reason: str) -> None:
    done = node.run("uplink_ingress", packet)
    if reason == "MAPPED_ADDRESS":
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_MAPPED_ADDRESS)
    else:
        assert (done.verdict, dict(done.reasons), bytes(done.packet)) == (TC_ACT_UNSPEC, {}, packet)


def test_arp_passes(node: Datapath) -> None:
    done = node.run("pod_ingress", ether(ARP(hwsrc=POD_MAC, psrc=POD, pdst="169.254.1.1")))
    assert (done.verdict, done.reason) == (TC_ACT_OK, DropReason.DROP_NONE)


@pytest.mark.parametrize("program", ["uplink_ingress", "uplink_egress"])
def test_an_uplink_passes_every_ethertype_uncounted(node: Datapath, program: str) -> None:
    done = node.run(program, LINK + b"\x88\xcc" + bytes(60))
    assert (done.verdict, dict(done.reasons)) == (TC_ACT_UNSPEC, {})


@pytest.mark.parametrize("l4", [syn(), data(), datagram(dport=80)], ids=["TCP", "TCP with data", "UDP"])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param([IPOption_NOP()] * 4, id="4 octets"),
        pytest.param([IPOption_RR(routers=["0.0.0.0"] * 9)], id="40 octets, the most"),
    ],
)
def test_a_packet_with_ipv4_options_is_translated(node: Datapath, l4: Packet, options: list[Packet]) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True)], protocol=17 if UDP in l4 else 6)
    done = node.run("pod_ingress", ether(IP(src=POD, dst=VIP, options=options), l4))
    assert done.verdict == TC_ACT_REDIRECT
    assert (addresses(done.packet), done.packet.dport) == ((POD, OTHER), 8080)
    assert checksums_hold(done.packet)


@pytest.mark.parametrize("l4", [syn(), data(), datagram(dport=80)], ids=["TCP", "TCP with data", "UDP"])
@pytest.mark.parametrize(
    "extensions",
    [
        pytest.param([IPv6ExtHdrHopByHop()], id="hop by hop"),
        pytest.param([IPv6ExtHdrDestOpt()] * 8, id="eight, the most"),
        pytest.param([IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting()], id="each kind"),
    ],
)
def test_a_packet_with_ipv6_extension_headers_is_translated(
    node: Datapath, l4: Packet, extensions: list[Packet]
) -> None:
    node.service(VIP6, 80, [(OTHER6, 8080, True)], protocol=17 if UDP in l4 else 6)
    done = node.run("pod_ingress", ether(IPv6(src=POD6, dst=VIP6), *extensions, l4))
    assert done.verdict == TC_ACT_REDIRECT
    assert addresses(done.packet) == (POD6, OTHER6)
    assert done.packet[UDP if UDP in l4 else TCP].dport == 8080
    assert checksums_hold(done.packet)
