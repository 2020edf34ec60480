"""An established IPv4 flow between pods takes the shortcut: the same octets as by the long way, or the long way itself.

Entries are taken away behind the programs' back: what still goes its way is known by a line alone, and what takes the
long way leaves entries.
"""

import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps import abi, mapio
from maps.abi import DropReason
from tests.bpf.clock import early_in_a_unit
from tests.bpf.cpus import FIRST_CPU, before_others, on_cpu
from tests.bpf.datapath import (
    LOOPBACK,
    OTHER,
    OTHER_MAC,
    OTHER_POD_DEVICE,
    POD,
    POD_MAC,
    REMOTE,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    VIP,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses, answer, ports
from tests.bpf.test_cache import forget

pytestmark = pytest.mark.kernel

TCP_PORT, UDP_PORT = 80, 53
COARSE_NS = 20_000_000  # the programs' clock is behind by a tick of the kernel at most
SETS = 512  # of the first CPU, unless a test has it otherwise
TAGGED_SETS = 4  # whose tags stand in one entry
# of struct shortcut: where a field stands, and its form
FROM_IFINDEX, UNTIL, PROTOCOL, LINE = (28, "=I"), (52, "=I"), (14, "=B"), 64


@pytest.fixture(autouse=True)
def _one_cpu(loaded: Datapath) -> Iterator[None]:  # noqa: ARG001  that takes its time before
    with on_cpu(FIRST_CPU), before_others():
        early_in_a_unit()  # some copies hold until it ends
        yield


@pytest.fixture(autouse=True)
def _no_lines(node: Datapath) -> None:
    fd = node.objects["tc_pod"].map_fd("shortcuts")
    keys = b"".join(index.to_bytes(4, "little") for index in range(SETS))
    mapio.update(fd, keys, bytes(2 * LINE * SETS), SETS)


@pytest.fixture
def served(node: Datapath) -> Datapath:
    """Services by TCP and UDP, at the other pod."""
    node.service(VIP, TCP_PORT, [(OTHER, 8080, True)])
    node.service(VIP, UDP_PORT, [(OTHER, 8053, True)], protocol=17)
    return node


def lines(node: Datapath, field: tuple[int, str], value: int | None = None) -> list[int]:
    """A field of each line in use; *value* is written there."""
    fd = node.objects["tc_pod"].map_fd("shortcuts")
    at, form = field
    found: list[int] = []
    for index in range(SETS):
        line_set = bytearray(mapio.lookup(fd, index.to_bytes(4, "little"), 2 * LINE) or b"")
        for line in range(0, len(line_set), LINE):
            if not struct.unpack_from(PROTOCOL[1], line_set, line + PROTOCOL[0])[0]:
                continue
            found += struct.unpack_from(form, line_set, line + at)
            if value is not None:
                struct.pack_into(form, line_set, line + at, value)
                mapio.update(fd, index.to_bytes(4, "little"), bytes(line_set), 1)
    return found


def write_tags(node: Datapath, tag: int) -> None:
    """Have every line of the first CPU tagged so."""
    value, entries = bytes([tag]) * abi.MAPS["shortcut_tags"].value.SIZE, SETS // TAGGED_SETS
    keys = b"".join(index.to_bytes(4, "little") for index in range(entries))
    mapio.update(node.objects["tc_pod"].map_fd("shortcut_tags"), keys, value * entries, entries)


def known(node: Datapath, packet: Packet) -> Packet:
    """Have the flow of a packet known by a line alone; what the receiver was handed by the long way."""
    first = frame(POD, packet[IP].dst, syn(dport=TCP_PORT)) if TCP in packet else packet
    node.run("pod_ingress", first)
    handed = node.run("pod_ingress", packet).packet
    forget(node)
    return handed


def took_long_way(node: Datapath, packet: Packet) -> bool:
    """Whether the packet left an entry, or would have done if it began a connection."""
    done = node.run("pod_ingress", packet)
    return bool(node.tables["flows"].count()) or done.reason is DropReason.DROP_STRAY_SEGMENT


def without_sum(packet: Packet) -> Packet:
    packet[UDP].chksum = 0
    return packet


def with_sum_zero() -> Packet:
    """A datagram whose sum is zero when it has been translated, which is written as 0xffff."""
    plain = Ether(bytes(frame(POD, OTHER, UDP(sport=40000, dport=8053) / Raw(bytes(2)))))
    word = plain[UDP].chksum.to_bytes(2, "big")
    assert Ether(bytes(frame(POD, OTHER, UDP(sport=40000, dport=8053) / Raw(word))))[UDP].chksum == 0xFFFF
    return frame(POD, VIP, UDP(sport=40000, dport=UDP_PORT) / Raw(word))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: frame(POD, VIP, data(dport=TCP_PORT)), id="a segment to a service"),
        pytest.param(lambda: frame(POD, VIP, datagram(dport=UDP_PORT)), id="a datagram to a service"),
        pytest.param(lambda: frame(POD, OTHER, datagram()), id="a datagram to a pod"),
        pytest.param(lambda: frame(POD, VIP, datagram(dport=UDP_PORT), ttl=2), id="a packet with one hop left"),
        pytest.param(lambda: without_sum(frame(POD, VIP, datagram(dport=UDP_PORT))), id="a datagram without a sum"),
        pytest.param(with_sum_zero, id="a datagram whose sum comes out as zero"),
    ],
)
def test_the_shortcut_hands_over_the_same_octets(served: Datapath, make: Callable[[], Packet]) -> None:
    packet = make()
    handed = known(served, packet)
    done = served.run("pod_ingress", packet)
    assert served.tables["flows"].count() == 0
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    assert bytes(done.packet) == bytes(handed)
    assert addresses(done.packet) == (POD, OTHER)
    assert checksums_hold(done.packet) or packet[UDP].chksum == done.packet[UDP].chksum == 0


def test_answers_take_the_shortcut_too(node: Datapath) -> None:
    node.endpoint(OTHER, LOOPBACK, OTHER_MAC)  # the client; the backend is the pod
    node.service(VIP, UDP_PORT, [(POD, 8053, True)], protocol=17)
    asked = node.run("pod_ingress", frame(OTHER, VIP, datagram(dport=UDP_PORT), mac=OTHER_MAC)).packet
    assert addresses(asked) == (OTHER, POD)
    back = [node.run("pod_ingress", answer(asked, POD_MAC)).packet]
    forget(node)
    back.append(node.run("pod_ingress", answer(asked, POD_MAC)).packet)
    assert node.tables["flows"].count() == 0
    assert bytes(back[0]) == bytes(back[1])
    assert (addresses(back[1]), ports(back[1])) == ((VIP, OTHER), (UDP_PORT, 40000))
    assert checksums_hold(back[1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"options": [IPOption_NOP()]}, DropReason.DROP_NONE, id="a header with options"),
        pytest.param({"flags": "MF", "id": 7}, DropReason.DROP_NONE, id="a first fragment"),
        pytest.param({"len": 19}, DropReason.DROP_BAD_HEADER, id="a length that the header alone exceeds"),
    ],
)
def test_what_the_shortcut_does_not_read_takes_the_long_way(
    served: Datapath, change: dict[str, object], reason: DropReason
) -> None:
    packet = frame(POD, VIP, datagram(dport=UDP_PORT))
    known(served, packet)
    for name, value in {"ihl": None, "chksum": None, **change}.items():
        setattr(packet[IP], name, value)
    done = served.run("pod_ingress", packet)
    assert done.reason is reason
    assert served.tables["flows"].count() == (0 if reason else 2)


def test_options_are_not_taken_for_ports(served: Datapath) -> None:
    packet = frame(POD, VIP, datagram(dport=UDP_PORT))
    known(served, packet)
    other = frame(POD, VIP, datagram(sport=41000, dport=UDP_PORT))
    raw, like_ports = bytes(other), bytes(packet[UDP])[:8]
    longer = bytes([0x47]) + raw[15:16] + (len(raw) - 14 + 8).to_bytes(2, "big") + raw[18:34]
    done = served.run("pod_ingress", raw[:14] + longer + like_ports + raw[34:])
    assert done.packet[UDP].sport == 41000
    assert served.tables["flows"].count() == 2


def test_the_last_hop_is_the_stacks_to_refuse(served: Datapath) -> None:
    known(served, frame(POD, VIP, datagram(dport=UDP_PORT)))
    assert served.run("pod_ingress", frame(POD, VIP, datagram(dport=UDP_PORT), ttl=1)).verdict == TC_ACT_OK


@pytest.mark.parametrize("flags", ["S", "SA", "FA", "R"])
def test_what_begins_or_ends_a_connection_takes_the_long_way(served: Datapath, flags: str) -> None:
    known(served, frame(POD, VIP, data(dport=TCP_PORT)))
    assert took_long_way(served, frame(POD, VIP, data(dport=TCP_PORT, flags=flags)))


def test_a_line_serves_its_sender_alone(served: Datapath) -> None:
    packet = frame(POD, VIP, datagram(dport=UDP_PORT))
    known(served, packet)
    done = served.run("pod_ingress", frame(POD, VIP, datagram(dport=UDP_PORT), mac=OTHER_MAC))
    assert done.reason is DropReason.DROP_SOURCE_MAC
    lines(served, FROM_IFINDEX, OTHER_POD_DEVICE)
    assert took_long_way(served, packet)


def test_a_line_holds_for_a_few_seconds(served: Datapath) -> None:
    packet = frame(POD, VIP, datagram(dport=UDP_PORT))
    known(served, packet)
    (until,) = lines(served, UNTIL)
    lines(served, UNTIL, until - 5)
    assert took_long_way(served, packet)


def test_a_line_holds_less_long_until_its_flow_has_gone_on_after_an_answer(node: Datapath) -> None:
    packet, table = frame(POD, OTHER, datagram()), node.tables["flows"]
    node.run("pod_ingress", packet)
    handed = node.run("pod_ingress", packet).packet
    assert lines(node, UNTIL, 0)[0] <= (time.monotonic_ns() >> 30) + 2
    node.run("pod_egress", answer(handed, OTHER_MAC))
    table.update([(key, replace(flow, seen_s=flow.seen_s - 2)) for key, flow in table.items()])
    mapio.update(node.copies, bytes(4), os.urandom(8), 1)
    before = (time.monotonic_ns() - COARSE_NS) >> 30
    node.run("pod_ingress", packet)
    assert max(lines(node, UNTIL)) > before + 2


def test_a_line_of_another_revision_is_void(served: Datapath) -> None:
    packet = frame(POD, VIP, datagram(dport=UDP_PORT))
    known(served, packet)
    served.node(revision=2)
    assert took_long_way(served, packet)


def test_a_line_is_void_when_any_flow_has_ended_early(served: Datapath) -> None:
    packet = frame(POD, VIP, datagram(dport=UDP_PORT))
    for l4 in (syn(sport=41000), data(sport=41000, flags="R")):
        served.run("pod_ingress", frame(POD, OTHER, l4))
    for _ in range(2):
        served.run("pod_ingress", packet)
    served.run("pod_ingress", frame(POD, OTHER, syn(sport=41000)))  # ends the one that was reset
    forget(served)
    assert took_long_way(served, packet)


def test_a_line_is_found_by_its_tag(served: Datapath) -> None:
    packet = frame(POD, VIP, datagram(dport=UDP_PORT))
    long_way = []
    for tag in (0, 1):  # one of them is not the line's own
        known(served, packet)
        write_tags(served, tag)
        long_way.append(took_long_way(served, packet))
    assert any(long_way)


def test_a_tag_that_fits_makes_another_flows_line_no_flows_own() -> None:
    node = Datapath.load(constants={"cache_span": 2})  # so few lines that one stands where each packet looks
    try:
        node.service(VIP, UDP_PORT, [(OTHER, 8053, True)], protocol=17)
        for port in range(40000, 40008):
            known(node, frame(POD, VIP, datagram(sport=port, dport=UDP_PORT)))
        other = frame(POD, OTHER, datagram(sport=41000, dport=UDP_PORT))
        for tag in range(256):
            write_tags(node, tag)
            done = node.run("pod_ingress", other)
            assert (ports(done.packet), node.tables["flows"].count()) == ((41000, UDP_PORT), 1)
            forget(node)
    finally:
        node.close()


def test_a_node_with_limits_charges_every_packet(served: Datapath) -> None:
    packet = frame(POD, VIP, datagram(dport=UDP_PORT))
    known(served, packet)
    served.limit(LOOPBACK, egress=8, ahead_s=100)
    served.node(flags=abi.NodeFlag.NODE_LIMITS)
    assert served.run("pod_ingress", packet).reason is DropReason.DROP_EGRESS_LIMIT


def test_what_leaves_the_node_has_no_line(node: Datapath) -> None:
    node.service(VIP, UDP_PORT, [(REMOTE, 8053, False)], protocol=17)
    for _ in range(3):
        node.run("pod_ingress", frame(POD, VIP, datagram(dport=UDP_PORT)))
    done = node.run("pod_ingress", frame(POD, VIP, datagram(dport=UDP_PORT)))
    assert addresses(done.packet) == (POD, REMOTE)
    assert done.verdict == TC_ACT_OK
    assert not lines(node, UNTIL)


def test_an_ipv6_flow_whose_addresses_end_alike_is_another(served: Datapath) -> None:
    pod, other = (f"fd00::{IPv4Address(a).packed.hex(':', 2)}" for a in (POD, OTHER))
    served.endpoint(pod, LOOPBACK, POD_MAC)
    served.endpoint(other, OTHER_POD_DEVICE, OTHER_MAC)
    for _ in range(3):
        served.run("pod_ingress", frame(pod, other, datagram()))
    assert not lines(served, UNTIL)


def test_more_flows_than_lines_all_keep_their_way() -> None:
    node = Datapath.load(constants={"cache_span": 2})
    try:
        for port in range(40000, 40020):
            for _ in range(2):
                node.run("pod_ingress", frame(POD, OTHER, datagram(sport=port)))
        for port in range(40020, 40040):
            for _ in range(2):
                done = node.run("pod_ingress", frame(POD, OTHER, datagram(sport=port)))
                assert ports(done.packet) == (port, 53)
        assert len(lines(node, UNTIL)) == 4
    finally:
        node.close()
