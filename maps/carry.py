"""Entries carried from one generation's map into the next one's: flows and affinities outlive a change of sizes."""

import struct
from contextlib import closing
from pathlib import Path
from sys import byteorder
from typing import Any

from maps import btf, libbpf, mapio
from maps.abi import FlowFlag
from maps.errors import LayoutMismatch
from maps.flow_arrays import buckets_of
from maps.flow_table import FlowTable
from maps.layout import layout
from maps.pins import held
from maps.record import cut
from maps.spec import MapKind, MapSpec

ENDS = FlowFlag.FLOW_FIN_ORIGIN | FlowFlag.FLOW_FIN_REPLY | FlowFlag.FLOW_RESET
_FLAGS = struct.Struct("=4xI")  # how struct flow begins: serial, flags


def carry(source: int, target: int) -> int:
    """Copy the entries that *target* lacks; what it has is newer and stays. Returns how many were added.

    Of an array every entry exists, and one of zeros says nothing.

    Called twice while links move: once to fill the new map, once for what came into the old one meanwhile. What does
    not fit any more is an error only to a hash; an LRU makes room.

    Raises:
        LayoutMismatch: the maps' types differ, by the BTF beside them.
        KernelRefused: the new map is full.
    """
    old, new = libbpf.map_info(source), libbpf.map_info(target)
    _check(old, new)
    if MapKind(old.kind).is_array:
        return _carry_array(source, target, old, new)
    return sum(
        mapio.add(target, keys, values, len(keys) // old.key_size)
        for keys, values in mapio.read(source, old.key_size, old.value_size, old.max_entries)
    )


def carry_flows(spec: MapSpec[Any, Any], source: Path, target: Path, writers: Path, *, ending: bool = True) -> int:
    """As :func:`carry`, of pinned tables in buckets; *writers* is the object that writes to one.

    Without those that are *ending*, which another flow may follow under the same key before the second call.

    Raises:
        LayoutMismatch: the tables differ in more than their sizes.
        MapFull: the new table is.
    """
    for pair in ((source, target), (buckets_of(source), buckets_of(target))):
        if None in pair:
            raise LayoutMismatch(spec.name, "one of both has no buckets")
        with held(pair[0] or source) as old, held(pair[1] or target) as new:
            _check(libbpf.map_info(old), libbpf.map_info(new))
    with closing(FlowTable.open(spec, source)) as old_table, closing(FlowTable.open(spec, target)) as new_table:
        new_table.written_by(writers)
        items = old_table.packed_items()
        if not ending:
            items = (_lasting(spec, keys, values) for keys, values in items)
        return sum(new_table.add_packed(keys, values, len(keys) // spec.key.SIZE) for keys, values in items)


def _lasting(spec: MapSpec[Any, Any], keys: bytes, values: bytes) -> tuple[bytes, bytes]:
    """Those of flows of which no end has said FIN or RST."""
    pairs = zip(cut(keys, spec.key.SIZE), cut(values, spec.value.SIZE), strict=True)
    lasting = [pair for pair in pairs if not _FLAGS.unpack_from(pair[1])[0] & ENDS]
    return b"".join(key for key, _ in lasting), b"".join(value for _, value in lasting)


def _carry_array(source: int, target: int, old: libbpf.MapInfo, new: libbpf.MapInfo) -> int:
    """Both have the same indices, as far as they go."""
    known = _said(source, old)
    there = _said(target, new) if known else {}
    missing = {key: value for key, value in known.items() if key not in there}
    fitting = {key: value for key, value in missing.items() if int.from_bytes(key, byteorder) < new.max_entries}
    mapio.update(target, b"".join(fitting), b"".join(fitting.values()), len(fitting))
    return len(fitting)


def _said(fd: int, info: libbpf.MapInfo) -> dict[bytes, bytes]:
    """The entries that are not zero."""
    return {
        key: value
        for keys, values in mapio.read(fd, info.key_size, info.value_size, info.max_entries)
        if any(values)
        for key, value in zip(cut(keys, info.key_size), cut(values, info.value_size), strict=True)
        if any(value)
    }


def are_alike(source: int, target: int) -> bool:
    """Whether what is in one map means the same in the other."""
    return _layouts(libbpf.map_info(source)) == _layouts(libbpf.map_info(target))


def _check(old: libbpf.MapInfo, new: libbpf.MapInfo) -> None:
    if _layouts(old) != _layouts(new):
        raise LayoutMismatch(old.name, "its key or value has another layout")


def _layouts(info: libbpf.MapInfo) -> tuple[object, ...]:
    """A map's kind and how its keys and values lie in memory, comparable between builds."""
    if not info.btf_id:
        return info.kind, info.key_size, info.value_size
    types = btf.parse(libbpf.btf_blob(info.btf_id))
    return info.kind, layout(types, info.btf_key), layout(types, info.btf_value)
