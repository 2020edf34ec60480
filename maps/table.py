"""A pinned map as a table of typed records; the reconcile loop writes it, dpctl and the metrics read it.

:class:`TableLike` is what callers ask for. :class:`Table` is the kernel's, :class:`maps.memory.MemoryTable` needs no
kernel; both pass the same contract tests.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from maps import libbpf, mapio
from maps.errors import LayoutMismatch, MapFull, NotPermitted
from maps.record import Codec
from maps.spec import MapSpec

K = TypeVar("K")
V = TypeVar("V")

on_write: Callable[[int], None] | None = None
"""Called after every write call to any table with the number of such calls so far: a fail point for tests."""

_writes = 0


class TableLike(Protocol[K, V]):
    """A map with typed keys and values."""

    @property
    def spec(self) -> MapSpec[K, V]:
        """What the source says of the map."""

    @property
    def max_entries(self) -> int:
        """How many entries this one was made for."""

    def get(self, key: K, /) -> V | None:
        """The value under a key."""

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, in no order; an array's are all its indices."""

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries as (keys, values) of many at a time, packed end to end."""

    def count(self) -> int:
        """How many entries there are."""

    def update(self, entries: Iterable[tuple[K, V]], /) -> None:
        """Write entries, new or in place of old ones. When that fails, those before the failing one are written.

        Raises:
            MapFull: a hash has no room; an LRU makes room instead.
            IndexError: an array has no such index.
        """

    def update_packed(self, keys: bytes, values: bytes, n: int, /) -> None:
        """As :meth:`update`, from *n* packed keys and values end to end."""

    def delete(self, keys: Iterable[K], /) -> None:
        """Delete entries; those that are not there are no error.

        Raises:
            TypeError: an array keeps its entries.
        """

    def delete_packed(self, keys: bytes, n: int, /) -> None:
        """As :meth:`delete`, from *n* packed keys end to end."""

    def close(self) -> None:
        """Close the map; it lives on by its pin."""


class Table(Generic[K, V]):
    """A map in the kernel."""

    def __init__(self, spec: MapSpec[K, V], fd: int, *, codec: Codec[V] | None = None) -> None:
        """Take over *fd*, which is closed with the table, or at once when the map is another than *spec* says.

        Raises:
            LayoutMismatch: the kind or a size differs.
        """
        self._spec = spec
        self._codec = codec or spec.value
        info = libbpf.map_info(fd)
        found = (info.kind, info.key_size, info.value_size)
        wanted = (int(spec.kind), spec.key.SIZE, spec.value.SIZE)
        if found != wanted:
            os.close(fd)
            raise LayoutMismatch(spec.name, f"kind and sizes are {found}, not {wanted}")
        self._fd = fd
        self._max_entries = info.max_entries

    @classmethod
    def open(cls, spec: MapSpec[K, V], path: Path) -> Self:
        """The table of a pinned map."""
        return cls(spec, libbpf.get_pinned(path))

    @classmethod
    def create(cls, spec: MapSpec[K, V], max_entries: int = 0) -> Self:
        """A table of a new, unpinned map without BTF, for tests and benchmarks."""
        size = max_entries or spec.max_entries
        return cls(
            spec,
            mapio.create(
                spec.name,
                spec.kind,
                key_size=spec.key.SIZE,
                value_size=spec.value.SIZE,
                max_entries=size,
                flags=spec.flags,
            ),
        )

    @property
    def spec(self) -> MapSpec[K, V]:
        """What the source says of the map."""
        return self._spec

    @property
    def max_entries(self) -> int:
        """How many entries this map was made for."""
        return self._max_entries

    @property
    def fd(self) -> int:
        """The map's file descriptor; it stays the table's."""
        return self._fd

    def get(self, key: K) -> V | None:
        """The value under a key."""
        if self._spec.kind.is_array:
            self._check_indices((key,))
        found = mapio.lookup(self._fd, self._spec.key.pack(key), self._codec.SIZE)
        return None if found is None else self._codec.unpack(found)

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, in no order."""
        for keys, values in self.packed_items():
            yield from zip(self._spec.key.unpack_many(keys), self._codec.unpack_many(values), strict=True)

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries as (keys, values) of a few thousand, packed end to end."""
        return mapio.read(self._fd, self._spec.key.SIZE, self._codec.SIZE, self._max_entries)

    def count(self) -> int:
        """How many entries there are."""
        if self._spec.kind.is_array:
            return self._max_entries
        return mapio.count(self._fd, self._spec.key.SIZE, self._codec.SIZE, self._max_entries)

    def update(self, entries: Iterable[tuple[K, V]]) -> None:
        """Write entries in one call to the kernel."""
        pairs = list(entries)
        keys = [key for key, _ in pairs]
        if self._spec.kind.is_array:
            self._check_indices(keys)
        values = self._codec.pack_many([value for _, value in pairs])
        self.update_packed(self._spec.key.pack_many(keys), values, len(pairs))

    def update_packed(self, keys: bytes, values: bytes, n: int) -> None:
        """Write *n* entries in one call to the kernel, from packed keys and values."""
        if len(keys) != n * self._spec.key.SIZE or len(values) != n * self._codec.SIZE:
            raise ValueError(f"{self._spec.name}: {len(keys)} and {len(values)} bytes are not {n} entries")
        if n == 0:
            return
        done, failed = mapio.update(self._fd, keys, values, n)
        wrote()
        if failed == errno.E2BIG:
            raise MapFull(self._spec.name, self._max_entries, self._max_entries + n - done)
        self._check(failed, f"write {n - done} of {n} entries of {self._spec.name}")

    def delete(self, keys: Iterable[K]) -> None:
        """Delete entries in one call to the kernel, or one more for each key that is not there."""
        wanted = list(keys)
        self.delete_packed(self._spec.key.pack_many(wanted), len(wanted))

    def delete_packed(self, keys: bytes, n: int) -> None:
        """Delete *n* entries as :meth:`delete` does, by their packed keys."""
        self._spec.check_deletion(keys, n)
        if n == 0:
            return
        done, failed = mapio.delete(self._fd, keys, n)
        wrote()
        self._check(failed, f"delete {n - done} of {n} entries of {self._spec.name}")

    def close(self) -> None:
        """Close the map; it lives on by its pin."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _check_indices(self, keys: Iterable[object]) -> None:
        """An array has its indices and no others."""
        for key in keys:
            if not isinstance(key, int) or not 0 <= key < self._max_entries:
                raise IndexError(f"{self._spec.name} has no entry {key}: it has {self._max_entries}")

    @staticmethod
    def _check(failed: int, doing: str) -> None:
        """Raise for an errno."""
        if failed == errno.EPERM:
            raise NotPermitted(doing)
        libbpf.check(-failed, doing)


def wrote() -> None:
    """Count a write, and tell the fail point."""
    global _writes  # noqa: PLW0603 - the count is the process's
    _writes += 1
    if on_write is not None:
        on_write(_writes)
