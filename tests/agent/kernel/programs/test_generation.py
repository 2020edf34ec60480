"""The move to new maps, and a death at each of its steps."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from agent.kernel.programs import generation
from agent.kernel.programs.attach import Hooks
from agent.kernel.programs.generation import Move, begin
from agent.kernel.programs.hooks import SOCKET_HOOKS
from agent.kernel.programs.load import Loaded
from maps import abi, abigen, libbpf, mapio
from maps.errors import MapsError
from maps.exports import collect
from maps.flow_arrays import Shape
from maps.flow_carry import FlowCarry
from maps.pins import Generation, PinRoot
from maps.registry import open_table
from maps.table import Table
from tests.agent.kernel.conftest import Tiny
from tests.maps.flow_serial import serial
from tests.patience import until

pytestmark = pytest.mark.kernel

COPIES = {"flow_caches": 64, "cache_sets": 32, "shortcuts": 32, "shortcut_tags": 8}
SMALL, LARGE = {"flows": 64} | COPIES, {"flows": 128} | COPIES
KEY = replace(abi.FlowKey.unpack(bytes(abi.FlowKey.SIZE)), lo_addr=IPv6Address("::ffff:192.0.2.1"), protocol=6)
FLOW = replace(abi.Flow.unpack(bytes(abi.Flow.SIZE)), seen_s=7, serial=serial(KEY, 1))
CARRIED = replace(FLOW, flags=abi.FlowFlag.FLOW_CARRIED)  # what a copy of it is
NOT_YET = abi.Node.unpack(bytes(abi.Node.SIZE))
NODE = replace(NOT_YET, netns_cookie=3, revision=41)


class Death(BaseException):
    """The process ends here."""


@pytest.fixture
def pins(pin_root: Path) -> Iterator[PinRoot]:
    root = PinRoot(pin_root)
    root.lock()
    yield root
    root.unlock()


@pytest.fixture
def agent(pins: PinRoot, tiny: Tiny, cgroup: Path) -> Callable[..., Generation]:
    def life(sizes: dict[str, int], words: int = 1) -> Generation:
        """One agent's start, up to its first sync and behind."""
        move = begin(pins, sizes)
        loaded = Loaded(tiny(sizes["flows"], words), move.new, sizes)
        try:
            hooks = Hooks(pins.links, loaded.programs, tcx=True)
            if move.is_needed:
                move.seed()
            else:
                move.finish(hooks.exchange)
            hooks.attach_sockets(cgroup)
            if move.is_needed:
                move.finish(hooks.exchange)
        finally:
            loaded.close()
        return move.new

    return life


def _fill(made: Generation) -> None:
    flows, node = open_table(abi.FLOWS, made.maps), Table.open(abi.NODE, made.map_path("node"))
    flows.update([(KEY, FLOW)])
    node.update([(0, NODE)])
    flows.close()
    node.close()


def _check(made: Generation, pins: PinRoot, size: int, record: abi.Node = NODE) -> None:
    """The end that every history must reach."""
    assert pins.current() == made
    assert pins.generations() == (made,)
    assert list(pins.path.glob("removed-*")) == []
    flows, node = open_table(abi.FLOWS, made.maps), Table.open(abi.NODE, made.map_path("node"))
    assert flows.max_entries == Shape.of(size).buckets * abi.FLOW_ROOM
    (known,) = flows.items()
    assert known in {(KEY, FLOW), (KEY, CARRIED)}
    flows.update([(KEY, FLOW)])
    assert flows.count() == 1, "it is where this generation's seed and number of buckets have it"
    assert node.get(0) == record
    flows.close()
    node.close()


def _link_ids(pins: PinRoot) -> dict[str, int]:
    found = {}
    for path in pins.links.iterdir():
        fd = libbpf.get_pinned(path)
        found[path.name] = libbpf.link_info(fd).id
        os.close(fd)
    return found


def test_the_same_sizes_keep_the_maps(agent: Callable[[dict[str, int]], Generation], pins: PinRoot) -> None:
    made = agent(SMALL)
    _fill(made)
    assert agent(SMALL) == made
    _check(made, pins, 64)


def test_other_sizes_carry_flows_and_node_and_keep_the_links(
    agent: Callable[[dict[str, int]], Generation], pins: PinRoot
) -> None:
    _fill(agent(SMALL))
    links = _link_ids(pins)
    assert len(links) == len(SOCKET_HOOKS)
    made = agent(LARGE)
    _check(made, pins, 128)
    assert _link_ids(pins) == links


@pytest.mark.parametrize("before", [abi.FlowFlag.FLOW_FIN_REPLY, abi.FlowFlag.FLOW_REPLIED], ids=["ended", "open"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_that_follows_another_while_links_move_is_carried(
    agent: Callable[[dict[str, int]], Generation],
    pins: PinRoot,
    monkeypatch: pytest.MonkeyPatch,
    before: abi.FlowFlag,
    when: str,
) -> None:
    """A client may take the same port again as soon as a connection has ended.

    Also by a program that runs while its link is exchanged, and writes *after*.
    """
    old = agent(SMALL)
    _fill(old)
    flows = open_table(abi.FLOWS, old.maps)
    flows.update([(KEY, replace(FLOW, serial=serial(KEY, 2), flags=before))])
    exchange, waits, happened = Hooks.exchange, libbpf.wait_for_programs, []

    def meanwhile(hooks: Hooks) -> int:
        happened.append("exchange")
        if when == "before":
            flows.update([(KEY, FLOW)])
        return exchange(hooks)

    def at_last() -> None:
        if when == "after" and happened == ["exchange"]:
            flows.update([(KEY, FLOW)])
            happened.append("written")
        waits()

    monkeypatch.setattr(Hooks, "exchange", meanwhile)
    monkeypatch.setattr(libbpf, "wait_for_programs", at_last)
    _check(agent(LARGE), pins, 128)
    flows.close()


def test_programs_of_both_generations_know_that_links_move(pins: PinRoot) -> None:
    """And for how long at most, if nobody takes it back."""
    old_made, new_made = pins.generation("one-1"), pins.generation("one-2")
    tables = [Table.create(abi.FLOW_MOVES) for _ in (old_made, new_made)]
    for table, made in zip(tables, (old_made, new_made), strict=True):
        libbpf.pin(table.fd, made.map_path(abi.FLOW_MOVES.name))

    def exchange() -> int:
        now_s = time.monotonic_ns() >> abi.SEEN_BITS
        for table in tables:
            said = table.get(0)
            assert said is not None
            assert now_s < said.until_s <= now_s + generation.MOVES_S
        return 0

    Move(pins, new_made, (old_made,), Path("unused")).finish(exchange)
    assert tables[1].get(0) == abi.FlowMove(0)
    for table in tables:
        table.close()


def test_programs_know_that_links_move_for_as_long_as_it_takes(pins: PinRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need more than the time for which it is said."""
    monkeypatch.setattr(generation, "SAID_AGAIN_S", 0.01)
    old_made, new_made = pins.generation("one-1"), pins.generation("one-2")
    tables = [Table.create(abi.FLOW_MOVES) for _ in (old_made, new_made)]
    for table, made in zip(tables, (old_made, new_made), strict=True):
        libbpf.pin(table.fd, made.map_path(abi.FLOW_MOVES.name))

    def said() -> list[int]:
        return [record.until_s for table in tables if (record := table.get(0))]

    def exchange() -> int:
        before = said()
        until(lambda: all(now > then for now, then in zip(said(), before, strict=True)), "it is not said again")
        return 0

    Move(pins, new_made, (old_made,), Path("unused")).finish(exchange)
    assert said()[1] == 0
    for table in tables:
        table.close()


def test_another_shape_of_a_map_that_only_programs_know_is_another_generation(
    agent: Callable[..., Generation], pins: PinRoot, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(words: int) -> None:
        monkeypatch.setattr(abi, "LAYOUT", abigen.layout(collect([*tiny(64, words).values()])))

    build(1)
    old = agent(SMALL)
    _fill(old)
    with pytest.raises(MapsError, match="copies"):
        agent(SMALL, words=2)  # what a build did whose layout said nothing of the map
    build(2)
    made = agent(SMALL, words=2)
    assert made != old
    _check(made, pins, 64, record=NOT_YET)  # another layout's is not taken; the sync writes it


STEPS = [
    (generation, "_carry", 1),
    (generation, "_carry", 2),
    (FlowCarry, "carry", 1),
    (libbpf, "wait_for_programs", 1),
    (FlowCarry, "carry", 2),
    (Hooks, "exchange", 1),
    (libbpf, "wait_for_programs", 2),
    (FlowCarry, "carry", 3),
    (generation, "_carry", 3),
    (libbpf, "wait_for_programs", 3),
    (PinRoot, "make_current", 1),
    (PinRoot, "remove", 1),
    (Generation, "keep", 1),
    (Generation, "adopt", 1),
]


@pytest.mark.parametrize(("where", "what", "call"), STEPS, ids=[f"before {s[1]} {s[2]}" for s in STEPS])
@pytest.mark.parametrize("following", [SMALL, LARGE], ids=["back to the old sizes", "on to the new ones"])
def test_a_death_between_two_steps_is_made_good_by_the_next_start(
    agent: Callable[[dict[str, int]], Generation],
    pins: PinRoot,
    monkeypatch: pytest.MonkeyPatch,
    following: dict[str, int],
    where: object,
    what: str,
    call: int,
) -> None:
    _fill(agent(SMALL))
    links, calls = _link_ids(pins), 0
    real = getattr(where, what)

    def dying(*args: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Death
        return real(*args, **named)

    monkeypatch.setattr(where, what, dying)
    with pytest.raises(Death):
        agent(LARGE)
    monkeypatch.undo()
    _check(agent(following), pins, following["flows"])
    assert _link_ids(pins) == links


def pinned(made: Generation) -> Table[abi.SockPeerKey, abi.SockPeer]:
    """What sockets were given, in a generation without anything else."""
    table = Table.create(replace(abi.SOCK_PEERS, max_entries=64))
    libbpf.pin(table.fd, made.map_path("sock_peers"))
    return table


def test_sockets_that_are_closed_while_links_move_are_known_no_more(pins: PinRoot) -> None:
    """Of those that the old programs hear of while their maps are copied nobody tells the new ones."""
    old_made, new_made = pins.generation("one-1"), pins.generation("one-2")
    old, new = pinned(old_made), pinned(new_made)
    given = abi.SockPeer.unpack(bytes(abi.SockPeer.SIZE))
    stays, closed, opened, late = (abi.SockPeerKey(cookie, 0) for cookie in range(1, 5))
    old.update([(stays, given), (closed, given)])

    def exchange() -> int:
        old.delete([closed])
        old.update([(opened, given)])
        new.update([(late, given)])  # by the new programs
        new.delete([stays])  # which heard that it was closed: the old map has it still
        return 0

    Move(pins, new_made, (old_made,), Path("unused")).finish(exchange)
    assert {key for key, _ in new.items()} == {opened, late}
    for table in (old, new):
        table.close()


def test_that_a_flow_is_beside_anothers_answers_is_known_in_the_new_maps(pins: PinRoot) -> None:
    """Else nobody looks for those that are, until conntrack GC has met one."""
    made = [pins.generation("one-1"), pins.generation("one-2")]
    tables = [Table.create(abi.MAPS["besides_seen"]) for _ in made]
    for table, generation_ in zip(tables, made, strict=True):
        libbpf.pin(table.fd, generation_.map_path("besides_seen"))
    zero, seen = bytes(4), (7).to_bytes(4, "little")
    tables[0].update_packed(zero, seen, 1)
    known: list[bytes | None] = []

    def exchange() -> int:
        known.append(mapio.lookup(tables[1].fd, zero, len(seen)))
        return 0

    Move(pins, made[1], (made[0],), Path("unused")).finish(exchange)
    assert known == [seen]
    for table in tables:
        table.close()
