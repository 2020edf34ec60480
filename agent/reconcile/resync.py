"""All records that owners have, compared with what the maps hold: at a start, after a failure, and now and then.

One map at a time is read, and compared owner by owner, so that no more than one is in memory.
"""

from collections.abc import ItemsView, Iterator, Mapping
from itertools import repeat

from agent.compile.records import Owner, Records
from agent.reconcile.plans import ORDER, ByOwner, Numbers, Plan, fits
from maps.abi import MAPS
from maps.apply import AnyTable, read
from maps.errors import MapFull
from maps.plan import Changes, is_moved
from maps.record import cut


class AllRecords(Mapping[bytes, bytes]):
    """What all owners have in one map, never in memory at once: what is written to an empty map."""

    def __init__(self, name: str, owners: ByOwner) -> None:
        self._spec, self._owners = MAPS[name], owners

    def __len__(self) -> int:
        return sum(len(records.raw(self._spec.name)[0]) for records in self._owners.values()) // self._spec.key.SIZE

    def __iter__(self) -> Iterator[bytes]:
        return (key for key, _ in self.items())

    def __getitem__(self, key: bytes) -> bytes:
        return next(value for found, value in self.items() if found == key)

    def items(self) -> ItemsView[bytes, bytes]:
        """The records, owner by owner."""
        return _Items(self)

    def walk(self) -> Iterator[tuple[bytes, bytes]]:
        """The same, as an iterator."""
        spec = self._spec
        for records in self._owners.values():
            keys, values = records.raw(spec.name)
            yield from zip(cut(keys, spec.key.SIZE), cut(values, spec.value.SIZE), strict=True)


class _Items(ItemsView[bytes, bytes]):
    """A view that walks, where the standard one looks each key up."""

    _mapping: AllRecords

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping.walk()


class Comparison:
    """What differs between *owners* and the maps. Owners that do not fit are *refused*, the last ones first."""

    def __init__(self, owners: ByOwner, tables: Mapping[str, AnyTable], rooms: Numbers) -> None:
        self._tables, self._rooms = tables, rooms
        self._owners, self.refused = accepted(owners, rooms)
        self._changes: dict[str, Changes] = {}
        self._held: dict[str, int] = {}

    def read(self) -> Iterator[str]:
        """Read and compare, a map at a time; yields its name when that is done.

        Raises:
            MapsError: the kernel refused.
        """
        for name in ORDER:
            self._changes[name], self._held[name] = _compared(name, self._tables[name], self._owners)
            yield name

    def plans(self) -> Iterator[Plan]:
        """What makes the maps equal: one plan, or where old and new do not fit side by side a removal before it.

        That removal takes what changes too, so that nothing refers to what has gone.
        """
        whole = {name: changes for name, changes in self._changes.items() if changes}
        if fits(whole, self._held, self._rooms):
            yield whole
            return
        changing = {name: changes for name, changes in whole.items() if not isinstance(changes.write, AllRecords)}
        yield {name: Changes({}, (*changes.remove, *changes.write)) for name, changes in changing.items() if changes}
        yield {name: Changes(changes.write, (), len(changes.write)) for name, changes in whole.items()}


def accepted(owners: ByOwner, rooms: Numbers) -> tuple[ByOwner, dict[Owner, MapFull]]:
    """The owners whose records fit, in their order, and those for which there is no room."""
    wanted = dict.fromkeys(ORDER, 0)
    for records in owners.values():
        for name, count in records.counts():
            if name in wanted:
                wanted[name] += count
    full = {name for name, count in wanted.items() if count > rooms[name]}
    if not full:
        return owners, {}
    found: dict[Owner, Records] = {}
    refused: dict[Owner, MapFull] = {}
    taken = dict(zip(full, repeat(0)))
    for owner, records in owners.items():
        more = {name: count for name, count in records.counts() if name in full}
        over = next((name for name, count in more.items() if taken[name] + count > rooms[name]), None)
        if over is None:
            taken |= {name: taken[name] + count for name, count in more.items()}
            found[owner] = records
        else:
            refused[owner] = MapFull(over, rooms[over], wanted[over], MAPS[over].flag)
    return found, refused


def _compared(name: str, table: AnyTable, owners: ByOwner) -> tuple[Changes, int]:
    """One map's changes, and how many records it holds."""
    held = read(table)
    count = len(held)
    everything = AllRecords(name, owners)
    if not held:
        return Changes(everything, (), len(everything)), 0
    spec, new, moved, write = MAPS[name], 0, 0, dict[bytes, bytes]()
    for key, value in everything.items():
        there = held.pop(key, None)
        if there == value or (there is not None and spec.at_rest(there) == value):
            continue
        write[key] = value
        new += there is None
        moved += there is not None and is_moved(there, value)
    return Changes(write, tuple(held), new, moved), count
