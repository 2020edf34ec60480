"""How many entries each map gets: an option's number, or what CPUs and memory allow; load resizes maps by it.

A map that is allocated as it fills still counts in full: its limit is what the node must be able to bear.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.options.config import Options

SHARE = 16  # all maps together, when full, take at most one part in so many of the memory
NEARLY = 8  # the flows are nearly full when less than one entry in so many is free
RECENT_SPAN = 32768  # copies of flows that a CPU keeps, half of the flows that it is good for
LEAST = 1024  # entries: below this the node saves nothing worth having


@dataclass(frozen=True, slots=True)
class Sized:
    """A map whose size follows an option."""

    option: str  # field of Options; empty: none
    entries: int  # where neither CPUs nor memory bind
    entry_bytes: int  # key, value, the kernel's element and its bucket; rounded up
    per_cpu: int = 0  # entries that a CPU is good for, where that is more
    most: int = 1 << 20  # however many CPUs there are

    def wanted(self, cpus: int) -> int:
        """Entries on a node with so many CPUs, where memory does not bind."""
        return max(self.entries, min(self.per_cpu * cpus, self.most))


# Bytes as the kernel counts them (bpf_map_info memlock, Linux 6.18); tests/agent/kernel/programs/test_sizes.py
# measures again.
SIZES: Mapping[str, Sized] = {
    "services": Sized("max_services", 65536, 120),
    "backend_sets": Sized("max_services", 65536, 288),
    "maglevs": Sized("max_services", 65536, 2136),
    "backends": Sized("max_backends", 262144, 112),
    "affinities": Sized("max_affinities", 65536, 144),
    "sock_peers": Sized("max_flows", 65536, 144),
    "flows": Sized("max_flows", 131072, 208, per_cpu=65536),  # by CPUs: buckets beyond the caches cost every packet
    "recents": Sized("", RECENT_SPAN, 128, per_cpu=RECENT_SPAN),
    "next_hops": Sized("", RECENT_SPAN, 32, per_cpu=RECENT_SPAN),
    "recent_sets": Sized("", RECENT_SPAN // 2, 16, per_cpu=RECENT_SPAN // 2),
    "endpoints": Sized("max_endpoints", 8192, 112),
    "pod_netns": Sized("max_endpoints", 8192, 120),
    "limits": Sized("max_endpoints", 8192, 144),
    "prefixes": Sized("max_prefixes", 32768, 72),  # the nodes of a large cluster, each with two ranges and addresses
    "remotes": Sized("max_prefixes", 8192, 104),
}


def sizes(options: Options, memory: int, cpus: int) -> dict[str, int]:
    """Entries by map name, for a node with *memory* bytes and so many CPUs.

    What an option fixes is taken as it is; the others keep their proportions and share what is left of the
    maps' part of the memory, each a multiple of 1024.
    """
    fixed = {name: getattr(options, s.option) if s.option else 0 for name, s in SIZES.items()}
    taken = sum(n * SIZES[name].entry_bytes for name, n in fixed.items())
    wanted = {name: s.wanted(cpus) for name, s in SIZES.items() if not fixed[name]}
    room = max(memory // SHARE - taken, 0)
    octets = sum(n * SIZES[name].entry_bytes for name, n in wanted.items())
    scale = min(1.0, room / octets) if octets else 1.0
    return {name: fixed[name] or max(int(wanted[name] * scale) // LEAST * LEAST, LEAST) for name in SIZES}


def constants(entries: Mapping[str, int], cpus: int) -> dict[str, int]:
    """What programs must know of the maps' sizes: their load-time constants by name."""
    span = max(min(entries["recents"], 2 * entries["recent_sets"]) // cpus, 1)
    return {
        "flows_nearly_full": entries["flows"] - entries["flows"] // NEARLY,
        "recent_span": min(1 << span.bit_length() - 1, 1 << 16),
    }


def memory_bytes(meminfo: str) -> int:
    """The node's memory, from the text of /proc/meminfo (kB there)."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/meminfo has no MemTotal")
