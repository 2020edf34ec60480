"""How many entries each map gets: an option's number, or what CPUs and memory allow; load resizes maps by it.

A map that is allocated as it fills still counts in full: its limit is what the node must be able to bear.
"""

from collections.abc import Mapping
from typing import Any, assert_never

from agent.options.config import Options
from maps import abi, flow_arrays
from maps.spec import MapKind, MapSpec

SHARE = 16  # all maps together, when full, take at most one part in so many of the memory
FLOWS_SHARE = 4  # of that, the flows one part in so many before any other map that the node sizes
LEAST = 1024  # entries: below this the node saves nothing worth having
MOST = 1 << 20  # entries, however many CPUs there are
ELEMENT = 48  # octets before the key of a hash's element (struct htab_elem)
BUCKET = 16  # octets (struct bucket); there are as many as entries, rounded up to a power of two: at most two for each
FREE_LIST = 8  # octets by which an element that is allocated when it is needed is larger (struct llist_node)
TRIE_NODE = 40  # octets before the address of a trie's node (struct lpm_trie_node)
POINTER = 8  # octets of a per-CPU value's place
BPF_F_NO_PREALLOC = 1
PREFIX_LENGTH = 4  # octets of a trie's key that are its own (struct bpf_lpm_trie_key)
_BUCKETS = frozenset(spec.buckets for spec in abi.MAPS.values() if spec.buckets)  # as many as the entries want


def sizes(options: Options, memory: int, cpus: int) -> dict[str, int]:
    """Entries by map name, of every map, for a node with *memory* bytes and so many CPUs.

    What an option or the source fixes is taken as it is. Then come the flows, of which a busy node loses new ones when
    the table is small; the others keep their proportions and share what is left of the maps' part of the memory, each a
    multiple of 1024.
    """
    specs = {name: spec for name, spec in abi.MAPS.items() if name not in _BUCKETS}
    octets = {name: entry_octets(spec, cpus) for name, spec in specs.items()}
    fixed = {name: _fixed(spec, options) for name, spec in specs.items()}
    if not fixed["flows"]:
        allowed = memory // SHARE // FLOWS_SHARE // octets["flows"]
        fixed["flows"] = max(min(_wanted(abi.FLOWS, cpus), allowed // LEAST * LEAST), LEAST)
    wanted = {name: _wanted(specs[name], cpus) for name, entries in fixed.items() if not entries}
    room = max(memory // SHARE - sum(octets[name] * entries for name, entries in fixed.items()), 0)
    scale = _scale(wanted, octets, room)
    sized = {name: fixed[name] or max(int(wanted[name] * scale) // LEAST * LEAST, LEAST) for name in fixed}
    return sized | {name: number for name, number in flow_arrays.elements(sized).items() if name in _BUCKETS}


def _scale(wanted: Mapping[str, int], octets: Mapping[str, int], room: int) -> float:
    """What part of *wanted* fits into *room* octets, when those that would be too small have LEAST entries."""
    shared = dict(wanted)
    while shared:
        scale = min(1.0, max(room, 0) / sum(octets[name] * entries for name, entries in shared.items()))
        small = [name for name, entries in shared.items() if entries * scale < LEAST]
        if not small:
            return scale
        for name in small:
            room -= octets[name] * LEAST
            del shared[name]
    return 0.0


def entry_octets(spec: MapSpec[Any, Any], cpus: int) -> int:
    """What the kernel charges for an entry of a map (bpf_map_info's memlock), at most.

    Source: htab_map_mem_usage(), array_map_mem_usage() and trie_mem_usage() of the kernel's kernel/bpf.
    """
    if spec.buckets:
        ways = abi.FLOW_WAYS * abi.FlowEntry.SIZE + abi.MAPS[spec.buckets].value.SIZE
        return -(-ways // abi.FLOW_ROOM)
    key, value = _rounded(spec.key.SIZE), _rounded(spec.value.SIZE)
    held = POINTER + value * cpus if spec.kind.is_per_cpu else value
    match spec.kind:
        case MapKind.ARRAY | MapKind.PERCPU_ARRAY:
            return held
        case MapKind.LPM_TRIE:
            return TRIE_NODE + spec.key.SIZE - PREFIX_LENGTH + spec.value.SIZE
        case MapKind.HASH | MapKind.LRU_HASH | MapKind.PERCPU_HASH | MapKind.LRU_PERCPU_HASH:
            late = FREE_LIST if spec.flags & BPF_F_NO_PREALLOC else 0
            return ELEMENT + key + held + late + 2 * BUCKET
        case _:
            assert_never(spec.kind)


def _fixed(spec: MapSpec[Any, Any], options: Options) -> int:
    """The entries that an option or the source fixes; 0: the node decides."""
    given = int(getattr(options, spec.option)) if spec.option else 0
    return given if spec.is_sized else spec.max_entries


def _wanted(spec: MapSpec[Any, Any], cpus: int) -> int:
    """Entries on a node with so many CPUs, where memory does not bind."""
    return max(spec.max_entries, min(spec.per_cpu * cpus, MOST))


def _rounded(size: int) -> int:
    """A size as the kernel lays values out: in steps of eight octets."""
    return (size + 7) // 8 * 8


def constants(entries: Mapping[str, int], cpus: int) -> dict[str, int]:
    """What programs must know of the maps' sizes: their load-time constants by name."""
    lines = min(entries["shortcuts"], 4 * entries["shortcut_tags"])
    span = max(min(entries["flow_caches"], 2 * entries["cache_sets"], lines) // cpus, 1)
    return flow_arrays.constants(entries["flows"]) | {"cache_span": min(1 << span.bit_length() - 1, 1 << 16)}


def memory_bytes(meminfo: str) -> int:
    """The node's memory, from the text of /proc/meminfo (kB there)."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/meminfo has no MemTotal")
