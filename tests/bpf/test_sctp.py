"""SCTP is translated with its checksum right: whole, in fragments, and in the errors that quote it."""

import struct

import pytest
from scapy.layers.inet import IP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkParamIPv4Addr,
    SCTPChunkParamIPv6Addr,
    SCTPChunkParamSupportedAddrTypes,
)
from scapy.packet import Packet, Raw

from maps.abi import DropReason, NodeFlag, Scope
from tests.bpf.datapath import (
    GATEWAY_MAC,
    LOOPBACK,
    OTHER,
    POD,
    POD_MAC,
    REMOTE,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP,
    Datapath,
    checksums_hold,
    frame,
)
from tests.bpf.packets import UNREACHABLE, addresses, icmp_error, icmp_sum_holds, ip_of, quoted_by
from tests.bpf.sctp import (
    BACKEND_PORT,
    FAMILIES,
    INIT_TAG,
    NODE_PORT,
    NUMBER,
    PORT,
    TAG,
    Family,
    answer,
    chunk_of,
    device,
    init,
    payload,
    ports,
    to,
)

__all__ = ["device"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

PAD = 0x8005  # RFC 4820


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 4, 33, 240, 1000, 1001, 1400])
def test_there_and_back_the_tuple_alone_is_another(node: Datapath, f: Family, size: int) -> None:
    node.service(f.vip, PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER)
    node.run("pod_ingress", frame(f.pod, f.vip, to(PORT, init())))
    sent = frame(f.pod, f.vip, to(PORT, payload(size)))
    handed = node.run("pod_ingress", sent)
    assert (handed.verdict, handed.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    assert (addresses(handed.packet), ports(handed.packet)) == ((f.pod, f.backend), (40000, BACKEND_PORT))
    assert (handed.packet[SCTP].tag, chunk_of(handed.packet)) == (TAG, chunk_of(sent))
    assert checksums_hold(handed.packet)
    said = answer(handed.packet, payload(size))
    back = node.run("pod_egress", said)
    assert (addresses(back.packet), ports(back.packet)) == ((f.vip, f.pod), (PORT, 40000))
    assert chunk_of(back.packet) == chunk_of(said)
    assert checksums_hold(back.packet)


@FAMILIES
def test_a_node_port_is_served_from_outside_here_and_elsewhere(node: Datapath, device: int, f: Family) -> None:
    node.service(f.under, NODE_PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER, scope=Scope.SCOPE_EXTERNAL)
    done = node.run("uplink_ingress", frame(f.client, f.own, to(NODE_PORT, init())), device)
    assert (done.verdict, addresses(done.packet), ports(done.packet)) == (
        TC_ACT_REDIRECT,
        (f.client, f.backend),
        (40000, BACKEND_PORT),
    )
    assert checksums_hold(done.packet)
    node.service(f.under, NODE_PORT + 1, [(f.remote, BACKEND_PORT, False)], protocol=NUMBER, scope=Scope.SCOPE_EXTERNAL)
    done = node.run("uplink_ingress", frame(f.client, f.own, to(NODE_PORT + 1, init())), device)
    assert (addresses(done.packet), ports(done.packet)[1]) == ((f.own, f.remote), BACKEND_PORT)
    assert checksums_hold(done.packet)
    back = node.run("uplink_ingress", answer(done.packet, SCTPChunkInitAck(), POD_MAC), device)
    assert (addresses(back.packet), ports(back.packet)) == ((f.own, f.client), (NODE_PORT + 1, 40000))
    assert checksums_hold(back.packet)


def with_addresses(chunk: type[Packet]) -> Packet:
    """An INIT, or its answer, of who has more addresses, among other parameters."""
    said = [
        SCTPChunkParamIPv4Addr(addr="10.9.0.1"),
        SCTPChunkParamIPv6Addr(addr="fd09::1"),
        SCTPChunkParamSupportedAddrTypes(addr_type_list=["IPv4", "IPv6", "IPv4"]),
        SCTPChunkParamIPv4Addr(addr="10.9.0.2"),
    ]
    return chunk(init_tag=INIT_TAG, a_rwnd=106496, n_out_streams=10, n_in_streams=10, params=said)


def parameters(packet: Packet) -> list[tuple[int, bytes]]:
    """The parameters of an INIT or its answer: the type, and what is in it."""
    octets, found = chunk_of(packet)[20:], []
    while octets:
        kind, length = struct.unpack_from("!HH", octets)
        found.append((kind, octets[4:length]))
        octets = octets[(length + 3) // 4 * 4 :]
    return found


@FAMILIES
@pytest.mark.parametrize("port", [PORT, BACKEND_PORT], ids=["the same port", "another port"])
def test_past_a_translation_nobody_hears_of_other_addresses(node: Datapath, f: Family, port: int) -> None:
    node.service(f.vip, PORT, [(f.backend, port, True)], protocol=NUMBER)
    asked = frame(f.pod, f.vip, to(PORT, with_addresses(SCTPChunkInit)))
    handed = node.run("pod_ingress", asked).packet
    said = answer(handed, with_addresses(SCTPChunkInitAck))
    for before, after in ((asked, handed), (said, node.run("pod_egress", said).packet)):
        there, here = parameters(before), parameters(after)
        assert [kind for kind, _ in there] == [5, 6, 12, 5]
        assert [kind for kind, _ in here] == [PAD, PAD, 12, PAD]
        assert [content for _, content in here] == [content for _, content in there]
        assert bytes(after[SCTP])[12:32] == bytes(before[SCTP])[12:32]
        assert checksums_hold(after)


def test_who_is_not_translated_says_all_his_addresses(node: Datapath) -> None:
    asked = frame(POD, OTHER, to(PORT, with_addresses(SCTPChunkInit)))
    assert chunk_of(node.run("pod_ingress", asked).packet) == chunk_of(asked)


@pytest.mark.parametrize("length", [0, 3, 200, 0xFFFF])
def test_a_parameter_of_a_wrong_length_ends_the_search(node: Datapath, length: int) -> None:
    node.service(VIP, PORT, [(OTHER, BACKEND_PORT, True)], protocol=NUMBER)
    wrong = (
        SCTP(sport=40000, dport=PORT) / SCTPChunkInit(init_tag=INIT_TAG, len=32) / Raw(struct.pack("!HH8x", 12, length))
    )
    done = node.run("pod_ingress", frame(POD, VIP, wrong))
    assert (done.reason, checksums_hold(done.packet)) == (DropReason.DROP_NONE, True)


@FAMILIES
def test_xdp_leaves_it_to_tc(node: Datapath, device: int, f: Family) -> None:
    node.service(f.under, NODE_PORT, [(f.remote, BACKEND_PORT, False)], protocol=NUMBER, scope=Scope.SCOPE_EXTERNAL)
    sent = frame(f.client, f.own, to(NODE_PORT, init()))
    assert bytes(node.run("uplink_xdp", sent, device).packet) == bytes(sent)


@FAMILIES
def test_a_pod_that_leaves_is_its_node_and_itself_in_the_answer(node: Datapath, device: int, f: Family) -> None:
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    for sport, is_kept in ((5000, True), (40000, False)):  # the latter is of those that the node's own sockets have
        done = node.run("pod_ingress", frame(f.pod, f.client, to(PORT, init(), sport=sport)))
        assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
        assert addresses(done.packet) == (f.own, f.client)
        assert (ports(done.packet)[0] == sport) is is_kept
        assert checksums_hold(done.packet)
        back = node.run("uplink_ingress", answer(done.packet, SCTPChunkInitAck(), POD_MAC), device)
        assert (addresses(back.packet), ports(back.packet)) == ((f.client, f.pod), (PORT, sport))
        assert checksums_hold(back.packet)


def fragments(src: str, dst: str, l4: Packet) -> list[Packet]:
    """A packet in frames of at most 600 octets, its checksum right for the whole."""
    if ":" in src:
        pieces = fragment6(IPv6(bytes(IPv6(src=src, dst=dst) / IPv6ExtHdrFragment(id=7) / l4)), 600)  # type: ignore[no-untyped-call]
    else:
        pieces = fragment(IP(bytes(IP(src=src, dst=dst, id=7) / l4)), 552)  # type: ignore[no-untyped-call]
    return [Ether(bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / piece)) for piece in pieces]


@FAMILIES
def test_fragments_reach_a_backend_at_the_services_own_port(node: Datapath, f: Family) -> None:
    node.service(f.vip, PORT, [(f.backend, PORT, True)], protocol=NUMBER)
    sent = fragments(f.pod, f.vip, to(PORT, payload(1300)))
    done = [node.run("pod_ingress", each) for each in sent]
    assert {(each.reason, addresses(each.packet)) for each in done} == {(DropReason.DROP_NONE, (f.pod, f.backend))}
    octets = len(bytes(ip_of(sent[0]))) - len(bytes(ip_of(sent[0]).payload))
    assert [bytes(each.packet)[14 + octets :] for each in done] == [bytes(each)[14 + octets :] for each in sent]


@FAMILIES
def test_fragments_whose_port_would_change_are_dropped(node: Datapath, f: Family) -> None:
    node.service(f.vip, PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER)
    first, *_ = fragments(f.pod, f.vip, to(PORT, payload(1300)))
    done = node.run("pod_ingress", first)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SCTP_FRAGMENT)


@FAMILIES
@pytest.mark.parametrize("octets", [8, 1232], ids=["8 octets quoted", "all quoted"])
def test_an_error_about_a_packet_to_a_service_comes_back_as_if_about_the_service(
    node: Datapath, f: Family, octets: int
) -> None:
    node.service(f.vip, PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER)
    sent = frame(f.pod, f.vip, to(PORT, init()))
    error = icmp_error(node.run("pod_ingress", sent).packet, UNREACHABLE, f.backend, octets=octets)
    done = node.run("pod_egress", error)
    assert (done.reason, addresses(done.packet)) == (DropReason.DROP_NONE, (f.vip, f.pod))
    assert icmp_sum_holds(done.packet)
    quoted = quoted_by(done.packet)
    assert (addresses(quoted), bytes(quoted.payload)[:8]) == ((f.pod, f.vip), bytes(sent[SCTP])[:8])


def test_ipip_cuts_what_the_kernel_makes_no_room_in(node: Datapath) -> None:
    node.node(tunnel=LOOPBACK, flags=NodeFlag.NODE_IPIP)
    node.prefix("10.244.2.0/24", "10.88.0.12")
    sent = frame(POD, REMOTE, to(PORT, payload(1200)))
    done = node.run("pod_ingress", sent, gso_size=600)
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    assert (addresses(done.packet), bytes(done.packet[SCTP])) == ((POD, REMOTE), bytes(sent[SCTP]))


@pytest.mark.parametrize("cut", [12, 15])
def test_a_packet_has_a_chunk(node: Datapath, cut: int) -> None:
    whole = bytes(frame(POD, OTHER, to(PORT, payload())))
    done = node.run("pod_ingress", whole[: 14 + 20 + cut])
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SHORT_PACKET)
