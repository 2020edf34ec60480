"""A hash in sub-tables: an array of maps that is never written after it was made, each key's by a hash under a seed.

Programs walk one sub-table at a time, as :func:`bpf_for_each_map_elem` cannot be resumed. Python shows the whole as one
table. ``SEEDED_BY`` in C declares it, :attr:`maps.spec.MapSpec.seed` names the map of its seed.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from maps import libbpf, mapio
from maps._libbpf import ffi, lib
from maps.errors import LayoutMismatch
from maps.record import cut
from maps.spec import MapSpec
from maps.table import Table

K = TypeVar("K")
V = TypeVar("V")

ARRAY_OF_MAPS = 12  # enum bpf_map_type
_FIRST = bytes(4)  # the key of a seed


@contextmanager
def subtables(fd: int) -> Iterator[tuple[int, ...]]:
    """Descriptors of a map's sub-tables by their index, while the block runs; one that has none is its own."""
    info = libbpf.map_info(fd)
    if info.kind != ARRAY_OF_MAPS:
        yield (fd,)
        return
    fds: list[int] = []
    try:
        for index in range(info.max_entries):
            found = mapio.lookup(fd, index.to_bytes(4, "little"), info.value_size) or b""
            fds.append(libbpf.map_by_id(int.from_bytes(found, "little")))
        yield tuple(fds)
    finally:
        for each in fds:
            os.close(each)


def whole_info(fd: int) -> libbpf.MapInfo:
    """What a map is; one in sub-tables as the hash that it stands for."""
    info = libbpf.map_info(fd)
    if info.kind != ARRAY_OF_MAPS:
        return info
    with subtables(fd) as fds:
        each = [libbpf.map_info(part) for part in fds]
    return replace(
        each[0],
        id=info.id,
        name=info.name,
        max_entries=sum(part.max_entries for part in each),
        memory_bytes=info.memory_bytes + sum(part.memory_bytes for part in each),
    )


def draw_seed(fd: int) -> None:
    """Give a new map of a seed its seed; one that has it keeps it. Before any program runs."""
    size = libbpf.map_info(fd).value_size
    if mapio.lookup(fd, _FIRST, size) == bytes(size):
        mapio.update(fd, _FIRST, os.urandom(size), 1)


def read_seed(fd: int) -> bytes:
    """The seed that a map has."""
    return mapio.lookup(fd, _FIRST, libbpf.map_info(fd).value_size) or b""


def by_subtable(keys: bytes, values: bytes, n: int, seed: bytes, number: int) -> Mapping[int, tuple[bytes, bytes, int]]:
    """*n* entries end to end, by the index of their sub-table; each as keys, values and how many."""
    if number == 1 or not n:
        return {0: (keys, values, n)}
    places, size = ffi.new("uint32_t[]", n), len(keys) // n
    lib.shim_subtable_places(ffi.from_buffer(keys), size, n, ffi.from_buffer("uint64_t[]", seed), number, places)
    found: dict[int, list[tuple[bytes, bytes]]] = {}
    for place, key, value in zip(places, cut(keys, size), cut(values, len(values) // n), strict=True):
        found.setdefault(place, []).append((key, value))
    return {
        place: (b"".join(key for key, _ in pairs), b"".join(value for _, value in pairs), len(pairs))
        for place, pairs in found.items()
    }


class SubtableTable(Table[K, V]):
    """A hash in sub-tables as one table: read as a whole, written and deleted where each entry belongs."""

    def __init__(self, spec: MapSpec[K, V], fd: int, seed: bytes = b"") -> None:
        """Take over *fd*; without the seed nothing can be written. Raises as :class:`maps.table.Table`."""
        info = libbpf.map_info(fd)
        if info.kind != ARRAY_OF_MAPS:
            os.close(fd)
            raise LayoutMismatch(spec.name, f"it is of kind {info.kind}, not in sub-tables")
        self._spec, self._fd, self._seed, self._codec = spec, fd, seed, spec.value
        with subtables(fd) as fds:
            self._each = tuple(Table(spec, os.dup(part)) for part in fds)
        self._max_entries = sum(each.max_entries for each in self._each)

    @classmethod
    def open(cls, spec: MapSpec[K, V], path: Path) -> Self:
        """The table of a pinned map, with the seed that is pinned beside it."""
        fd = libbpf.get_pinned(path.parent / spec.seed)
        try:
            seed = read_seed(fd)
        finally:
            os.close(fd)
        return cls(spec, libbpf.get_pinned(path), seed)

    def get(self, key: K) -> V | None:
        """The value under a key."""
        return next((found for each in self._each if (found := each.get(key)) is not None), None)

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries as (keys, values) of a few thousand, packed end to end."""
        for each in self._each:
            yield from each.packed_items()

    def count(self) -> int:
        """How many entries there are."""
        return sum(each.count() for each in self._each)

    def counts(self) -> tuple[int, ...]:
        """How many entries each sub-table has."""
        return tuple(each.count() for each in self._each)

    def update_packed(self, keys: bytes, values: bytes, n: int) -> None:
        """Write *n* entries in a call for each sub-table that has some."""
        if n == 0:
            return
        if not self._seed:
            raise ValueError(f"{self._spec.name} is open for reading: it has no seed")
        for index, part in by_subtable(keys, values, n, self._seed, len(self._each)).items():
            self._each[index].update_packed(*part)

    def delete_packed(self, keys: bytes, n: int) -> None:
        """Delete *n* entries by their packed keys."""
        if not self._seed:
            raise ValueError(f"{self._spec.name} is open for reading: it has no seed")
        for index, (part, _, number) in by_subtable(keys, keys, n, self._seed, len(self._each)).items():
            self._each[index].delete_packed(part, number)

    def close(self) -> None:
        """Close the map; it lives on by its pin."""
        for each in self._each:
            each.close()
        super().close()
