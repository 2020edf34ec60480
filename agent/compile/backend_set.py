"""Backend sets as records: the backends of one port, protocol, family and view of a service, and who of them serves.

What sets have alike is worked out once and is one object in all of them: who has which slot, the tables and rings, of
which there may be a quarter of a megabyte. A set whose backends are as before is the identical value.
"""

from array import array
from dataclasses import dataclass
from functools import cache
from itertools import compress, groupby

from agent.compile.backend import PortBackends, with_ports
from agent.compile.ids import IdBook, SetIds
from agent.compile.records import Part
from agent.compile.ring import ring_values, turns
from agent.model.address import ADDRESS_BYTES
from agent.model.service import Scheduler
from maps import abi, maglev
from maps.record import cut

RINGS = (Scheduler.RR, Scheduler.LC)  # they choose by rings, the others by maglev tables
SLOTS = 64  # whose backends are one part of the records: who comes or goes has others compared with no more than these
_Key = type[abi.BackendKey | abi.MaglevKey | abi.RingKey]


@dataclass(frozen=True, slots=True)
class BackendSet:
    """One, as records end to end."""

    label: str
    ids: SetIds
    size: int  # backends that take new flows
    only_slot: int  # of the one backend; 0: there are none, or several
    parts: int
    how: tuple[Scheduler, bytes]  # who serves a flow: by which scheduler, and by what beside addresses, as in _tables()
    records: tuple[Part, ...]  # the backends first

    @property
    def set_id(self) -> int:
        """Its id."""
        return self.ids.set_id


class BackendSets:
    """Makes them while a Desired is being made; ids and slots come from *book*."""

    def __init__(self, book: IdBook) -> None:
        self.book = book
        self._keys, self._tables, self._rings = cache(_keys), cache(_tables), cache(_rings)
        self._places, self._by_slot = cache(_places), cache(_by_slot)

    def made(
        self, label: str, found: PortBackends, scheduler: Scheduler, old: BackendSet | None, *, by_address: bool
    ) -> BackendSet:
        """One set; *by_address*: who serves a flow follows from addresses, whatever the numbers of the ports."""
        ports, weights = found.ports, found.chosen.weights
        how = scheduler, found.chosen.apart if by_address else ports
        ids = self.book.slots(label, found.chosen.addresses, ports)
        backends = self._backends(ids, found)
        if old is not None and old.ids is ids and old.how == how and old.records[: len(backends)] == backends:
            return old
        if scheduler in RINGS:
            parts, tables = 1, self._by_ring(ids, weights, scheduler)
        else:
            parts, tables = self._by_hash(ids, how[1], weights)
        size = len(weights) - weights.count(0)
        only = array("H", ids.places)[weights.index(max(weights))] if size == 1 else 0
        return BackendSet(label, ids, size, only, parts, how, (*backends, *tables))

    def _backends(self, ids: SetIds, found: PortBackends) -> tuple[Part, ...]:
        """The backends in the order of their slots."""
        places, ports = self._places(ids.places), found.ports
        if len(found.numbers) > 1:
            ports = array("H", map(array("H", ports).__getitem__, places.index)).tobytes()
        values = with_ports(self._by_slot(found.chosen.values, abi.Backend.SIZE, places), ports)
        keys, size, value_size = self._slot_keys(ids), abi.BackendKey.SIZE, abi.Backend.SIZE
        return tuple(
            ("backends", keys[start * size : end * size], values[start * value_size : end * value_size])
            for start, end in places.together
        )

    def _slot_keys(self, ids: SetIds) -> bytes:
        return _of_set(self._keys(abi.BackendKey, self._places(ids.places).order), abi.BackendKey, ids.set_id)

    def _by_hash(self, ids: SetIds, ports: bytes, weights: bytes) -> tuple[int, tuple[Part, ...]]:
        """The set's parts, one at least, and its maglev tables."""
        tables = self._tables(ids.addresses, ports, ids.places, weights)
        parts = len(tables) // maglev.PART_BYTES
        keys = _of_set(self._keys(abi.MaglevKey, _numbers(parts)), abi.MaglevKey, ids.set_id)
        return max(1, parts), (("maglevs", keys, tables),)

    def _by_ring(self, ids: SetIds, weights: bytes, scheduler: Scheduler) -> tuple[Part, ...]:
        """The set's ring, and what the programs keep beside it: whose turn it is, or what each backend has."""
        if scheduler is Scheduler.RR:
            beside = ("turns", abi.TURNS.key.pack(ids.set_id), bytes(abi.Turn.SIZE))
        else:
            beside = ("loads", self._slot_keys(ids), bytes(abi.Load.SIZE * len(weights)))
        rings = self._rings(ids.places, weights, scheduler)
        keys = self._keys(abi.RingKey, _numbers(len(rings) // abi.Ring.SIZE))
        return ("rings", _of_set(keys, abi.RingKey, ids.set_id), rings), beside


@dataclass(frozen=True, slots=True)
class _Places:
    """The slots that a set's backends have."""

    index: tuple[int, ...]  # of backends in the order of their slots
    order: bytes  # the slots in order, u16 in the machine's order
    together: tuple[tuple[int, int], ...]  # which of them are one part


def _places(places: bytes) -> _Places:
    slots = array("H", places)
    index = tuple(sorted(range(len(slots)), key=slots.__getitem__))
    order, together, start = array("H", map(slots.__getitem__, index)), [], 0
    for _, part in groupby(order, lambda slot: slot // SLOTS):
        end = start + sum(1 for _ in part)
        together.append((start, end))
        start = end
    return _Places(index, order.tobytes(), tuple(together))


def _by_slot(column: bytes, size: int, places: _Places) -> bytes:
    """A column of backends, *size* octets each, in the order of their slots."""
    return b"".join(map(cut(column, size).__getitem__, places.index))


def _numbers(count: int) -> bytes:
    return array("H", range(count)).tobytes()


def _keys(kind: _Key, numbers: bytes) -> bytes:
    """The keys of such slots, or parts, of set 0."""
    return b"".join([kind(0, number).pack() for number in array("H", numbers)])


def _of_set(keys: bytes, kind: _Key, set_id: int) -> bytes:
    """The same *keys*, of another set than 0."""
    made, count = bytearray(keys), len(keys) // kind.SIZE
    for at, octet in enumerate(kind(set_id, 0).pack()):
        if octet:
            made[at :: kind.SIZE] = bytes((octet,)) * count
    return bytes(made)


def _tables(addresses: bytes, apart: bytes, places: bytes, weights: bytes) -> bytes:
    """The maglev tables of backends that take new flows, end to end: they follow from addresses and *apart*.

    That has two octets for each, as packets have ports.
    """
    names = zip(cut(addresses, ADDRESS_BYTES), cut(apart, 2), strict=True)
    keys = b"".join(map(b"".join, compress(names, weights)))
    slots = array("H", compress(array("H", places), weights)).tobytes()
    takers = bytes(filter(None, weights))
    return maglev.filled(keys, slots, takers if len(set(takers)) > 1 else b"")


def _rings(places: bytes, weights: bytes, scheduler: Scheduler) -> bytes:
    """The ring of backends that take new flows, part by part end to end."""
    takers = {slot: weight for slot, weight in zip(array("H", places), weights, strict=True) if weight}
    slots = tuple(takers)
    if scheduler is Scheduler.RR:
        slots = tuple(slots[index] for index in turns(tuple(takers.values())))
    return b"".join(ring_values(slots, [takers[slot] for slot in slots]))
