"""The move from one generation of maps to the next, in steps that a death may fall between.

1. ``begin``: the generation of the wanted layout and sizes is taken up, or made beside the old one. Programs are
   loaded onto it. When there is no other, the links get these programs at once: an exchange, and nothing more.
2. Else ``seed``: the agent's new maps get what the old ones know, so that the set ids and slots in flows keep their
   meaning.
3. The first whole sync makes services, endpoints and the node right (the reconcile loop).
4. ``finish``: what the programs noted of connections is carried, the links moved, what came in between carried too;
   then the new generation is declared current and the old removed. Until then the programs of both drop what goes on
   with a connection that they do not know (``bpf/dp/conntrack/flow_move.h``), and for ``MOVES_S`` at most
   when the agent has died. A program that runs when its link is exchanged goes on with the old maps: what it wrote is
   waited for.

Which maps are carried, and when, C declares beside them (:class:`maps.spec.Carried`).

A start that finds several generations does 2 to 4 again from every other one: a carry writes only what is missing, a
link that has moved is moved to itself, and what was seeded is not seeded twice. So after a death anywhere the next
start ends in the same state, also when it wants the old sizes back.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from agent.log import logger
from maps import abi, flow_table, libbpf, mapio
from maps.carry import are_alike, carry
from maps.errors import KernelRefused, LayoutMismatch, MapFull
from maps.flow_carry import FlowCarry
from maps.pins import Generation, PinRoot, generation_name, held
from maps.record import cut
from maps.registry import AnySpec, carried_maps
from maps.spec import Carried

log = logger(__name__)

RECORD = bytes(4)  # the key of a map that has one
MOVES_S = 5  # for which it is said, in the unit of the programs' seen_s: as long it holds when the agent has died
SAID_AGAIN_S = 1.0  # while it goes on


@dataclass(frozen=True, slots=True)
class Move:
    """Which generation the agent works on, and which ones it still has to carry over."""

    pins: PinRoot
    new: Generation
    old: tuple[Generation, ...]  # half made ones before the one in use: they know later things
    flow_writers: Path  # the object that writes to the flow table

    @property
    def is_needed(self) -> bool:
        """Whether links may hold programs on other maps."""
        return bool(self.old)

    def seed(self) -> None:
        """Carry over what the agent wrote (services, endpoints, the numbers by which flows refer to them), once.

        Arrays come last, for the node's record is the sign that all the others are there.
        """
        if _node(self.new) != bytes(abi.Node.SIZE):
            return
        seeded = carried_maps(Carried.SEED)
        for old in self.old:
            _carry([spec for spec in seeded if not spec.kind.is_array], old, self.new)
        for old in self.old:
            if _layout(old) == _layout(self.new):
                _overwrite([spec for spec in seeded if spec.kind.is_array], old, self.new)

    def finish(self, exchange: Callable[[], int]) -> None:
        """Carry over the traffic, let *exchange* move the links, declare the new generation, remove the old."""
        traffic = [spec for spec in carried_maps(Carried.TRAFFIC) if not spec.buckets]
        later = [spec for spec in traffic if spec is not abi.SOCK_PEERS]
        before = [_sockets(old, self.new) for old in self.old]
        for old in self.old:
            _carry(traffic, old, self.new)
        with ExitStack() as opened:
            flows = self._flows(opened)
            _bring(flows, ending=False)
            with self._moving():
                self._wait()  # flows that only their own generation's programs may see begin no more
                _bring(flows, ending=False)
                links = exchange()
                self._wait()
                _bring(flows)
                for old, sockets in zip(self.old, before, strict=True):
                    _carry(later, old, self.new)
                    _carry_sockets(old, self.new, sockets)
                self._wait()  # who found no flow before it came asks whether flows move only then
        _tell_moving(self.new, 0)
        self.pins.make_current(self.new)
        for old in self.old:
            self.pins.remove(old)
        log.info("programs are on their hooks", generation=self.new.name, exchanged=links, carried_from=len(self.old))

    def _flows(self, opened: ExitStack) -> dict[str, FlowCarry]:
        """Of each old generation its table of flows and the new one's, where they are alike, while *opened* is."""
        found: dict[str, FlowCarry] = {}
        for old in self.old:
            if not _in_both([abi.FLOWS], old, self.new):
                continue
            source, target = old.map_path(abi.FLOWS.name), self.new.map_path(abi.FLOWS.name)
            is_latest = old == self.old[0]
            try:
                made = FlowCarry.open(abi.FLOWS, source, target, self.flow_writers, is_latest=is_latest)
            except (LayoutMismatch, KernelRefused) as error:
                _warn(abi.FLOWS.name, old.name, error)
            else:
                found[old.name] = opened.enter_context(closing(made))
        return found

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """The programs of all generations know that flows move, however long that takes: it is said again and again."""
        is_over = Event()

        def say_again() -> None:
            while not is_over.wait(SAID_AGAIN_S):
                self._say_moving()

        self._say_moving()
        saying = Thread(target=say_again, name="flows-move", daemon=True)
        saying.start()
        try:
            yield
        finally:
            is_over.set()
            saying.join()

    def _say_moving(self) -> None:
        """Tell the programs of all generations that flows move, from now for ``MOVES_S`` at most."""
        until_s = (time.monotonic_ns() >> abi.SEEN_BITS) + MOVES_S if self.old else 0
        for generation in (self.new, *self.old):
            _tell_moving(generation, until_s)

    def _wait(self) -> None:
        """Until the programs have ended that run now; where there is but one generation nobody waits."""
        if self.old:
            libbpf.wait_for_programs()


def begin(pins: PinRoot, sizes: Mapping[str, int], flow_writers: Path | None = None) -> Move:
    """Find the generation to work on, or make it; *pins* is locked."""
    pins.finish_removals()
    new = pins.generation(generation_name(abi.LAYOUT, sizes))
    current = pins.current()
    others = [g for g in pins.generations() if g != new]
    old = tuple(sorted(others, key=lambda g: g == current))
    return Move(pins, new, old, flow_writers or flow_table.shipped_writers())


def _tell_moving(generation: Generation, until_s: int) -> None:
    """Tell a generation's programs until when flows move; 0: no more."""
    if abi.FLOW_MOVES.name in generation.pinned():
        with held(generation.map_path(abi.FLOW_MOVES.name)) as fd:
            mapio.update(fd, RECORD, abi.FlowMove(until_s).pack(), 1)


def _carry(specs: Iterable[AnySpec], old: Generation, new: Generation) -> None:
    """Copy entries that the new maps lack; the log says what does not fit or has another layout and stays behind."""
    for name in _in_both(specs, old, new):
        try:
            with held(old.map_path(name)) as source, held(new.map_path(name)) as target:
                entries = carry(source, target)
        except (LayoutMismatch, KernelRefused) as error:
            _warn(name, old.name, error)
        else:
            log.debug("map carried over", map=name, generation=old.name, entries=entries)


def _bring(flows: Mapping[str, FlowCarry], *, ending: bool = True) -> None:
    """Carry over what has become of flows, as :meth:`FlowCarry.carry`; the log says where not all fit."""
    for generation, each in flows.items():
        try:
            entries = each.carry(ending=ending)
        except (KernelRefused, MapFull) as error:
            _warn(abi.FLOWS.name, generation, error)
        else:
            log.debug("flows carried over", generation=generation, entries=entries)


def _warn(name: str, generation: str, why: Exception) -> None:
    log.warning("map not carried over, or not all of it", map=name, generation=generation, why=why)


def _sockets(old: Generation, new: Generation) -> Mapping[bytes, bytes]:
    """What sockets were given by the old programs, where that means the same to the new ones."""
    if not _in_both([abi.SOCK_PEERS], old, new):
        return {}
    with held(old.map_path(abi.SOCK_PEERS.name)) as fd, held(new.map_path(abi.SOCK_PEERS.name)) as target:
        if not are_alike(fd, target):
            return {}
        info = libbpf.map_info(fd)
        return {
            key: value
            for keys, values in mapio.read(fd, info.key_size, info.value_size, info.max_entries)
            for key, value in zip(cut(keys, info.key_size), cut(values, info.value_size), strict=True)
        }


def _carry_sockets(old: Generation, new: Generation, before: Mapping[bytes, bytes]) -> None:
    """What sockets were given while links moved; of those that were closed meanwhile nobody will be told again.

    What was there *before* has been carried. Of a socket that was closed since, as the new programs have heard, the old
    map knows still; so nothing of before is carried twice.
    """
    now = _sockets(old, new)
    came, ended = now.keys() - before.keys(), before.keys() - now.keys()
    if not came and not ended:
        return
    with held(new.map_path(abi.SOCK_PEERS.name)) as target:
        mapio.add(target, b"".join(came), b"".join(now[key] for key in came), len(came))
        mapio.delete(target, b"".join(ended), len(ended))


def _overwrite(specs: Iterable[AnySpec], old: Generation, new: Generation) -> None:
    """Copy arrays of one layout, in which every entry exists: zeros say nothing, the rest takes their place."""
    for name in _in_both(specs, old, new):
        with held(old.map_path(name)) as source, held(new.map_path(name)) as target:
            info = libbpf.map_info(source)
            for keys, values in mapio.read(source, info.key_size, info.value_size, info.max_entries):
                pairs = zip(cut(keys, info.key_size), cut(values, info.value_size), strict=True)
                known = {key: value for key, value in pairs if any(value)}
                mapio.update(target, b"".join(known), b"".join(known.values()), len(known))


def _in_both(specs: Iterable[AnySpec], old: Generation, new: Generation) -> list[str]:
    """The names of the maps that both generations have, in the order of *specs*."""
    common = {*old.pinned()} & {*new.pinned()}
    return [spec.name for spec in specs if spec.name in common]


def _layout(generation: Generation) -> str:
    """The fingerprint in its name (:func:`maps.pins.generation_name`)."""
    return generation.name.partition("-")[0]


def _node(generation: Generation) -> bytes:
    """The node's record, as bytes; empty where the generation has none."""
    if "node" not in generation.pinned():
        return b""
    with held(generation.map_path("node")) as node:
        return mapio.lookup(node, RECORD, libbpf.map_info(node).value_size) or b""
