"""What is known of a map before it is opened: its layout, and what C declares beside it.

``bpf/dp/config.h`` has the macros of the declarations, :mod:`maps.declared` reads them, and :data:`maps.abi.MAPS` is
the registry: every map by its name. No other list of maps exists.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Generic, TypeVar

from maps.record import Codec

K = TypeVar("K")
V = TypeVar("V")

# the fields of the agent's Options that may size a map; a test compares them with the Options
OPTIONS = frozenset(
    {
        "max_services",
        "max_backends",
        "max_flows",
        "max_endpoints",
        "max_prefixes",
        "max_affinities",
        "max_peers",
        "max_rules",
    }
)


class MapKind(IntEnum):
    """The kernel's map types (``enum bpf_map_type``) that a table can be."""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11

    @property
    def is_array(self) -> bool:
        """Whether every index always has a value, and none can be deleted."""
        return self in (MapKind.ARRAY, MapKind.PERCPU_ARRAY)

    @property
    def is_per_cpu(self) -> bool:
        """Whether each CPU has a value of its own."""
        return self in (MapKind.PERCPU_HASH, MapKind.PERCPU_ARRAY, MapKind.LRU_PERCPU_HASH)

    @property
    def is_lru(self) -> bool:
        """Whether a full map makes room by forgetting."""
        return self in (MapKind.LRU_HASH, MapKind.LRU_PERCPU_HASH)


class Writer(Enum):
    """Who writes a map's entries."""

    AGENT = auto()  # Python keeps them equal to what is desired
    PROGRAMS = auto()


class Carried(Enum):
    """When a map's entries are copied into the next generation's map."""

    NEVER = auto()
    SEED = auto()  # before the first sync, which corrects them: what the agent wrote
    TRAFFIC = auto()  # when links move, before and after: what the programs wrote of connections


class Revises(Enum):
    """Which change of a map makes flows look again at their ends, service and backend."""

    NEVER = auto()
    SET = auto()  # a key that goes: the flows to the backend set whose id the key begins with
    KEYS = auto()  # keys that come or go, or lead to another set, whose id the value begins with: every flow
    CHANGE = auto()  # of any kind: every flow


@dataclass(frozen=True, slots=True)
class MapSpec(Generic[K, V]):
    """A map as the C source declares it."""

    name: str
    kind: MapKind
    key: Codec[K]
    value: Codec[V]
    max_entries: int  # the source's; the loader may have chosen another
    flags: int = 0  # BPF_F_*
    writer: Writer = Writer.PROGRAMS
    order: int = (
        0  # among the agent's maps: what is referred to is written before what refers to it; 0: not the agent's
    )
    option: str = ""  # field of the agent's Options that gives its entries; empty: none
    per_cpu: int = 0  # entries that one CPU is good for; the map grows with the node's CPUs
    buckets: str = ""  # of a hash of our own (maps/flow_table.py) the map of its buckets; empty: it is the kernel's
    carried: Carried = Carried.NEVER
    revises: Revises = Revises.NEVER
    live: bytes = b""  # mask of a value: 0xff where the agent's value and the map's may differ; empty: nowhere
    private: bool = False  # only programs use it: keys and values are octets

    @property
    def flag(self) -> str:
        """The command line's word for the option that sizes it: ``--max-services``; empty: none."""
        return f"--{self.option.replace('_', '-')}" if self.option else ""

    @property
    def is_sized(self) -> bool:
        """Whether the node and its options decide how many entries it has, and not the source alone."""
        return bool(self.option or self.per_cpu)

    @property
    def counted(self) -> bool:
        """Whether a scrape may count its entries: what programs fill is too large, and an array is always full."""
        return self.writer is Writer.AGENT and not self.kind.is_array

    def at_rest(self, value: bytes) -> bytes:
        """A value with zeros where the agent's and the map's may differ: what two of them are compared by."""
        if not self.live:
            return value
        return bytes(0 if mask else octet for octet, mask in zip(value, self.live, strict=True))

    def check_deletion(self, keys: bytes, n: int) -> None:
        """Refuse to delete what are not *n* keys, or from an array.

        Raises:
            TypeError: an array keeps its entries.
            ValueError: the bytes are of another number of keys.
        """
        if self.kind.is_array:
            raise TypeError(f"{self.name} is an array, it keeps its entries")
        if len(keys) != n * self.key.SIZE:
            raise ValueError(f"{self.name}: {len(keys)} bytes are not {n} keys")
