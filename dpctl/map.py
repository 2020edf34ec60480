"""``dpctl map list`` and ``dpctl map dump``: maps as the kernel describes them, whatever build laid them out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from dpctl.errors import Absent
from dpctl.format import octets
from dpctl.output import Column, Table, json_text
from maps import dump, flow_arrays, libbpf, mapio
from maps.pins import Generation, held
from maps.spec import MapKind

_SHOWN = 8  # elements of a long list that fit a cell


@dataclass(frozen=True, slots=True)
class MapRow:
    """One pinned map."""

    name: str
    used: int | None  # entries; an array's are all there always; null: of a kind that is not counted
    max_entries: int
    kind: str
    key_bytes: int
    value_bytes: int
    octets: int  # memory the kernel charges for it now
    map_id: int
    pin: str

    @property
    def percent(self) -> str:
        """How full it is; nothing for an array, which has no room to run out of."""
        if self.used is None or "array" in self.kind:
            return ""
        return f"{100 * self.used / self.max_entries:.1f}%"


COLUMNS: tuple[Column[MapRow], ...] = (
    Column("MAP", lambda r: r.name),
    Column("USED", lambda r: "" if r.used is None else str(r.used), right=True),
    Column("MAX", lambda r: str(r.max_entries), right=True),
    Column("FULL", lambda r: r.percent, right=True),
    Column("KIND", lambda r: r.kind),
    Column("KEY", lambda r: str(r.key_bytes), right=True),
    Column("VALUE", lambda r: str(r.value_bytes), right=True),
    Column("MEMORY", lambda r: octets(r.octets), right=True),
    Column("ID", lambda r: str(r.map_id), right=True),
    Column("PIN", lambda r: r.pin),
)


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry of a map, as its BTF reads it; of a per-CPU map the value is a list with one for each CPU."""

    key: Any
    value: Any


def map_table(generation: Generation) -> Table[MapRow]:
    """The maps of a generation, by name."""
    return Table(COLUMNS, [_row(name, generation.map_path(name)) for name in generation.pinned()])


def entry_rows(generation: Generation, name: str, limit: int | None = None) -> Iterator[EntryRow]:
    """The entries of a map, read while they are asked for.

    Raises:
        Absent: no map of that name is pinned.
    """
    if name not in generation.pinned():
        raise Absent(f"no map {name} is pinned in {generation.maps}; type: dpctl map list")
    return (EntryRow(entry.key, entry.value) for entry in islice(dump.dump(generation.map_path(name)), limit))


def entry_table(rows: list[EntryRow]) -> Table[EntryRow]:
    """Entries with a column for each field; those of one map have the same fields."""
    columns = [*_columns("key", rows), *_columns("value", rows)]
    return Table(columns, rows)


def cell(value: Any) -> str:
    """A field's text; of a long list its beginning, and how long it is."""
    if isinstance(value, list) and len(value) > _SHOWN:
        beginning = ", ".join(map(cell, value[:_SHOWN]))
        return f"[{beginning}, ... {len(value)}]"
    return json_text(value)


def _columns(half: str, rows: list[EntryRow]) -> Iterator[Column[EntryRow]]:
    """A column for each field of the keys or of the values, or one for all of it."""
    first = getattr(rows[0], half) if rows else None
    if isinstance(first, dict):
        for name, value in first.items():
            yield Column(f"{half}.{name}".upper(), _field(half, name), right=isinstance(value, int))
    else:
        yield Column(half.upper(), _field(half), right=isinstance(first, int))


def _field(half: str, name: str | None = None) -> Callable[[EntryRow], str]:
    """What reads a cell: one field, or the whole half."""
    whole = attrgetter(half)
    return lambda row: cell(whole(row) if name is None else whole(row)[name])


def _row(name: str, pin: Path) -> MapRow:
    with held(pin) as fd:
        info = flow_arrays.whole_info(fd, pin)
        used = flow_arrays.count(pin) if flow_arrays.is_in_buckets(fd, pin) else _used(fd, info)
    return MapRow(
        name=name,
        used=used,
        max_entries=info.max_entries,
        kind=_kind(info.kind),
        key_bytes=info.key_size,
        value_bytes=info.value_size,
        octets=info.memory_bytes,
        map_id=info.id,
        pin=str(pin),
    )


def _kind(number: int) -> str:
    """The map type in the kernel's word for it, or its number."""
    return MapKind(number).name.lower() if number in list(MapKind) else f"type {number}"


def _used(fd: int, info: libbpf.MapInfo) -> int | None:
    if info.kind not in list(MapKind):
        return None
    kind = MapKind(info.kind)
    if kind.is_array:
        return info.max_entries
    stride = (info.value_size + 7) // 8 * 8
    value_size = stride * libbpf.possible_cpus() if kind.is_per_cpu else info.value_size
    return mapio.count(fd, info.key_size, value_size, info.max_entries)
