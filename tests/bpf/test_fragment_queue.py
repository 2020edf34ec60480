"""Fragments in any order: a later one that comes first waits, and follows its datagram's first."""

import random
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps import abi
from maps.abi import DropReason, Scope, SlotState
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
    TC_ACT_UNSPEC,
    VIP,
    Datapath,
    Outcome,
    checksums_hold,
)
from tests.bpf.packets import FAMILIES, addresses, ports
from tests.bpf.test_fragment import PAYLOAD, fragments, whole

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("undisturbed")]

STALE_S = 16  # units of a second and a bit
LOST = ("PROGRAM_POD", "DIRECTION_INGRESS", "DROP_FRAGMENT_ALONE")


LATE_S = 20.0


class Wire:
    """What the loopback device is handed to receive."""

    def __init__(self, tap: socket.socket) -> None:
        self._tap = tap
        self._late = select.poll()  # select() ends at descriptor 1023, and tests have as many maps open
        self._late.register(tap, select.POLLIN)

    def frames(self, expected: int = 0) -> list[bytes]:
        """The pod's frames that were sent in again since the last call, in order; so many may take a moment."""
        found: list[bytes] = []
        deadline = time.monotonic() + (LATE_S if expected else 0)
        while True:
            try:
                octets, origin = self._tap.recvfrom(1 << 16)
            except BlockingIOError:
                # what others send on loopback wakes too: until one came, it is waited on
                if len(found) >= expected or (left := deadline - time.monotonic()) <= 0:
                    return found
                self._late.poll(left * 1000)
                continue
            if octets[6:12] == bytes.fromhex(POD_MAC.replace(":", "")) and origin[2] != socket.PACKET_OUTGOING:
                found.append(octets)


@contextmanager
def tapped() -> Iterator[Wire]:
    """Hear what the device of the packet tests receives."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3)) as tap:
        tap.bind(("lo", 3))
        yield Wire(tap)


def again(node: Datapath, wire: Wire, frames: list[Packet], program: str = "pod_ingress") -> list[Outcome]:
    """Run frames, and those that come again in their turn; the outcomes of those that went on."""
    went = []
    queue = [bytes(each) for each in frames]
    while queue:
        done = node.run(program, queue.pop(0))
        if done.verdict == TC_ACT_SHOT:
            assert done.reasons == {}
        else:
            went.append(done)
        # a busy machine gives them to the device a little later than the program's run
        queue[:0] = wire.frames(int(not queue and len(went) < len(frames)))
    return went


def waiting(node: Datapath) -> int:
    """How many wait."""
    return sum(each.state == SlotState.SLOT_READY for _, each in node.tables["fragment_slots"].items())


def age(node: Datapath, table: str) -> None:
    """Make everything in a table look old."""
    now = node.tables[table].items()
    node.tables[table].update([(key, replace(each, seen_s=(each.seen_s - STALE_S) % 2**32)) for key, each in now])


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
@pytest.mark.parametrize("seed", [None, *range(6)], ids=lambda s: "reversed" if s is None else f"order {s}")
def test_a_datagram_reaches_the_backend_whole_in_any_order(
    node: Datapath, pod: str, vip: str, backend: str, seed: int | None
) -> None:
    node.service(vip, 53, [(backend, 8053, True)], protocol=17)
    sent = fragments(pod, vip, 7)
    mixed = sent[::-1] if seed is None else random.Random(seed).sample(sent, len(sent))  # noqa: S311  no secret
    with tapped() as wire:
        done = again(node, wire, mixed)
    assert {(each.verdict, each.packet[Ether].dst) for each in done} == {(TC_ACT_REDIRECT, OTHER_MAC)}
    assert [each.reason for each in done] == [DropReason.DROP_NONE] * len(sent)
    datagram = whole([each.packet for each in done])
    assert (addresses(datagram), ports(datagram)) == ((pod, backend), (40000, 8053))
    assert bytes(datagram[UDP].payload) == PAYLOAD
    assert checksums_hold(datagram)
    assert waiting(node) == 0


@pytest.mark.parametrize(
    ("client", "own", "backend", "under"),
    [pytest.param(CLIENT, NODE, POD, "0.0.0.0", id="IPv4"), pytest.param(CLIENT6, NODE6, POD6, "::", id="IPv6")],
)
def test_from_outside_to_a_node_ports_backend(node: Datapath, client: str, own: str, backend: str, under: str) -> None:
    node.service(under, 30053, [(backend, 8053, True)], protocol=17, scope=Scope.SCOPE_EXTERNAL)
    with tapped() as wire:
        done = again(node, wire, fragments(client, own, 9, dport=30053)[::-1], "uplink_ingress")
    assert {addresses(each.packet) for each in done} == {(client, backend)}
    assert checksums_hold(whole([each.packet for each in done]))


def test_what_is_not_ours_comes_by_unharmed(node: Datapath) -> None:
    sent = fragments(CLIENT, NODE, 9, dport=2049)
    with tapped() as wire:
        done = again(node, wire, sent[::-1], "uplink_ingress")
    assert {each.verdict for each in done} == {TC_ACT_UNSPEC}
    assert {bytes(each.packet) for each in done} == {bytes(each) for each in sent}


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_the_first_goes_before_those_that_waited_and_all_as_they_came(
    node: Datapath, pod: str, vip: str, backend: str
) -> None:
    sent = [bytes(each) for each in fragments(pod, backend, 7)]
    with tapped() as wire:
        for each in sent[:0:-1]:
            assert node.run("pod_ingress", each).verdict == TC_ACT_SHOT
        assert (waiting(node), wire.frames()) == (len(sent) - 1, [])
        node.run("pod_ingress", sent[0])
        first, *later = wire.frames(len(sent))
    assert first == sent[0]
    assert sorted(later) == sorted(sent[1:])
    assert vip not in addresses(Ether(first))


def test_echoes_in_fragments_keep_their_identifier(node: Datapath) -> None:
    node.node(flags=abi.NodeFlag.NODE_MASQUERADE)
    echo = IP(src=POD, dst=CLIENT, id=3) / ICMP(id=77) / Raw(PAYLOAD)
    sent = [Ether(src=POD_MAC, dst=GATEWAY_MAC) / each for each in fragment(IP(bytes(echo)), 1000)]  # type: ignore[no-untyped-call]
    with tapped() as wire:
        done = [node.run("pod_ingress", sent[1]), node.run("pod_ingress", sent[0])]
        came = wire.frames(2)
    assert [each.verdict for each in done] == [TC_ACT_SHOT] * 2
    assert came == [bytes(sent[0]), bytes(sent[1])]
    assert [entry.sport for _, entry in node.tables["fragments"].items()] == [77]


def test_who_follows_a_first_without_ports_does_not_wait(node: Datapath) -> None:
    head = IPv6(src=POD6, dst=OTHER6) / IPv6ExtHdrFragment(id=5, m=1, nh=58)
    first = head / Raw(bytes([129 + 2, 0, 0, 0]) + bytes(28))  # a listener report, no echo
    later = IPv6(src=POD6, dst=OTHER6) / IPv6ExtHdrFragment(id=5, m=0, offset=4, nh=58) / Raw(b"the rest")
    for packet in (first, later):
        done = node.run("pod_ingress", bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / packet))
        assert (done.verdict, waiting(node)) == (TC_ACT_REDIRECT, 0)


def test_a_protocol_that_is_never_translated_does_not_wait(node: Datapath) -> None:
    packet = IP(src=POD, dst=OTHER, frag=100, proto=47) / Raw(bytes(64))
    done = node.run("pod_ingress", bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / packet))
    assert (done.verdict, waiting(node)) == (TC_ACT_REDIRECT, 0)


def test_a_fragment_under_anothers_name_neither_waits_nor_is_remembered(node: Datapath) -> None:
    for each in fragments(OTHER, VIP, 7)[::-1]:
        assert node.run("pod_ingress", each).reason == DropReason.DROP_SOURCE_ADDRESS
    assert (waiting(node), node.tables["fragments"].count()) == (0, 0)


def test_who_waits_too_long_is_lost_and_not_sent_with_another_datagram_of_the_same_number(node: Datapath) -> None:
    first, later = fragments(POD, OTHER, 7)[:2]
    node.run("pod_ingress", later)
    age(node, "fragment_slots")
    with tapped() as wire:
        done = node.run("pod_ingress", first)
        assert wire.frames(1) == [bytes(first)]
    assert (done.verdict, done.reasons, waiting(node)) == (TC_ACT_SHOT, {LOST: 1}, 0)


def test_gc_counts_who_waited_too_long(node: Datapath) -> None:
    for each in fragments(POD, OTHER, 7)[1:]:
        node.run("pod_ingress", each)
    before = node.counted().get(LOST, 0)
    node.gc()
    assert waiting(node) == len(fragments(POD, OTHER, 7)) - 1
    age(node, "fragment_slots")
    node.gc()
    assert (waiting(node), node.counted()[LOST] - before) == (0, len(fragments(POD, OTHER, 7)) - 1)


def test_ports_are_not_those_of_a_datagram_long_ago(node: Datapath) -> None:
    first, later = fragments(POD, OTHER, 7)[:2]
    node.run("pod_ingress", first)
    age(node, "fragments")
    assert node.run("pod_ingress", later).verdict == TC_ACT_SHOT
    assert waiting(node) == 1


def test_a_flood_of_one_source_takes_its_own_places(node: Datapath) -> None:
    node.endpoint("10.244.1.77", 1, POD_MAC)  # in another group of places than the pod
    victim = fragments("10.244.1.77", OTHER, 1)[1]
    node.run("pod_ingress", victim)
    for ident in range(abi.SLOTS_PER_GROUP):
        assert node.run("pod_ingress", fragments(POD, OTHER, ident)[1]).reasons == {}
    for ident in range(1000, 1010):
        assert node.run("pod_ingress", fragments(POD, OTHER, ident)[1]).reasons == {LOST: 1}
    assert waiting(node) == abi.SLOTS_PER_GROUP + 1


def test_overlapping_and_repeated_fragments_are_the_receivers_to_judge(node: Datapath) -> None:
    first, later = fragments(POD, OTHER, 7)[:2]
    other = later.copy()
    other[Raw].load = bytes(len(other[Raw].load))
    with tapped() as wire:
        for each in (later, later, other, first):
            node.run("pod_ingress", each)
        assert sorted(wire.frames(4)) == sorted(map(bytes, (first, later, later, other)))
    assert waiting(node) == 0


def test_nothing_waits_in_order(node: Datapath) -> None:
    for one, two in pairwise(range(20, 30)):
        for each in fragments(POD, OTHER, one) + fragments(POD, OTHER, two):
            assert node.run("pod_ingress", each).verdict == TC_ACT_REDIRECT
    assert waiting(node) == 0
