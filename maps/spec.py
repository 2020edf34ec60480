"""What is known of a map before it is opened: the static half of a table."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from maps.record import Codec

K = TypeVar("K")
V = TypeVar("V")


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


@dataclass(frozen=True, slots=True)
class MapSpec(Generic[K, V]):
    """A map as the C source declares it."""

    name: str
    kind: MapKind
    key: Codec[K]
    value: Codec[V]
    max_entries: int  # the source's; the loader may have chosen another
    flags: int = 0  # BPF_F_*

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
