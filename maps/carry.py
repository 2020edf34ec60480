"""Entries carried from one generation's map into the next one's, which outlive a change of sizes; not flows."""

from sys import byteorder

from maps import btf, libbpf, mapio
from maps.errors import LayoutMismatch
from maps.layout import layout
from maps.record import cut
from maps.spec import MapKind


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
    check_alike(source, target)
    if MapKind(old.kind).is_array:
        return _carry_array(source, target, old, new)
    return sum(
        mapio.add(target, keys, values, len(keys) // old.key_size)
        for keys, values in mapio.read(source, old.key_size, old.value_size, old.max_entries)
    )


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


def check_alike(source: int, target: int) -> None:
    """Raise LayoutMismatch where what is in one map does not mean the same in the other."""
    if not are_alike(source, target):
        raise LayoutMismatch(libbpf.map_info(source).name, "its key or value has another layout")


def _layouts(info: libbpf.MapInfo) -> tuple[object, ...]:
    """A map's kind and how its keys and values lie in memory, comparable between builds."""
    if not info.btf_id:
        return info.kind, info.key_size, info.value_size
    types = btf.parse(libbpf.btf_blob(info.btf_id))
    return info.kind, layout(types, info.btf_key), layout(types, info.btf_value)
