"""Conntrack GC looks at a part of the table at a time; the fuller that is, the sooner what does not go on ends."""

import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address
from typing import cast

import pytest

from agent.kernel.programs.sizes import sizes
from agent.options.config import Options
from maps import abi, libbpf
from maps.flow_arrays import Shape
from maps.flow_table import FlowTable
from tests.bpf.clock import UNIT_NS
from tests.bpf.cpus import before_others
from tests.bpf.datapath import (
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    TC_ACT_REDIRECT,
    VIP,
    Datapath,
    addr,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import answer
from tests.bpf.test_gc import ASK, QUERY, REPLY, SYN, age, left, translated

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def small() -> Iterator[Datapath]:
    """A node whose table is one bucket: ten entries that it is reckoned with, and four more."""
    datapath = Datapath.load(sizes={"flows": abi.FLOW_ROOM})
    yield datapath
    datapath.close()


def pressed(node: Datapath) -> abi.GcRun:
    """The second of two runs: the first sees how full the table is."""
    node.gc()
    return node.gc()


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("entries", "timeout_s"),
    [
        pytest.param(3, 30, id="five eighths of its room left: their own time"),
        pytest.param(5, 12, id="a half"),
        pytest.param(6, 6, id="three eighths"),
        pytest.param(7, 3, id="a quarter"),
        pytest.param(8, 3, id="an eighth"),
        pytest.param(10, 3, id="none"),
        pytest.param(14, 3, id="more than it is reckoned with"),
    ],
)
def test_the_fuller_the_table_the_sooner_unanswered_flows_end(small: Datapath, entries: int, timeout_s: int) -> None:
    small.reset()
    small.gc()
    for port in range(50000, 50000 + entries):
        small.run("pod_ingress", frame(POD, OTHER, datagram(sport=port)))
    age(small, timeout_s - 2)
    assert pressed(small).flows == entries
    age(small, 4)
    small.gc()
    assert left(small) == 0


@pytest.mark.usefixtures("undisturbed")
def test_a_full_table_keeps_connections_and_flows_that_go_on(small: Datapath) -> None:
    small.reset()
    small.gc()
    translated(small, SYN, "SA", ASK)
    translated(small, QUERY, REPLY, protocol=17, port=53)
    age(small, 2)
    handed = small.run("pod_ingress", QUERY).packet
    small.run("pod_egress", answer(handed, OTHER_MAC))
    for port in range(50000, 50020):
        small.run("pod_ingress", frame(POD, OTHER, datagram(sport=port)))
    assert left(small) == abi.FLOW_WAYS
    age(small, 20)
    assert pressed(small).flows == 4
    assert {k.protocol for k, _ in small.tables["flows"].items()} == {6, 17}


@pytest.mark.usefixtures("undisturbed")
def test_a_full_table_ends_what_is_closed_or_was_answered_but_once(small: Datapath) -> None:
    small.reset()
    small.gc()
    translated(small, SYN, "SA", ASK)
    for port in range(50001, 50006):
        closed = frame(POD, VIP, syn(sport=port)), "SA", frame(POD, VIP, data(sport=port, flags="FA")), "FA"
        translated(small, *closed)
    translated(small, frame(POD, VIP, datagram(sport=50006)), REPLY, protocol=17, port=53)
    age(small, 5)
    assert pressed(small).flows == 2
    assert left(small) == 2


@pytest.mark.usefixtures("undisturbed")
def test_a_closed_flow_outlives_the_copies_of_it_in_a_full_table_too(small: Datapath) -> None:
    small.reset()
    small.gc()
    for port in range(50001, 50008):
        closed = frame(POD, VIP, syn(sport=port)), "SA", frame(POD, VIP, data(sport=port, flags="FA")), "FA"
        translated(small, *closed)
    age(small, 2)
    assert pressed(small).flows == abi.FLOW_WAYS


Entries = list[tuple[abi.FlowKey, abi.Flow]]


def aged_flows(number: int) -> Entries:
    """Entries whose time is over, one for each of so many ports; of one pod, to one other."""
    key = abi.FlowKey(addr(POD), addr(OTHER), 0, 53, 17, 0, 0)
    entries = []
    for i in range(number):
        at = replace(key, lo_port=i % 60000, hi_port=53 + i // 60000)
        words = struct.unpack("=5Q", at.pack())
        mixed = sum(w * factor for w, factor in zip(words, (1, 3, 5, 7, 11), strict=True)) * 0x9E3779B97F4A7C15
        serial = mixed % 2**64 >> 32 & 0xFFFF0000 | 1
        entries.append((at, replace(abi.Flow.unpack(bytes(abi.Flow.SIZE)), serial=serial)))
    return idle(entries, 1000)


def idle(entries: Entries, units: int) -> Entries:
    """Such entries, of which nothing was seen for so long; negative: they will be used."""
    seen_s = (time.monotonic_ns() // UNIT_NS - units) % 2**32  # the machine may have booted later
    return [(key, replace(flow, seen_s=seen_s)) for key, flow in entries]


def by_stretch(table: FlowTable[abi.FlowKey, abi.Flow]) -> list[int]:
    """How many entries each stretch of the table has that conntrack GC walks by itself."""
    counts, stretch = table.counts(), Shape.of(table.max_entries).stretch
    return [sum(counts[at : at + stretch]) for at in range(0, len(counts), stretch)]


def test_a_tick_does_a_part_of_the_work_and_many_do_all_of_it(node: Datapath) -> None:
    table, flows = cast("FlowTable[abi.FlowKey, abi.Flow]", node.tables["flows"]), 60_000
    node.gc()
    table.update(aged_flows(flows))
    before = node.gc_run()
    assert before.flows == 0
    libbpf.test_run(node.objects["gc"].program_fd("gc_once"), b"")
    stretches = by_stretch(table)
    assert 1 <= stretches.count(0) <= len(stretches) // 8
    for _ in stretches:
        libbpf.test_run(node.objects["gc"].program_fd("gc_once"), b"")
    node.gc()
    after = node.gc_run()
    assert (left(node), after.flows, after.expired - before.expired) == (0, 0, flows)


def test_gc_goes_faster_while_the_table_fills(node: Datapath) -> None:
    def wait_us() -> int:
        return libbpf.test_run(node.objects["gc"].program_fd("gc_once"), b"").retval

    table = cast("FlowTable[abi.FlowKey, abi.Flow]", node.tables["flows"])
    node.gc()
    node.gc()
    calm = wait_us() * len(by_stretch(table))
    node.gc()
    flows = idle(aged_flows(80_000), -1000)
    with before_others():
        table.update(flows)
        assert wait_us() < calm
    node.gc()  # the next test's run begins at the beginning


def test_the_first_run_is_fast_enough_for_what_comes_right_after_the_start() -> None:
    entries = idle(aged_flows(200_000), -1000)  # however long loading takes, nothing ends
    keys, flows = abi.FlowKey.pack_many(key for key, _ in entries), abi.Flow.pack_many(flow for _, flow in entries)
    node = Datapath.load()
    try:
        with before_others():  # at once: how fast they come is what counts
            libbpf.test_run(node.objects["gc"].program_fd("gc_start"), b"")
            node.tables["flows"].update_packed(keys, flows, len(entries))
            assert run_us(node) < 0.8e6, "a calm run takes a second and more"
    finally:
        node.close()


def test_a_full_table_is_looked_at_fast_while_there_is_something_to_end() -> None:
    """What ends in other stretches takes the other halves of pairs from this one: it does not seem to grow."""
    node = Datapath.load(sizes={"flows": 32_768})
    try:
        size = node.tables["flows"].max_entries
        old = aged_flows(size * 15 // 16)
        with before_others():
            node.tables["flows"].update(idle(old, -10))
            node.gc()  # sees how full it is
            assert left(node) == len(old)
            node.tables["flows"].update(idle(old, 10))
            node.tables["flows"].delete([key for key, _ in old[: size // 16]])
            assert run_us(node) < 0.8e6
    finally:
        node.close()


def run_us(node: Datapath) -> int:
    """How long a run of conntrack GC would take by its own clock."""
    took, before = 0, node.gc_run().runs
    while node.gc_run().runs == before:
        took += libbpf.test_run(node.objects["gc"].program_fd("gc_once"), b"").retval
    return took


@pytest.mark.parametrize("network", ["one address", "many"])
def test_flows_spread_evenly_over_the_parts_whatever_their_ports(node: Datapath, network: str) -> None:
    table = cast("FlowTable[abi.FlowKey, abi.Flow]", node.tables["flows"])
    entries = aged_flows(50_000)
    if network == "many":
        entries = [
            (replace(key, hi_addr=IPv6Address(int(addr("192.0.0.0")) + 4 * i), lo_port=64, hi_port=64), flow)
            for i, (key, flow) in enumerate(entries)
        ]
    table.update(entries)
    counts = by_stretch(table)
    mean = len(entries) / len(counts)
    assert max(counts) < mean + 8 * mean**0.5
    assert min(counts) > mean - 8 * mean**0.5


def test_another_table_has_its_flows_elsewhere() -> None:
    key = aged_flows(64)
    places = []
    for _ in range(2):
        node = Datapath.load()
        try:
            table = cast("FlowTable[abi.FlowKey, abi.Flow]", node.tables["flows"])
            table.update(key)
            places.append(table.counts())
        finally:
            node.close()
    assert places[0] != places[1]


def test_python_finds_what_the_programs_stored(node: Datapath) -> None:
    table = node.tables["flows"]
    for port in range(50000, 50050):
        node.run("pod_ingress", frame(POD, OTHER, datagram(sport=port)))
        node.run("pod_ingress", frame(POD6, OTHER6, datagram(sport=port)))
    table.update(list(table.items()))
    assert left(node) == 100, "each was written over, and none beside another"


@pytest.mark.usefixtures("undisturbed")
def test_no_new_flow_is_lost_at_twenty_thousand_a_second() -> None:
    """At the same rate for its size, a smaller table: DNS, half of it answered, each query two entries."""
    entries, seconds = 8192, 12
    rate = 20_000 * entries / sizes(Options(), 16 << 30, 2)["flows"]
    node = Datapath.load(sizes={"flows": entries})
    ingress, egress = (node.objects["tc_pod"].program_fd(name) for name in ("pod_ingress", "pod_egress"))
    context = struct.pack("<40xI", 1).ljust(192, b"\0")  # struct __sk_buff on the loopback device
    try:
        translated(node, SYN, "SA", ASK)
        node.service(VIP, 53, [(OTHER, 8053, True)], protocol=17)
        ask = bytes(QUERY)
        reply = bytes(answer(node.run("pod_ingress", QUERY).packet, OTHER_MAC))
        libbpf.test_run(node.objects["gc"].program_fd("gc_start"), b"")
        begin, sent = time.monotonic(), 0
        while (now := time.monotonic() - begin) < seconds:
            for n in range(sent, int(now * rate)):
                port = (10000 + n).to_bytes(2, "big")
                query = ask[:34] + port + ask[36:40] + b"\0\0" + ask[42:]  # without a checksum
                done = libbpf.test_run(ingress, query, context=context)
                assert done.retval == TC_ACT_REDIRECT, (now, n, node.gc_run())
                if n % 2:
                    back = reply[:36] + port + reply[38:40] + b"\0\0" + reply[42:]
                    assert libbpf.test_run(egress, back, context=context).retval == 0
            sent = int(now * rate)
            time.sleep(0.01)
        assert 2 * sent > entries
        assert any(key.protocol == 6 for key, _ in node.tables["flows"].items())
    finally:
        node.close()


def test_the_timer_runs_gc_without_an_agent() -> None:
    node = Datapath.load()
    try:
        begin = time.monotonic()
        libbpf.test_run(node.objects["gc"].program_fd("gc_start"), b"")
        while (
            not (runs := node.gc_run().runs) and time.monotonic() - begin < 30
        ):  # a second, and a run, which is long where walking is slow
            time.sleep(0.1)
        assert 1 <= runs <= 2 * (time.monotonic() - begin)
    finally:
        node.close()
