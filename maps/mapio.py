"""Map elements in and out of the kernel as packed bytes, many at a time; what :mod:`maps.table` is built on."""

import errno
from collections.abc import Iterator

from maps._libbpf import ffi, lib
from maps.libbpf import check, last_log

_CHUNK = 4096


def create(  # noqa: PLR0913 - BPF_MAP_CREATE has these
    name: str, kind: int, *, key_size: int, value_size: int, max_entries: int, flags: int = 0
) -> int:
    """A new map without BTF, and its file descriptor: for tests and benchmarks that load no object."""
    options = ffi.new("struct bpf_map_create_opts *")
    options.sz, options.map_flags = ffi.sizeof(options[0]), flags
    made = lib.bpf_map_create(kind, name.encode(), key_size, value_size, max_entries, options)
    return check(made, f"make the map {name}")


def update(fd: int, keys: bytes, values: bytes, n: int) -> tuple[int, int]:
    """Write *n* elements; returns how many were done, and the errno that stopped it (0: none)."""
    if n == 0:
        return 0, 0
    done, size, value_size = ffi.new("uint32_t *", n), len(keys) // n, len(values) // n
    result = lib.shim_map_update(fd, ffi.from_buffer(keys), size, ffi.from_buffer(values), value_size, done)
    last_log()
    return done[0], -result


def add(fd: int, keys: bytes, values: bytes, n: int) -> int:
    """Write those of *n* elements whose key is not there; what is there stays. Returns how many were added."""
    if n == 0:
        return 0
    added, size, value_size = ffi.new("uint32_t *", n), len(keys) // n, len(values) // n
    result = lib.shim_map_add(fd, ffi.from_buffer(keys), size, ffi.from_buffer(values), value_size, added)
    check(result, "add entries to a map")
    return int(added[0])


def delete(fd: int, keys: bytes, n: int) -> tuple[int, int]:
    """Delete *n* keys, those that are not there included; returns how many were done, and the errno."""
    if n == 0:
        return 0, 0
    done = ffi.new("uint32_t *", n)
    result = lib.shim_map_delete(fd, ffi.from_buffer(keys), len(keys) // n, done)
    return done[0], -result


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """One value, or None."""
    value = ffi.new("char[]", value_size)
    result = lib.bpf_map_lookup_elem(fd, key, value)
    if result == -errno.ENOENT:
        return None
    check(result, "look up an element")
    return bytes(ffi.buffer(value))


def read(fd: int, key_size: int, value_size: int, max_entries: int) -> Iterator[tuple[bytes, bytes]]:
    """All elements, as (keys, values) of a few thousand end to end.

    A hash is read bucket by bucket: what is there all along comes exactly once, what comes or goes meanwhile may or
    may not.
    """
    room = min(_CHUNK, max_entries)
    mark, count = ffi.new("char[]", max(key_size, 8)), ffi.new("uint32_t *")
    keys, values = ffi.new("char[]", room * key_size), ffi.new("char[]", room * value_size)
    start = ffi.NULL
    while True:
        count[0] = room
        result = lib.bpf_map_lookup_batch(fd, start, mark, keys, values, count, ffi.NULL)
        if result == -errno.ENOSPC:  # one bucket holds more than there is room for
            room *= 2
            keys, values = ffi.new("char[]", room * key_size), ffi.new("char[]", room * value_size)
            continue
        if result != -errno.ENOENT:
            check(result, "read a map")
        if count[0]:
            yield (
                bytes(ffi.buffer(keys, count[0] * key_size)),
                bytes(ffi.buffer(values, count[0] * value_size)),
            )
        if result == -errno.ENOENT:
            return
        start = mark


def count(fd: int, key_size: int, value_size: int, max_entries: int) -> int:
    """How many elements a hash holds; every one is walked past, about 20 ns each."""
    return check(lib.shim_map_count(fd, key_size, value_size, max_entries), "count a map's entries")
