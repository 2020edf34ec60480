"""SCTP is served: translated with its checksum right, tracked by its chunks, refused by ABORT."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import (
    SCTP,
    SCTPChunkAbort,
    SCTPChunkCookieAck,
    SCTPChunkData,
    SCTPChunkError,
    SCTPChunkHeartbeatReq,
    SCTPChunkInit,
    SCTPChunkInitAck,
    SCTPChunkParamIPv4Addr,
    SCTPChunkParamIPv6Addr,
    SCTPChunkParamSupportedAddrTypes,
    SCTPChunkShutdown,
    SCTPChunkShutdownAck,
    SCTPChunkShutdownComplete,
)
from scapy.packet import Packet, Raw

from maps.abi import DropReason, NodeFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    LOOPBACK,
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
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    frame,
)
from tests.bpf.packets import UNREACHABLE, addresses, icmp_error, icmp_sum_holds, ip_of, quoted_by
from tests.bpf.test_flow_move import says
from tests.bpf.test_gc import age, left
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

NUMBER, PORT, NODE_PORT, BACKEND_PORT = 132, 2905, 30205, 3905


@dataclass(frozen=True)
class Family:
    """The addresses of one family."""

    pod: str
    vip: str
    backend: str
    own: str  # the node's
    under: str  # node ports' in the map
    client: str  # outside
    remote: str  # a backend of another node


V4 = Family(POD, VIP, OTHER, NODE, "0.0.0.0", CLIENT, REMOTE)
V6 = Family(POD6, VIP6, OTHER6, NODE6, "::", CLIENT6, REMOTE6)
FAMILIES = pytest.mark.parametrize("f", [pytest.param(V4, id="IPv4"), pytest.param(V6, id="IPv6")])
TAG, INIT_TAG = 0x5EEDF00D, 0x0BADCAFE
PAD = 0x8005  # RFC 4820


def init() -> Packet:
    """What begins an association."""
    return SCTPChunkInit(init_tag=INIT_TAG, a_rwnd=106496, n_out_streams=10, n_in_streams=10)


def payload(size: int = 20) -> Packet:
    """A chunk of data, padded to a multiple of four octets."""
    return SCTPChunkData(data=bytes(n % 251 for n in range(size)), beginning=1, ending=1)


def to(dport: int, chunk: Packet, *, sport: int = 40000) -> Packet:
    """A packet of one chunk; one that begins an association has no tag."""
    return SCTP(sport=sport, dport=dport, tag=0 if isinstance(chunk, SCTPChunkInit) else TAG) / chunk


def answer(handed: Packet, chunk: Packet, mac: str = OTHER_MAC) -> Packet:
    """The other end's answer to what it was handed."""
    src, dst = addresses(handed)
    asked = handed[SCTP]
    return frame(dst, src, to(asked.sport, chunk, sport=asked.dport), mac=mac)


def ports(packet: Packet) -> tuple[int, int]:
    """Source and destination port."""
    return packet[SCTP].sport, packet[SCTP].dport


def chunk_of(packet: Packet) -> bytes:
    """What stands behind ports, tag and checksum."""
    return bytes(packet[SCTP])[12:]


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


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


STRAY = [
    pytest.param(SCTPChunkHeartbeatReq(), id="HEARTBEAT, as of another path of an association"),
    pytest.param(SCTPChunkInitAck(), id="INIT ACK"),
    pytest.param(SCTPChunkAbort(), id="ABORT"),
]


@FAMILIES
@pytest.mark.parametrize("chunk", STRAY)
def test_what_begins_no_association_is_translated_nowhere(
    node: Datapath, device: int, f: Family, chunk: Packet
) -> None:
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    node.service(f.under, NODE_PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER, scope=Scope.SCOPE_EXTERNAL)
    node.service(f.vip, PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER)
    for program, src, dst, port in (
        ("uplink_ingress", f.client, f.own, NODE_PORT),
        ("pod_ingress", f.pod, f.vip, PORT),
        ("pod_ingress", f.pod, f.client, PORT),
    ):
        done = node.run(program, frame(src, dst, to(port, chunk)), device if program.startswith("uplink") else 1)
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_STRAY_SEGMENT)
    assert left(node) == 0


@FAMILIES
def test_what_goes_on_after_its_flow_was_lost_has_a_backend(node: Datapath, f: Family) -> None:
    node.service(f.vip, PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER)
    done = node.run("pod_ingress", frame(f.pod, f.vip, to(PORT, payload())))
    assert (addresses(done.packet), checksums_hold(done.packet)) == ((f.pod, f.backend), True)


@FAMILIES
def test_an_association_stays_with_a_backend_that_left_and_a_new_one_does_not(node: Datapath, f: Family) -> None:
    set_id = node.service(f.vip, PORT, [(f.backend, BACKEND_PORT, True)], protocol=NUMBER)
    node.run("pod_ingress", frame(f.pod, f.vip, to(PORT, init())))
    node.backends(set_id, [(f.backend, BACKEND_PORT + 1, True)])
    node.node(revision=2)
    assert ports(node.run("pod_ingress", frame(f.pod, f.vip, to(PORT, payload()))).packet)[1] == BACKEND_PORT
    other = frame(f.pod, f.vip, to(PORT, init(), sport=40001))
    assert ports(node.run("pod_ingress", other).packet)[1] == BACKEND_PORT + 1


def test_what_goes_on_waits_while_flows_move(node: Datapath) -> None:
    node.service(VIP, PORT, [(OTHER, BACKEND_PORT, True)], protocol=NUMBER)
    says(node, 3)
    assert node.run("pod_ingress", frame(POD, VIP, to(PORT, payload()))).reason is DropReason.DROP_FLOW_MOVES
    assert node.run("pod_ingress", frame(POD, VIP, to(PORT, init()))).reason is DropReason.DROP_NONE


ASK, SHUTDOWN, ABORT = payload(), SCTPChunkShutdown(), SCTPChunkAbort()
STATES = [
    pytest.param([init()], [], 60, id="unanswered: a minute"),
    pytest.param([init()], [SCTPChunkInitAck()], 210, id="answered: three minutes and a half"),
    pytest.param([init(), SHUTDOWN], [SCTPChunkInitAck()], 210, id="one end shuts down: the same"),
    pytest.param([init(), SHUTDOWN], [SCTPChunkInitAck(), SCTPChunkShutdownAck()], 10, id="both have: ten seconds"),
    pytest.param([init(), ABORT], [SCTPChunkInitAck()], 60, id="aborted: a minute"),
    pytest.param([init()], [ABORT], 10, id="refused: ten seconds"),
]


@pytest.mark.parametrize(("asked", "answered", "timeout_s"), STATES)
def test_a_flow_ends_after_the_time_of_its_state(
    node: Datapath, asked: list[Packet], answered: list[Packet], timeout_s: int
) -> None:
    node.service(VIP, PORT, [(OTHER, BACKEND_PORT, True)], protocol=NUMBER)
    handed = node.run("pod_ingress", frame(POD, VIP, to(PORT, asked[0]))).packet
    for chunk in answered[:1]:
        node.run("pod_egress", answer(handed, chunk))
    for chunk in asked[1:]:
        node.run("pod_ingress", frame(POD, VIP, to(PORT, chunk)))
    for chunk in answered[1:]:
        node.run("pod_egress", answer(handed, chunk))
    age(node, timeout_s - 2)
    node.gc()
    assert left(node) == 2
    age(node, 4)
    node.gc()
    assert left(node) == 0


def test_an_association_that_is_over_begins_anew_with_another_backend(node: Datapath) -> None:
    set_id = node.service(VIP, PORT, [(OTHER, BACKEND_PORT, True)], protocol=NUMBER)
    handed = node.run("pod_ingress", frame(POD, VIP, to(PORT, init()))).packet
    node.run("pod_egress", answer(handed, ABORT))
    node.backends(set_id, [(OTHER, BACKEND_PORT + 1, True)])
    assert ports(node.run("pod_ingress", frame(POD, VIP, to(PORT, init()))).packet)[1] == BACKEND_PORT + 1


HOOKS = [
    pytest.param("pod_ingress", POD, VIP, PORT, id="a pod's"),
    pytest.param("pod_ingress", POD6, VIP6, PORT, id="a pod's, IPv6"),
    pytest.param("uplink_ingress", CLIENT, NODE, NODE_PORT, id="from outside"),
    pytest.param("uplink_ingress", CLIENT6, NODE6, NODE_PORT, id="from outside, IPv6"),
    pytest.param("uplink_egress", NODE, VIP, PORT, id="the node's own"),
    pytest.param("uplink_egress", NODE6, VIP6, PORT, id="the node's own, IPv6"),
]


def refused(node: Datapath, program: str, src: str, dst: str, port: int, l4: Packet) -> Packet | DropReason:
    """How a service without endpoints answers; or why it does not."""
    under = {NODE: "0.0.0.0", NODE6: "::"}.get(dst, dst)
    scope = Scope.SCOPE_EXTERNAL if program == "uplink_ingress" else Scope.SCOPE_INTERNAL
    node.service(under, port, [], protocol=NUMBER, scope=scope)
    done = node.run(program, frame(src, dst, l4))
    if done.verdict != TC_ACT_REDIRECT:
        return done.reason
    assert done.reason is DropReason.DROP_NO_BACKEND
    assert (addresses(done.packet), ports(done.packet)) == ((dst, src), (port, 40000))
    assert (done.packet[Ether].dst, done.packet[Ether].src) == (POD_MAC, GATEWAY_MAC)
    assert len(done.packet) == 14 + len(ip_of(done.packet))
    assert checksums_hold(done.packet)
    return done.packet


@pytest.mark.parametrize(("program", "src", "dst", "port"), HOOKS)
@pytest.mark.parametrize(
    ("chunk", "tag", "octets"),
    [
        pytest.param(init(), INIT_TAG, bytes((6, 0, 0, 4)), id="INIT: ABORT under the tag that it names"),
        pytest.param(payload(400), TAG, bytes((6, 1, 0, 4)), id="data: ABORT under its own tag"),
        pytest.param(SCTPChunkHeartbeatReq(), TAG, bytes((6, 1, 0, 4)), id="HEARTBEAT: the same"),
        pytest.param(SCTPChunkShutdownAck(), TAG, bytes((14, 1, 0, 4)), id="SHUTDOWN ACK: SHUTDOWN COMPLETE"),
    ],
)
def test_a_service_without_endpoints_answers_as_who_has_no_association(
    node: Datapath, program: str, src: str, dst: str, port: int, chunk: Packet, tag: int, octets: bytes
) -> None:
    found = refused(node, program, src, dst, port, to(port, chunk))
    assert isinstance(found, Packet)
    assert (found[SCTP].tag, chunk_of(found)) == (tag, octets)


@pytest.mark.parametrize(
    "l4",
    [
        pytest.param(to(PORT, ABORT), id="ABORT"),
        pytest.param(to(PORT, SCTPChunkShutdownComplete()), id="SHUTDOWN COMPLETE"),
        pytest.param(to(PORT, SCTPChunkCookieAck()), id="COOKIE ACK"),
        pytest.param(to(PORT, SCTPChunkError()), id="ERROR"),
        pytest.param(to(PORT, SCTPChunkInit(init_tag=0)), id="INIT without a tag"),
    ],
)
def test_what_is_never_answered_is_not(node: Datapath, l4: Packet) -> None:
    assert refused(node, "pod_ingress", POD, VIP, PORT, l4) is DropReason.DROP_NO_BACKEND_SILENT


def test_an_address_of_services_at_a_port_that_none_has_is_refused(node: Datapath) -> None:
    node.service_address(VIP)
    done = node.run("pod_ingress", frame(POD, VIP, to(PORT, init())))
    assert (done.verdict, done.reason, chunk_of(done.packet)) == (
        TC_ACT_REDIRECT,
        DropReason.DROP_NO_SERVICE,
        bytes((6, 0, 0, 4)),
    )


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
