"""Flows end when nobody has used them for as long as their protocol and state allow; pairs end together."""

import os
from dataclasses import replace

import pytest
from scapy.packet import Packet

from maps import mapio
from maps.abi import FlowFlag
from tests.bpf.clock import early_in_a_unit
from tests.bpf.datapath import (
    OTHER,
    OTHER_MAC,
    POD,
    POD6,
    REMOTE,
    VIP,
    VIP6,
    Datapath,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import answer

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("undisturbed")]

ASK, REPLY = frame(POD, VIP, data()), "a reply"


def age(node: Datapath, units: int, flags: int = 0) -> None:
    """Make the flows with these flags look unused for so long; a unit is a little more than a second."""
    table = node.tables["flows"]
    old = [(k, f) for k, f in table.items() if f.flags & flags == flags]
    table.update([(k, replace(f, seen_s=(f.seen_s - units) % 2**32)) for k, f in old])


def forget_caches(node: Datapath) -> None:
    """Let each packet look at the table, as after a few seconds."""
    mapio.update(node.copies, bytes(4), os.urandom(8), 1)


def left(node: Datapath) -> int:
    """How many entries there are."""
    return node.tables["flows"].count()


def translated(node: Datapath, *packets: Packet | str, protocol: int = 6, port: int = 80) -> None:
    """A flow to a service, begun by the first packet; the rest are further packets, or the backend's replies."""
    node.service(VIP, port, [(OTHER, 8080, True)], protocol=protocol)
    handed = None
    for packet in packets:
        if isinstance(packet, str):
            assert handed is not None
            node.run("pod_egress", answer(handed, OTHER_MAC, packet))
        else:
            handed = node.run("pod_ingress", packet).packet


SYN, FIN, RESET = frame(POD, VIP, syn()), frame(POD, VIP, data(flags="FA")), frame(POD, VIP, data(flags="R"))
QUERY = frame(POD, VIP, datagram())
STATES = [
    pytest.param([SYN], 6, 60, id="TCP, unanswered: a minute"),
    pytest.param([SYN, "SA", ASK], 6, 7440, id="TCP, answered: two hours and four minutes"),
    pytest.param([SYN, "SA", FIN], 6, 3600, id="TCP, one end has closed: an hour"),
    pytest.param([SYN, "SA", ASK, "FA"], 6, 3600, id="TCP, the other end has closed: an hour"),
    pytest.param([SYN, "SA", FIN, "FA"], 6, 120, id="TCP, both have closed: two minutes"),
    pytest.param([SYN, "SA", RESET], 6, 300, id="TCP, reset: five minutes"),
    pytest.param([SYN, "SA", ASK, "R"], 6, 300, id="TCP, reset by the other end: five minutes"),
    pytest.param([SYN, "RA"], 6, 10, id="TCP, refused: ten seconds"),
    pytest.param([QUERY], 17, 30, id="UDP, unanswered: half a minute"),
    pytest.param([QUERY, REPLY], 17, 120, id="UDP, answered at once and then silent: two minutes"),
]


@pytest.mark.parametrize(("packets", "protocol", "timeout_s"), STATES)
def test_a_translated_flow_ends_after_the_time_of_its_state(
    node: Datapath, packets: list[Packet | str], protocol: int, timeout_s: int
) -> None:
    translated(node, *packets, protocol=protocol, port=80 if protocol == 6 else 53)
    age(node, timeout_s - 2)
    before = node.gc()
    assert (left(node), before.flows) == (2, 2)
    age(node, 4)
    after = node.gc()
    assert (left(node), after.flows, after.expired - before.expired) == (0, 0, 1)
    assert after.runs == before.runs + 1
    assert after.at_ns > before.at_ns


@pytest.mark.parametrize(
    ("packets", "timeout_s"),
    [
        pytest.param([frame(POD, OTHER, syn())], 60, id="TCP, unanswered"),
        pytest.param([frame(POD, OTHER, syn()), frame(OTHER, POD, syn())], 7440, id="TCP, answered"),
        pytest.param([frame(POD, OTHER, data(flags="R"))], 10, id="TCP, begun by a reset"),
        pytest.param([frame(POD, OTHER, datagram())], 30, id="UDP, unanswered"),
    ],
)
def test_a_flow_that_is_not_translated_ends_the_same(node: Datapath, packets: list[Packet], timeout_s: int) -> None:
    node.run("pod_ingress", packets[0])
    for packet in packets[1:]:
        node.run("pod_egress", answer(packets[0], OTHER_MAC))
        assert packet
    age(node, timeout_s - 2)
    node.gc()
    assert left(node) == 1
    age(node, 4)
    assert (node.gc().flows, left(node)) == (0, 0)


@pytest.mark.parametrize("half", [FlowFlag.FLOW_FORWARD, FlowFlag.FLOW_REVERSE])
def test_a_pair_lives_while_either_direction_is_used(node: Datapath, half: FlowFlag) -> None:
    translated(node, QUERY, protocol=17, port=53)
    age(node, 1000, half)
    assert (node.gc().flows, left(node)) == (2, 2)


@pytest.mark.parametrize("half", [FlowFlag.FLOW_FORWARD, FlowFlag.FLOW_REVERSE])
def test_half_a_pair_ends_by_itself(node: Datapath, half: FlowFlag) -> None:
    translated(node, QUERY, protocol=17, port=53)
    table = node.tables["flows"]
    table.delete([key for key, flow in table.items() if not flow.flags & half])
    node.gc()
    assert left(node) == 1
    age(node, 40)
    assert (node.gc().flows, left(node)) == (0, 0)


def test_a_udp_flow_that_goes_on_is_kept_for_five_minutes(node: Datapath) -> None:
    translated(node, QUERY, REPLY, protocol=17, port=53)
    age(node, 2)
    handed = node.run("pod_ingress", QUERY).packet
    node.run("pod_egress", answer(handed, OTHER_MAC))
    age(node, 298)
    assert (node.gc().flows, left(node)) == (2, 2)
    age(node, 4)
    assert (node.gc().flows, left(node)) == (0, 0)


@pytest.mark.parametrize("by", ["the client", "the backend"])
@pytest.mark.parametrize("speaks", ["the client", "the backend"])
def test_a_reset_that_an_end_took_no_notice_of_ends_nothing(node: Datapath, by: str, speaks: str) -> None:
    translated(node, SYN, "SA", ASK, *([RESET] if by == "the client" else ["R"]))
    age(node, 5)
    forget_caches(node)
    handed = node.run("pod_ingress", ASK).packet
    if speaks == "the backend":
        age(node, 5)
        forget_caches(node)
        node.run("pod_egress", answer(handed, OTHER_MAC, "A"))
    age(node, 7000)
    assert (node.gc().flows, left(node)) == (2, 2)


@pytest.mark.parametrize("by", ["the client", "the backend"])
@pytest.mark.parametrize("translated_flow", [True, False], ids=["a pair", "one entry"])
def test_what_was_under_way_when_a_reset_came_revives_nothing(
    node: Datapath, by: str, *, translated_flow: bool
) -> None:
    there = VIP if translated_flow else OTHER
    node.service(VIP, 80, [(OTHER, 8080, True)])
    handed = node.run("pod_ingress", frame(POD, there, syn())).packet
    node.run("pod_egress", answer(handed, OTHER_MAC))
    ask, reset = frame(POD, there, data()), frame(POD, there, data(flags="R"))
    early_in_a_unit()  # two of them after a reset nothing was under way any more
    for packet in (ask, *([reset] if by == "the client" else [])):
        node.run("pod_ingress", packet)
    if by == "the backend":
        node.run("pod_egress", answer(handed, OTHER_MAC, "R"))
    age(node, 1)
    forget_caches(node)
    node.run("pod_ingress", ask)
    node.run("pod_egress", answer(handed, OTHER_MAC, "A"))
    age(node, 304)
    assert (node.gc().flows, left(node)) == (0, 0)


def test_a_packet_keeps_its_flow_alive(node: Datapath) -> None:
    translated(node, QUERY, protocol=17, port=53)
    age(node, 25)
    node.run("pod_ingress", QUERY)
    age(node, 25)
    assert (node.gc().flows, left(node)) == (2, 2)


def test_gc_counts_what_is_left(node: Datapath) -> None:
    node.service(VIP, 53, [(OTHER, 8053, True)], protocol=17)
    node.service(VIP6, 53, [(POD6, 8053, True)], protocol=17)
    for port in range(50000, 50040):
        node.run("pod_ingress", frame(POD, VIP, datagram(sport=port)))
        node.run("pod_ingress", frame(POD6, VIP6, datagram(sport=port)))
    age(node, 100)
    for port in range(50000, 50010):
        node.run("pod_ingress", frame(POD, VIP, datagram(sport=port)))
    node.run("pod_ingress", frame(POD, REMOTE, datagram()))
    before = node.gc_run().expired
    gc_run = node.gc()
    assert (gc_run.flows, left(node)) == (21, 21)
    assert (gc_run.expired - before, gc_run.unanswered) == (70, 11)


def test_gc_of_an_empty_table_counts_no_flow(node: Datapath) -> None:
    gc_run = node.gc()
    assert (gc_run.flows, gc_run.unanswered) == (0, 0)


def test_the_times_are_the_loaders_to_set() -> None:
    node = Datapath.load(constants={"flow_udp_new_s": 20, "flow_udp_once_s": 5})
    try:
        translated(node, QUERY, REPLY, protocol=17, port=53)
        age(node, 7)
        assert (node.gc().flows, left(node)) == (0, 0)
    finally:
        node.close()
