"""TCP's GSO packets of more than 64 KiB, whose IP header says no length, go the way of all others.

A program is run on a page at most, so these are short: what tells them is in the header.
"""

import struct
from collections.abc import Callable

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from maps.abi import DropReason, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
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
    datagram,
    frame,
)
from tests.bpf.packets import TOO_BIG, addresses, icmp_error, icmp_sum_holds

pytestmark = pytest.mark.kernel

Big = Callable[[Packet], bytes]
ETHER, IP6_END = 14, 54  # octets of a frame before its IP header, and before what follows IPv6's
SEGMENT = 1000  # octets of data in each


def without_length(packet: Packet) -> bytes:
    """The packet as if it were too long for its length field."""
    raw = bytes(packet)
    if IPv6 in packet:
        return raw[: ETHER + 4] + b"\0\0" + raw[ETHER + 6 :]
    ip = IP(raw[ETHER : ETHER + 20])
    ip.len = 0
    del ip.chksum
    return raw[:ETHER] + bytes(ip) + raw[ETHER + 20 :]


def jumbo(packet: Packet) -> bytes:
    """The same in IPv6, with the option that says the length (RFC 2675)."""
    raw = without_length(packet)
    option = raw[ETHER + 6 : ETHER + 7] + struct.pack("!BBBI", 0, 0xC2, 4, len(raw) - IP6_END + 8)
    return raw[: ETHER + 6] + b"\0" + raw[ETHER + 7 : IP6_END] + option + raw[IP6_END:]


V4 = pytest.param(POD, VIP, OTHER, without_length, id="IPv4")
V6 = pytest.param(POD6, VIP6, OTHER6, jumbo, id="IPv6")
BARE = pytest.param(POD6, VIP6, OTHER6, without_length, id="IPv6 without the option")
EACH = pytest.mark.parametrize(("pod", "vip", "other", "big"), [V4, V6, BARE])
NO_OTHERS = pytest.mark.parametrize(("pod", "vip", "other", "big"), [V4, V6])


def segments(sport: int = 40000, dport: int = 80) -> Packet:
    """Two segments and a bit, of an odd length."""
    return TCP(sport=sport, dport=dport, flags="PA", seq=1001, ack=1) / Raw(b"x" * (2 * SEGMENT + 17))


@EACH
def test_a_pods_go_to_a_service(node: Datapath, pod: str, vip: str, other: str, big: Big) -> None:
    node.service(vip, 80, [(other, 8080, True)])
    done = node.run("pod_ingress", big(frame(pod, vip, segments())), gso_size=SEGMENT)
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    handed = frame(pod, other, segments(dport=8080), mac=GATEWAY_MAC, to=OTHER_MAC, ttl=63)
    assert bytes(done.packet) == big(handed)


@EACH
def test_a_pods_go_to_another_pod(node: Datapath, pod: str, vip: str, other: str, big: Big) -> None:
    node.service(vip, 80, [])
    done = node.run("pod_ingress", big(frame(pod, other, segments())), gso_size=SEGMENT)
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    assert bytes(done.packet) == big(frame(pod, other, segments(), mac=GATEWAY_MAC, to=OTHER_MAC, ttl=63))


@EACH
def test_those_from_outside_reach_a_node_port(node: Datapath, pod: str, vip: str, other: str, big: Big) -> None:
    client, own, anywhere = (CLIENT6, NODE6, "::") if ":" in pod else (CLIENT, NODE, "0.0.0.0")
    node.service(anywhere, 30080, [(pod, 8080, True)], scope=Scope.SCOPE_EXTERNAL)
    done = node.run("uplink_ingress", big(frame(client, own, segments(dport=30080))), gso_size=SEGMENT)
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    handed = frame(client, pod, segments(dport=8080), mac=GATEWAY_MAC, to=POD_MAC, ttl=63)
    assert bytes(done.packet) == big(handed)
    assert {vip, other}.isdisjoint(addresses(done.packet))


@NO_OTHERS
def test_without_segments_the_length_is_missing(node: Datapath, pod: str, vip: str, other: str, big: Big) -> None:
    node.service(vip, 80, [(other, 8080, True)])
    whole = big(frame(pod, vip, segments()))
    done = node.run("pod_ingress", whole)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_BAD_HEADER)
    done = node.run("uplink_ingress", whole)
    assert (done.verdict, bytes(done.packet), dict(done.reasons)) == (TC_ACT_UNSPEC, whole, {})


@EACH
def test_and_so_it_is_of_other_protocols_than_tcp(node: Datapath, pod: str, vip: str, other: str, big: Big) -> None:
    node.service(vip, 53, [(other, 8080, True)], protocol=17)
    done = node.run("pod_ingress", big(frame(pod, vip, datagram(size=2 * SEGMENT))), gso_size=SEGMENT)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_BAD_HEADER)


@EACH
def test_one_to_a_service_without_endpoints_is_not_quoted(
    node: Datapath, pod: str, vip: str, other: str, big: Big
) -> None:
    node.service(vip, 80, [])
    done = node.run("pod_ingress", big(frame(pod, vip, segments())), gso_size=SEGMENT)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NO_BACKEND_SILENT)
    assert other not in addresses(done.packet)


@EACH
def test_an_error_about_one_comes_back_as_about_the_service(
    node: Datapath, pod: str, vip: str, other: str, big: Big
) -> None:
    node.service(vip, 80, [(other, 8080, True)])
    sent = big(frame(pod, vip, segments()))
    handed = node.run("pod_ingress", sent, gso_size=SEGMENT).packet
    done = node.run("pod_egress", icmp_error(handed, TOO_BIG, other, octets=64))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_OK, (vip, pod))
    assert icmp_sum_holds(done.packet)
    header = IP6_END - ETHER if ":" in pod else 20
    quoted = bytes(done.packet)[ETHER + header + 8 :]
    assert quoted[header:] == sent[ETHER + header :][:64]
