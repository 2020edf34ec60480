"""The table of flows by itself: full, met by several CPUs at once, and with a CPU that has stopped in the middle."""

import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import cast

import pytest

from maps import abi, flow_arrays, libbpf, mapio
from maps.errors import MapFull
from maps.flow_arrays import Shape
from maps.flow_table import FlowTable, shipped_writers
from maps.object import Object
from tests.bpf.cpus import CPUS
from tests.bpf.datapath import OTHER, POD, TC_ACT_REDIRECT, VIP, Datapath, addr, data, datagram, frame, syn
from tests.bpf.packets import answer
from tests.bpf.seed import give_seed

pytestmark = pytest.mark.kernel

Entry = tuple[abi.FlowKey, abi.Flow]
AtOnce = Callable[..., None]
TAG, LOCK, ELSEWHERE = 0, abi.FLOW_WAYS, abi.FLOW_WAYS + 1  # words of a bucket
NONE = abi.Flow.unpack(bytes(abi.Flow.SIZE))
TOGETHER = 16  # entries in one of at_once's packets
HELD = 1


def entry(number: int, value: int = 1) -> Entry:
    """An entry of its own, each word of whose value says the same number."""
    key = abi.FlowKey(addr(POD), addr(OTHER), number % 60000, 53 + number // 60000, 17, 0, 0)
    end = abi.PeerLocation(value, 0, 0)
    flow = replace(NONE, serial=value, flags=value, ends=(end, end), revision=value, seen_s=value, set_revision=value)
    return key, flow


def is_whole(flow: abi.Flow) -> bool:
    """Whether all of a value is of one :func:`entry`."""
    return flow == entry(0, flow.serial)[1]


class Table:
    """The shipped programs that write, on maps of their own, and a seed that is one of many.

    As full as tests make it, a table under another seed has no room for one key once in ten thousand times, or in four
    hundred when entries come and go: that is by chance, and no fault.
    """

    def __init__(self, entries: int, seed: int = 0) -> None:
        self.object = Object.open(shipped_writers())
        for name, number in flow_arrays.elements({"flows": entries}).items():
            self.object.resize(name, number)
        self.object.set_constants(flow_arrays.constants(entries))
        self.object.load()
        give_seed(self.object.map_fd("flow_seeds"), seed)
        fds = {name: os.dup(self.object.map_fd(name)) for name in ("flow_buckets", "flow_seeds")}
        self.table = FlowTable(abi.FLOWS, os.dup(self.object.map_fd("flows")), fds)

    def buckets(self) -> list[tuple[int, ...]]:
        """The words of each bucket."""
        fd, words = self.object.map_fd("flow_buckets"), struct.Struct(f"={abi.FLOW_WAYS + 2}I")
        size = libbpf.map_info(fd).max_entries
        return [found for _, values in mapio.read(fd, 4, words.size, size) for found in words.iter_unpack(values)]

    def places(self, key: abi.FlowKey) -> tuple[int, int, int]:
        """Both buckets of a key and its tag, as flow_table.h has them."""
        seed = struct.unpack("=10Q", mapio.lookup(self.object.map_fd("flow_seeds"), bytes(4), 80) or b"")
        words, number, whole = struct.unpack("=10I", key.pack()), len(self.table.counts()), 2**64 - 1
        mixed = sum((words[i] + seed[i]) * (words[i + 1] + seed[i + 1]) for i in range(0, 10, 2)) & whole
        for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
            mixed = (mixed ^ mixed >> 32) * factor & whole
        mixed ^= mixed >> 32
        tag = (mixed >> 32 ^ mixed << 15) & 0xFFFFFFFF | 1
        return (mixed >> 32) * number >> 32, (mixed & 0xFFFFFFFF) * number >> 32, tag

    def check(self) -> None:
        """Nothing is locked, each key is once in one of its buckets under its tag, and the counts are right."""
        buckets, keys = self.buckets(), [key for key, _ in self.table.items()]
        assert len(keys) == len(set(keys)) == sum(tag != 0 for b in buckets for tag in b[:LOCK])
        assert {b[LOCK] for b in buckets} == {0}
        elsewhere = [0] * len(buckets)
        for key in keys:
            first, second, tag = self.places(key)
            assert (tag in buckets[first][:LOCK]) != (first != second and tag in buckets[second][:LOCK])
            elsewhere[first] += tag not in buckets[first][:LOCK]
        assert [b[ELSEWHERE] for b in buckets] == elsewhere

    def close(self) -> None:
        """Let the kernel have everything back."""
        self.table.close()
        self.object.close()


@pytest.fixture
def made() -> Iterator[Callable[..., Table]]:
    """Make a table with room for so many entries, under one seed or another."""
    tables: list[Table] = []

    def make(entries: int, seed: int = 0) -> Table:
        tables.append(Table(entries, seed))
        return tables[-1]

    yield make
    for each in tables:
        each.close()


@pytest.fixture
def at_once(runner: Path) -> AtOnce:
    """Run programs that write, each on its entries and on a CPU of its own, packet by packet together."""
    if len(CPUS) < 2:
        pytest.skip("needs two CPUs")

    def run(on: Table, *works: tuple[str, Iterable[Entry]]) -> None:
        fds = [on.object.program_fd(name) for name, _ in works]
        packed = [[key.pack() + flow.pack() for key, flow in entries] for _, entries in works]
        packets = [[b"".join(each[at : at + TOGETHER]) for at in range(0, len(each), TOGETHER)] for each in packed]
        octets = b"".join(
            len(raw).to_bytes(2, "little") + raw for raw in chain.from_iterable(zip(*packets, strict=True))
        )
        words = [f"{CPUS[i % len(CPUS)]}:{fd}" for i, fd in enumerate(fds)]
        subprocess.run([runner, *words], input=octets, pass_fds=set(fds), check=True, timeout=60)

    return run


def in_order(number: int) -> Iterator[abi.FlowKey]:
    """One client's ports in a row."""
    return (entry(i)[0] for i in range(number))


def of_many(number: int) -> Iterator[abi.FlowKey]:
    """A few ports of many clients in a row."""
    key, first = entry(0)[0], int(addr("10.0.0.0"))
    return (replace(key, lo_addr=type(key.lo_addr)(first + i // 4), lo_port=40000 + i % 4) for i in range(number))


def of_ipv6(number: int) -> Iterator[abi.FlowKey]:
    """Clients that differ in one word of their address, by its largest bits."""
    key, first = entry(0)[0], int(addr("2001:db8::"))
    return (replace(key, lo_addr=type(key.lo_addr)(first + (i << 80 - 18))) for i in range(number))


@pytest.mark.parametrize("keys", [in_order, of_many, of_ipv6])
@pytest.mark.parametrize("seed", range(4))
def test_all_entries_fit_that_a_table_is_reckoned_with(
    made: Callable[..., Table], keys: Callable[[int], Iterator[abi.FlowKey]], seed: int
) -> None:
    """And a tenth more; under all seeds but few, and whatever clients do."""
    on, entries = made(16_384, seed), 16_384 * 11 // 10
    on.table.update((key, entry(0)[1]) for key in keys(entries))
    assert on.table.count() == entries
    assert max(on.table.counts()) <= abi.FLOW_WAYS


def test_a_full_table_refuses_and_loses_nothing(made: Callable[..., Table]) -> None:
    on = made(1280)
    with pytest.raises(MapFull, match="1280 entries"):
        on.table.update(entry(i) for i in range(Shape.of(1280).buckets * abi.FLOW_WAYS + 1))
    on.check()
    held = dict(on.table.items())
    assert 1280 * 1.1 < len(held) < 1280 * 1.4
    on.table.update(held.items())
    assert dict(on.table.items()) == held, "each over itself"


def test_entries_go_and_come_in_a_table_that_is_in_use(made: Callable[..., Table]) -> None:
    """As full as it is reckoned with, four times over."""
    on, size, turn = made(10_240), 10_240, 512
    on.table.update(entry(i) for i in range(size))
    for begin in range(0, 4 * size, turn):
        on.table.delete(entry(i)[0] for i in range(begin, begin + turn))
        on.table.update(entry(i) for i in range(begin + size, begin + size + turn))
    assert on.table.count() == size
    on.check()


def test_a_key_that_two_cpus_insert_at_once_is_there_once(made: Callable[..., Table], at_once: AtOnce) -> None:
    on = made(4096)
    for number in range(0, 4096, 1024):
        same = [entry(i) for i in range(number, number + 1024)]
        at_once(on, ("flows_add", same), ("flows_add", same))
        assert on.table.count() == number + 1024
    on.check()


def test_two_cpus_fill_the_same_few_buckets_with_keys_of_their_own(made: Callable[..., Table], at_once: AtOnce) -> None:
    for turn in range(10):
        on = made(640, turn)
        at_once(
            on,
            ("flows_add", [entry(i) for i in range(320)]),
            ("flows_add", [entry(i) for i in range(1000, 1320)]),
        )
        assert on.table.count() == 640, turn
        on.check()


def test_what_one_cpu_deletes_while_another_inserts_is_there_once_or_not(
    made: Callable[..., Table], at_once: AtOnce
) -> None:
    on = made(2048)
    same = [entry(i) for i in range(2048)]
    for order in (same, list(reversed(same)), same):
        at_once(on, ("flows_put", same), ("flows_drop", order))
        at_once(on, ("flows_drop", order), ("flows_add", same))
        on.check()
    on.table.delete([key for key, _ in same])
    assert on.table.count() == 0
    on.check()


def test_nobody_reads_an_entry_that_is_half_another(made: Callable[..., Table], at_once: AtOnce) -> None:
    """Two CPUs write other values under the same few keys, while Python reads."""
    on = made(160)
    child = os.fork()
    if not child:
        try:
            few = [entry(i % 40, 1 + i) for i in range(32_000)]
            at_once(on, ("flows_put", few), ("flows_put", list(reversed(few))))
        finally:
            os._exit(0)
    found, odd = 0, list[abi.Flow]()
    while not os.waitpid(child, os.WNOHANG)[0]:
        read = [flow for _, flow in on.table.items()]
        found, odd = found + len(read), odd + [flow for flow in read if not is_whole(flow)]
    assert found > 1000
    assert odd == []
    on.check()


def test_while_a_cpu_has_stopped_that_inserts_all_else_goes_on(node: Datapath) -> None:
    """It holds a bucket's lock, here every bucket's: what is new finds no room, what is known is carried and ends."""
    node.service(VIP, 80, [(OTHER, 8080, True)])
    handed = node.run("pod_ingress", frame(POD, VIP, syn())).packet
    fd = node.objects["gc"].map_fd("flow_buckets")
    size = libbpf.map_info(fd).max_entries

    def hold(lock: int) -> None:
        words = struct.Struct(f"={abi.FLOW_WAYS + 2}I")
        for keys, values in list(mapio.read(fd, 4, words.size, size)):
            buckets = [(*b[:LOCK], lock, b[ELSEWHERE]) for b in words.iter_unpack(values)]
            mapio.update(fd, keys, b"".join(words.pack(*b) for b in buckets), len(buckets))

    hold(HELD)
    begin = time.thread_time()  # who waits for a lock spins
    assert node.run("pod_ingress", frame(POD, VIP, syn(sport=40001))).reason is abi.DropReason.DROP_CONNTRACK_FULL
    assert node.run("pod_ingress", frame(POD, OTHER, datagram(sport=40002))).verdict == TC_ACT_REDIRECT
    assert node.run("pod_egress", answer(handed, "02:00:00:00:00:02")).reason is abi.DropReason.DROP_NONE
    assert node.run("pod_ingress", frame(POD, VIP, data())).reason is abi.DropReason.DROP_NONE
    assert time.thread_time() - begin < 1, "nobody waits for long"
    table = cast("FlowTable[abi.FlowKey, abi.Flow]", node.tables["flows"])
    assert node.gc().flows == table.count() == 2
    table.delete([key for key, _ in table.items()])
    assert table.count() == 0
    hold(0)
    assert node.run("pod_ingress", frame(POD, VIP, syn(sport=40001))).verdict == TC_ACT_REDIRECT
