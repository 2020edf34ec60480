"""A fragmented datagram goes to one place: the later fragments follow the first one's ports."""

import pytest
from scapy.layers.inet import IP, UDP, defragment, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, defragment6, fragment6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps.abi import Scope
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
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
)
from tests.bpf.packets import FAMILIES, addresses, ports

pytestmark = pytest.mark.kernel

PAYLOAD = bytes(range(256)) * 10 + b"odd"


def fragments(src: str, dst: str, ident: int, *, sport: int = 40000, dport: int = 53) -> list[Packet]:
    """A datagram in frames of the pod, none above 1,000 octets, its checksum right for the whole."""
    udp = UDP(sport=sport, dport=dport) / Raw(PAYLOAD)
    if ":" in src:
        pieces = fragment6(IPv6(bytes(IPv6(src=src, dst=dst) / IPv6ExtHdrFragment(id=ident) / udp)), 1000)  # type: ignore[no-untyped-call]
    else:
        pieces = fragment(IP(bytes(IP(src=src, dst=dst, id=ident) / udp)), 1000)  # type: ignore[no-untyped-call]
    return [Ether(bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / piece)) for piece in pieces]


def whole(frames: list[Packet]) -> Packet:
    """The datagram that fragments make, in a frame."""
    if IPv6 in frames[0]:
        joined = defragment6([each[IPv6] for each in frames])  # type: ignore[no-untyped-call]
    else:
        (joined,) = defragment(sorted((each[IP] for each in frames), key=lambda ip: ip.frag))  # type: ignore[no-untyped-call]
    return Ether(bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / joined))


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_a_fragmented_datagram_reaches_the_backend_whole(node: Datapath, pod: str, vip: str, backend: str) -> None:
    node.service(vip, 53, [(backend, 8053, True)], protocol=17)
    sent = fragments(pod, vip, 7)
    assert len(sent) > 2
    done = [node.run("pod_ingress", each) for each in sent]
    assert {each.verdict for each in done} == {TC_ACT_REDIRECT}
    assert {addresses(each.packet) for each in done} == {(pod, backend)}
    assert {each.packet[Ether].dst for each in done} == {OTHER_MAC}
    datagram = whole([each.packet for each in done])
    assert (ports(datagram), bytes(datagram[UDP].payload)) == ((40000, 8053), PAYLOAD)
    assert checksums_hold(datagram)


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_a_fragmented_answer_comes_from_the_service(node: Datapath, pod: str, vip: str, backend: str) -> None:
    node.service(vip, 53, [(backend, 8053, True)], protocol=17)
    for each in fragments(pod, vip, 7):
        node.run("pod_ingress", each)
    back = [node.run("pod_egress", each) for each in fragments(backend, pod, 8, sport=8053, dport=40000)]
    assert {addresses(each.packet) for each in back} == {(vip, pod)}
    datagram = whole([each.packet for each in back])
    assert (ports(datagram), bytes(datagram[UDP].payload)) == ((53, 40000), PAYLOAD)
    assert checksums_hold(datagram)


def with_options(dst: str, ident: int) -> list[Packet]:
    """A datagram of the IPv6 pod's with destination options behind the fragment header, in three frames."""
    udp = IPv6(bytes(IPv6(src=POD6, dst=dst) / UDP(sport=40000, dport=53) / Raw(PAYLOAD)))[UDP]
    octets = bytes([17, 0, 1, 4, 0, 0, 0, 0]) + bytes(udp)  # PadN fills the options (RFC 8200 4.2)
    pieces = [octets[at : at + 960] for at in range(0, len(octets), 960)]
    return [
        Ether(
            bytes(
                Ether(src=POD_MAC, dst=GATEWAY_MAC)
                / IPv6(src=POD6, dst=dst, nh=44)
                / IPv6ExtHdrFragment(nh=60, id=ident, offset=n * 120, m=int(n + 1 < len(pieces)))
                / Raw(piece)
            )
        )
        for n, piece in enumerate(pieces)
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)], ids=["in order", "the second first"])
def test_destination_options_behind_the_fragment_header_lose_no_fragment(
    node: Datapath, order: tuple[int, ...]
) -> None:
    node.service(VIP6, 53, [(OTHER6, 8053, True)], protocol=17)
    frames = with_options(VIP6, 11)
    assert len(frames) == 3
    done = [node.run("pod_ingress", frames[n]) for n in order]
    waits = [each for each, n in zip(done, order, strict=True) if order[0] and n == 1]
    assert all(each.verdict == TC_ACT_SHOT and not each.reasons for each in waits), "it waits for the first"
    if not order[0]:
        assert {addresses(each.packet) for each in done} == {(POD6, OTHER6)}
        assert {each.verdict for each in done} == {TC_ACT_REDIRECT}


@pytest.mark.parametrize(
    ("client", "own", "backend", "under"),
    [pytest.param(CLIENT, NODE, POD, "0.0.0.0", id="IPv4"), pytest.param(CLIENT6, NODE6, POD6, "::", id="IPv6")],
)
def test_fragments_from_outside_reach_a_node_ports_backend(
    node: Datapath, client: str, own: str, backend: str, under: str
) -> None:
    node.service(under, 30053, [(backend, 8053, True)], protocol=17, scope=Scope.SCOPE_EXTERNAL)
    done = [node.run("uplink_ingress", each) for each in fragments(client, own, 9, dport=30053)]
    assert {addresses(each.packet) for each in done} == {(client, backend)}
    assert checksums_hold(whole([each.packet for each in done]))


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_datagrams_are_kept_apart_by_their_identification(node: Datapath, pod: str, vip: str, backend: str) -> None:
    node.service(vip, 53, [(backend, 8053, True)], protocol=17)
    one, two = fragments(pod, vip, 7), fragments(pod, vip, 8, dport=54)
    node.run("pod_ingress", one[0])
    node.run("pod_ingress", two[0])
    assert addresses(node.run("pod_ingress", one[1]).packet) == (pod, backend)
    assert addresses(node.run("pod_ingress", two[1]).packet) == (pod, vip)


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_fragments_between_pods_go_straight_to_the_neighbour(node: Datapath, pod: str, vip: str, backend: str) -> None:
    sent = fragments(pod, backend, 7)
    done = [node.run("pod_ingress", each) for each in sent]
    assert {(each.verdict, each.packet[Ether].dst) for each in done} == {(TC_ACT_REDIRECT, OTHER_MAC)}
    assert bytes(whole([each.packet for each in done])[UDP].payload) == PAYLOAD
    assert vip not in addresses(done[0].packet)


def test_a_datagram_in_one_fragment_is_as_one_in_none(node: Datapath) -> None:
    node.service(VIP6, 53, [(OTHER6, 8053, True)], protocol=17)
    atomic = IPv6(src=POD6, dst=VIP6) / IPv6ExtHdrFragment(m=0, id=3) / UDP(sport=40000, dport=53) / Raw(b"query")
    done = node.run("pod_ingress", Ether(bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / atomic)))
    assert addresses(done.packet) == (POD6, OTHER6)
    assert checksums_hold(done.packet)
    assert node.tables["fragments"].count() == 0


@pytest.mark.parametrize("offset", [1, 0xFF, 0x100, 0x1000, 0x1FFF], ids=hex)
def test_any_offset_but_zero_is_a_later_fragment(node: Datapath, offset: int) -> None:
    node.service(VIP, 53, [(OTHER, 8053, True)], protocol=17)
    like_a_header = UDP(sport=40000, dport=53) / Raw(b"these are no ports")
    later = Ether(src=POD_MAC, dst=GATEWAY_MAC) / IP(src=POD, dst=VIP, frag=offset, proto=17) / like_a_header
    done = node.run("pod_ingress", later)
    assert (done.verdict, bytes(done.packet), node.tables["flows"].count()) == (TC_ACT_SHOT, bytes(later), 0)
