"""The table of flows as one map: read out of its arrays, written by programs.

``bpf/dp/conntrack/flow_table.h`` says how it works, :mod:`maps.flow_arrays` reads it. What writes is
``bpf/flow_table.bpf.c``: a program that has begun ends, so that nobody who is killed leaves a bucket locked.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from maps import abi, libbpf, paths
from maps.errors import LayoutMismatch, MapFull
from maps.flow_arrays import Arrays
from maps.object import Object
from maps.record import cut
from maps.spec import MapSpec
from maps.table import Table, wrote

K = TypeVar("K")
V = TypeVar("V")

_EPOCHS = "cache_epochs"
_PUT, _ADD, _DROP, _SETTLE = "flows_put", "flows_add", "flows_drop", "flows_settle"


def shipped_writers() -> Path:
    """The object that writes to the table, as it ships."""
    return paths.objects() / "flow_table.bpf.o"


def beside(spec: MapSpec[Any, Any], open_maps: Mapping[str, int]) -> dict[str, int]:
    """Descriptors of the other maps of a table, out of open ones by their names; they are the caller's. Else none."""
    return {name: os.dup(open_maps[name]) for name in _names_beside(spec) if name in open_maps}


class FlowTable(Table[K, V]):
    """The table of flows as one map."""

    def __init__(self, spec: MapSpec[K, V], fd: int, beside: Mapping[str, int]) -> None:
        """Take over *fd*, of the entries, and the descriptors of the buckets and the seed, by their maps' names.

        Raises:
            LayoutMismatch: they are no table of this layout.
        """
        self._spec, self._fd, self._codec, self._beside = spec, fd, spec.value, dict(beside)
        self._writers: Object | None = None
        self._writers_path = shipped_writers()
        try:
            self._arrays = _arrays(spec, fd, beside.get(spec.buckets, -1))
        except BaseException:
            self._close_maps()
            raise
        self._max_entries = self._arrays.max_entries

    @classmethod
    def open(cls, spec: MapSpec[K, V], path: Path) -> Self:
        """The table of a pinned map, whose others are pinned beside it."""
        beside = [name for name in _names_beside(spec) if (path.parent / name).exists()]
        fd = libbpf.get_pinned(path)
        return cls(spec, fd, {name: libbpf.get_pinned(path.parent / name) for name in beside})

    def written_by(self, writers: Path) -> None:
        """Have another object write than the one that ships."""
        self._writers_path = writers

    def get(self, key: K) -> V | None:
        """The value under a key; the whole table is read."""
        wanted, size = self._spec.key.pack(key), self._spec.key.SIZE
        for keys, values in self.packed_items():
            for at, each in enumerate(cut(keys, size)):
                if each == wanted:
                    return self._codec.unpack(values[at * self._codec.SIZE : (at + 1) * self._codec.SIZE])
        return None

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries as (keys, values) of a few thousand, packed end to end."""
        return self._arrays.read()

    def packed_news(self, without: int) -> Iterator[tuple[bytes, bytes]]:
        """The same of entries that are others, or have other flags, than when they came last; without some flags."""
        return self._arrays.read(without=without, is_news=True)

    def count(self) -> int:
        """How many entries there are."""
        return self._arrays.count()

    def counts(self) -> tuple[int, ...]:
        """How many entries each bucket has."""
        return self._arrays.counts()

    def update_packed(self, keys: bytes, values: bytes, n: int) -> None:
        """Write *n* entries, from packed keys and values."""
        if len(keys) != n * self._spec.key.SIZE or len(values) != n * self._codec.SIZE:
            raise ValueError(f"{self._spec.name}: {len(keys)} and {len(values)} bytes are not {n} entries")
        self._run(_PUT, keys, values, n)

    def add_packed(self, keys: bytes, values: bytes, n: int) -> int:
        """Write those of *n* entries whose key is not there; what is there stays. Returns how many were added."""
        return self._run(_ADD, keys, values, n)

    def settle_packed(self, keys: bytes, values: bytes, n: int) -> int:
        """Have *n* entries of another generation's table in this one, as they go with what is here.

        ``bpf/dp/conntrack/flow_settle.h`` says how. Returns how many changed the table.
        """
        return self._run(_SETTLE, keys, values, n)

    def delete_packed(self, keys: bytes, n: int) -> None:
        """Delete *n* entries by their packed keys."""
        self._spec.check_deletion(keys, n)
        self._run(_DROP, keys, bytes(n * self._codec.SIZE), n)

    def close(self) -> None:
        """Close the maps; they live on by their pins."""
        if self._fd >= 0:
            self._arrays.close()
            self._close_maps()
        if self._writers:
            self._writers.close()
            self._writers = None

    def _run(self, program: str, keys: bytes, values: bytes, n: int) -> int:
        """Have a program do *n* entries, so many at a time as it takes; returns how many changed the table."""
        if n == 0:
            return 0
        fd, done, changed = self._program(program), 0, 0
        whole = [k + v for k, v in zip(cut(keys, len(keys) // n), cut(values, len(values) // n), strict=True)]
        while done < n:
            part = whole[done : done + abi.FLOWS_AT_ONCE]
            answer = libbpf.test_run(fd, b"".join(part)).retval
            done, changed = done + (answer & 0xFFFF), changed + (answer >> 16)
            if answer & 0xFFFF < len(part):
                wrote()
                raise MapFull(self._spec.name, self._max_entries, self._max_entries + n - done)
        wrote()
        return changed

    def _program(self, name: str) -> int:
        """A program that writes, loaded when it is first needed."""
        if self._writers is None:
            self._writers = self._load()
        return self._writers.program_fd(name)

    def _load(self) -> Object:
        found = Object.open(self._writers_path)
        try:
            maps: Iterable[tuple[str, int]] = ((self._spec.name, self._fd), *self._beside.items())
            for name, fd in maps:
                found.resize(name, libbpf.map_info(fd).max_entries)
                found.reuse(name, fd)
            found.set_constants({"flow_bucket_number": self._arrays.buckets})
            found.load()
        except BaseException:
            found.close()
            raise
        return found

    def _close_maps(self) -> None:
        for fd in (self._fd, *self._beside.values()):
            os.close(fd)
        self._fd, self._beside = -1, {}


def _names_beside(spec: MapSpec[Any, Any]) -> tuple[str, ...]:
    """The other maps of a table, and what voids the copies of its entries."""
    return (spec.buckets, abi.FLOW_SEEDS.name, _EPOCHS) if spec.buckets else ()


def _arrays(spec: MapSpec[Any, Any], fd: int, buckets: int) -> Arrays:
    info = libbpf.map_info(fd)
    if info.value_size != abi.FlowEntry.SIZE or buckets < 0:
        raise LayoutMismatch(spec.name, f"its elements have {info.value_size} octets, or it has no buckets")
    return Arrays(fd, buckets, spec.key.SIZE, spec.value.SIZE)
