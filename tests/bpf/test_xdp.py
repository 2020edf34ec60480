"""What serves both hooks does the same at both: a packet leaves XDP's program with the octets that tc's gives it."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps.abi import NodeFlag, ServiceFlag
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER_MAC,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    XDP_DROP,
    XDP_PASS,
    Datapath,
    checksums_hold,
    data,
    datagram,
    syn,
)
from tests.bpf.packets import TIME_EXCEEDED, TOO_BIG, UNREACHABLE, addresses, answer, icmp_error, icmp_sum_holds

pytestmark = pytest.mark.kernel

FAMILIES = [pytest.param(POD, VIP, REMOTE, id="IPv4"), pytest.param(POD6, VIP6, REMOTE6, id="IPv6")]
PAYLOADS = [
    pytest.param(syn(), id="TCP SYN"),
    pytest.param(data(), id="TCP with data"),
    pytest.param(datagram(dport=80), id="UDP"),
    pytest.param(UDP(sport=40000, dport=80, chksum=0) / Raw(b"bare"), id="UDP without a checksum"),
]
HEADERS = ["plain", "options", "first fragment"]
KINDS = [
    pytest.param(UNREACHABLE, id="unreachable"),
    pytest.param(TOO_BIG, id="too big"),
    pytest.param(TIME_EXCEEDED, id="time exceeded"),
]


def sent(src: str, dst: str, l4: Packet, header: str = "plain") -> Packet:
    """A pod's packet with more in its IP header than need be."""
    if ":" in src:
        ip: Packet = IPv6(src=src, dst=dst)
        between = {"options": IPv6ExtHdrDestOpt(), "first fragment": IPv6ExtHdrFragment(m=1, id=7)}.get(header)
        whole = ip / between / l4 if between else ip / l4
    else:
        options = [IPOption(b"\x07\x07\x04\0\0\0\0\0")] if header == "options" else []
        whole = IP(src=src, dst=dst, id=7, flags="MF" if header == "first fragment" else 0, options=options) / l4
    return Ether(bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / whole))


def at_both(node: Datapath, program: str, packet: Packet) -> Packet:
    """What both hooks make of a packet; the same octets, and neither drops it."""
    handed = node.run(program, packet)
    with node.at("xdp"):
        passed = node.run(program, packet)
    assert handed.verdict != TC_ACT_SHOT
    assert passed.verdict == XDP_PASS
    assert bytes(passed.packet) == bytes(handed.packet)
    assert passed.reasons == handed.reasons
    return passed.packet


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
@pytest.mark.parametrize("l4", PAYLOADS)
@pytest.mark.parametrize("header", HEADERS)
def test_a_service_is_translated_alike_there_and_back(
    node: Datapath, pod: str, vip: str, backend: str, l4: Packet, header: str
) -> None:
    node.service(vip, 80, [(backend, 8080, False)], protocol=17 if UDP in l4 else 6)
    there = at_both(node, "pod_ingress", sent(pod, vip, l4, header))
    assert addresses(there) == (pod, backend)
    if header == "plain":
        back = at_both(node, "pod_egress", answer(there, OTHER_MAC))
        assert addresses(back) == (vip, pod)
        assert checksums_hold(back)


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
@pytest.mark.parametrize("l4", PAYLOADS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_about_a_service_is_translated_back_alike(
    node: Datapath, pod: str, vip: str, backend: str, l4: Packet, kind: dict[int, tuple[int, int]]
) -> None:
    node.service(vip, 80, [(backend, 8080, False)], protocol=17 if UDP in l4 else 6)
    there = node.run("pod_ingress", sent(pod, vip, l4)).packet
    back = at_both(node, "pod_egress", icmp_error(there, kind, backend))
    assert addresses(back) == (vip, pod)
    assert icmp_sum_holds(back)


@pytest.mark.parametrize(("pod", "own", "client"), [(POD, NODE, CLIENT), (POD6, NODE6, CLIENT6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("protocol", ["TCP", "UDP", "echo"])
def test_a_pods_way_to_the_outside_is_masqueraded(
    node: Datapath, pod: str, own: str, client: str, protocol: str
) -> None:
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    echo = ICMPv6EchoRequest(id=9) if ":" in pod else ICMP(id=9)
    l4 = {"TCP": syn(), "UDP": datagram(), "echo": echo}[protocol]
    with node.at("xdp"):
        there = node.run("pod_ingress", sent(pod, client, l4)).packet
    assert addresses(there) == (own, client)
    assert checksums_hold(there)


def test_a_service_without_endpoints_has_the_same_reason(node: Datapath) -> None:
    node.service(VIP, 80, [], flags=ServiceFlag.SERVICE_LOCAL)
    with node.at("xdp"):
        dropped = node.run("pod_ingress", sent(POD, VIP, syn()))
    assert dropped.verdict == XDP_DROP
    assert dropped.reason == node.run("pod_ingress", sent(POD, VIP, syn())).reason
    assert TCP in dropped.packet
