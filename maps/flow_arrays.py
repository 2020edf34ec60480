"""The two arrays of the flow table, as Python finds them: how large they are made, and what is in them.

A bucket is a line of tags, one for each of its ways; behind each way is an entry in the other array. Python reads both
in memory, while programs write them (``maps/shim_flows.c``). ``IN_BUCKETS`` in C declares such a table,
:attr:`maps.spec.MapSpec.buckets` names the map of its buckets.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from maps import abi, libbpf, mapio
from maps._libbpf import ffi, lib
from maps.errors import LayoutMismatch
from maps.pins import held
from maps.spec import MapKind, MapSpec

_FIRST = bytes(4)  # the key of the seed
_CHUNK = 4096  # entries that are read at a time


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a table is: stretches that conntrack GC walks one by one, each of as many buckets."""

    stretches: int
    stretch: int  # buckets of each

    @classmethod
    def of(cls, entries: int) -> Self:
        """The smallest with room for *entries*."""
        buckets = max(1, -(-entries // abi.FLOW_ROOM))
        stretches = min(-(-buckets // abi.GC_STRETCH), abi.GC_STRETCHES)
        return cls(stretches, -(-buckets // stretches))

    @property
    def buckets(self) -> int:
        """All of them."""
        return self.stretches * self.stretch


def elements(sizes: Mapping[str, int]) -> dict[str, int]:
    """How many elements maps get that are to have room for so many entries, and the buckets of those in buckets."""
    made = dict(sizes)
    for name in sizes.keys() & {spec.name for spec in abi.MAPS.values() if spec.buckets}:
        buckets = Shape.of(sizes[name]).buckets
        made |= {name: buckets * abi.FLOW_WAYS, abi.MAPS[name].buckets: buckets}
    return made


def constants(entries: int) -> dict[str, int]:
    """What programs must know of a table with room for *entries*: their load-time constants by name."""
    shape = Shape.of(entries)
    return {"flow_bucket_number": shape.buckets, "flow_stretches": shape.stretches}


def draw_seed(fd: int) -> None:
    """Give a new map of the seed its seed; one that has it keeps it. Before any program runs."""
    size = libbpf.map_info(fd).value_size
    if mapio.lookup(fd, _FIRST, size) == bytes(size):
        mapio.update(fd, _FIRST, os.urandom(size), 1)


def buckets_of(path: Path) -> Path | None:
    """Where the buckets of a pinned map are; None where it is no table of this kind, also by another build."""
    spec = abi.MAPS.get(path.name)
    found = path.parent / spec.buckets if spec and spec.buckets else None
    return found if found and found.exists() else None


def is_in_buckets(fd: int, path: Path) -> bool:
    """Whether a pinned map, *fd*, is the entries of such a table."""
    return buckets_of(path) is not None and libbpf.map_info(fd).kind == MapKind.ARRAY


def whole_info(fd: int, path: Path) -> libbpf.MapInfo:
    """What a pinned map is, *fd*; a table in buckets as the hash that it stands for."""
    info, buckets = libbpf.map_info(fd), buckets_of(path)
    if buckets is None or info.kind != MapKind.ARRAY:
        return info
    spec: MapSpec[Any, Any] = abi.MAPS[path.name]
    with held(buckets) as buckets_fd:
        room = libbpf.map_info(buckets_fd).max_entries * abi.FLOW_ROOM
    return replace(info, kind=int(spec.kind), key_size=spec.key.SIZE, value_size=spec.value.SIZE, max_entries=room)


def count(path: Path) -> int:
    """How many entries a pinned table in buckets has."""
    spec: MapSpec[Any, Any] = abi.MAPS[path.name]
    with opened(path, spec.key.SIZE, spec.value.SIZE) as arrays:
        return arrays.count()


class Arrays:
    """Both arrays in memory, for reading; made by whatever build, of entries whose key and value have these sizes."""

    def __init__(self, fd: int, buckets_fd: int, key_size: int, value_size: int) -> None:
        """Map them; the descriptors stay the caller's.

        Raises:
            LayoutMismatch: they are no arrays, or not of one table.
            KernelRefused: they cannot be mapped.
        """
        self.info, buckets = libbpf.map_info(fd), libbpf.map_info(buckets_fd)
        ways = self.info.max_entries // buckets.max_entries
        kinds = {self.info.kind, buckets.kind}
        if kinds != {int(MapKind.ARRAY)} or key_size + value_size > self.info.value_size or not ways:
            raise LayoutMismatch(self.info.name, f"it is of kind {self.info.kind}, and no flow table")
        self.buckets = buckets.max_entries
        self._known: Any = None
        self._memory = ffi.new("struct shim_flows *")
        self._memory.buckets, self._memory.ways = buckets.max_entries, ways
        self._memory.bucket_size, self._memory.entry_size = buckets.value_size, self.info.value_size
        self._memory.key_size, self._memory.value_size = key_size, value_size
        libbpf.check(lib.shim_flows_map(buckets_fd, fd, self._memory), f"map {self.info.name} into memory")

    @property
    def max_entries(self) -> int:
        """How many entries it has room for."""
        return self.buckets * abi.FLOW_ROOM

    def read(self, *, without: int = 0, is_news: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """All entries as (keys, values) of a few thousand, packed end to end.

        What is there all along comes exactly once; what comes or goes meanwhile may or may not. Without those that have
        one of these flags. With *is_news* those alone come that have not come so before, as the same flow with the
        same flags; from the first such call on it is kept in mind what has come, eight octets for each entry.
        """
        memory, bucket = self._memory, ffi.new("uint32_t *")
        if is_news and self._known is None:
            self._known = ffi.new("uint64_t[]", self.info.max_entries)
        memory.without, memory.known = without, self._known if is_news and self._known is not None else ffi.NULL
        keys, values = ffi.new("char[]", _CHUNK * memory.key_size), ffi.new("char[]", _CHUNK * memory.value_size)
        while bucket[0] < memory.buckets:
            n = lib.shim_flows_read(memory, bucket, keys, values, _CHUNK)
            if n:
                yield bytes(ffi.buffer(keys, n * memory.key_size)), bytes(ffi.buffer(values, n * memory.value_size))

    def count(self) -> int:
        """How many entries there are."""
        return int(lib.shim_flows_count(self._memory, ffi.NULL))

    def counts(self) -> tuple[int, ...]:
        """How many entries each bucket has."""
        counts = ffi.new("uint32_t[]", self.buckets)
        lib.shim_flows_count(self._memory, counts)
        return tuple(counts)

    def close(self) -> None:
        """Give the memory back."""
        lib.shim_flows_unmap(self._memory)


@contextmanager
def opened(path: Path, key_size: int, value_size: int) -> Iterator[Arrays]:
    """The arrays of a pinned table, while the block runs. Raises as :class:`Arrays`."""
    buckets = buckets_of(path)
    if buckets is None:
        raise LayoutMismatch(path.name, "it has no buckets")
    with held(path) as fd, held(buckets) as buckets_fd:
        arrays = Arrays(fd, buckets_fd, key_size, value_size)
    with closing(arrays):
        yield arrays
