"""Entries carried from one generation's map into the next one's: flows and affinities outlive a change of sizes."""

from maps import btf, libbpf, mapio
from maps.errors import LayoutMismatch
from maps.layout import layout
from maps.subtables import by_subtable, subtables, whole_info


def carry(source: int, target: int, seed: bytes = b"") -> int:
    """Copy the entries that *target* lacks; what it has is newer and stays. Returns how many were added.

    Called twice while links move: once to fill the new map, once for what came into the old one meanwhile. What does
    not fit any more is an error only to a hash; an LRU makes room. *seed* is that of a
    target in sub-tables; source and target may have other numbers of them.

    Raises:
        LayoutMismatch: the maps' types differ, by the BTF beside them.
        KernelRefused: the new map is full.
    """
    old, new = whole_info(source), whole_info(target)
    if _layouts(old) != _layouts(new):
        raise LayoutMismatch(old.name, "its key or value has another layout")
    added = 0
    with subtables(source) as sources, subtables(target) as targets:
        for part in sources:
            for keys, values in mapio.read(part, old.key_size, old.value_size, old.max_entries):
                parts = by_subtable(keys, values, len(keys) // old.key_size, seed, len(targets))
                added += sum(mapio.add(targets[index], *entries) for index, entries in parts.items())
    return added


def _layouts(info: libbpf.MapInfo) -> tuple[object, ...]:
    """A map's kind and how its keys and values lie in memory, comparable between builds."""
    if not info.btf_id:
        return info.kind, info.key_size, info.value_size
    types = btf.parse(libbpf.btf_blob(info.btf_id))
    return info.kind, layout(types, info.btf_key), layout(types, info.btf_value)
