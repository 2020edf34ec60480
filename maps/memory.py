"""A table without a kernel, for tests and for `plan` on a laptop; held to the same contract as the kernel's."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from maps.errors import MapFull
from maps.record import cut
from maps.spec import MapSpec

K = TypeVar("K")
V = TypeVar("V")


class MemoryTable(Generic[K, V]):
    """Entries as the bytes that the kernel would hold, so that what does not pack fails here too."""

    def __init__(self, spec: MapSpec[K, V], max_entries: int = 0) -> None:
        self._spec = spec
        self._max_entries = max_entries or spec.max_entries
        self._held: dict[bytes, bytes] = {}
        if spec.kind.is_array:
            indices = (i.to_bytes(4, "little") for i in range(self._max_entries))
            self._held = dict.fromkeys(indices, bytes(spec.value.SIZE))

    @property
    def spec(self) -> MapSpec[K, V]:
        """What the source says of the map."""
        return self._spec

    @property
    def max_entries(self) -> int:
        """How many entries this one was made for."""
        return self._max_entries

    def get(self, key: K) -> V | None:
        """The value under a key."""
        packed = self._spec.key.pack(key)
        self._check_index(packed)
        found = self._held.get(packed)
        return None if found is None else self._spec.value.unpack(found)

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries, as they are when the first is taken."""
        for key, value in list(self._held.items()):
            yield self._spec.key.unpack(key), self._spec.value.unpack(value)

    def packed_items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries as (keys, values), packed end to end."""
        if self._held:
            yield b"".join(self._held), b"".join(self._held.values())

    def count(self) -> int:
        """How many entries there are."""
        return len(self._held)

    def update(self, entries: Iterable[tuple[K, V]]) -> None:
        """Write entries, up to the first that finds no room."""
        pack, pack_value = self._spec.key.pack, self._spec.value.pack
        packed = [(pack(key), pack_value(value)) for key, value in entries]
        for key, _ in packed:
            self._check_index(key)
        self._write(packed)

    def update_packed(self, keys: bytes, values: bytes, n: int) -> None:
        """Write *n* entries from packed keys and values."""
        size, value_size = self._spec.key.SIZE, self._spec.value.SIZE
        if len(keys) != n * size or len(values) != n * value_size:
            raise ValueError(f"{self._spec.name}: {len(keys)} and {len(values)} bytes are not {n} entries")
        self._write(list(zip(cut(keys, size), cut(values, value_size), strict=True)))

    def delete(self, keys: Iterable[K]) -> None:
        """Delete entries; those that are not there are no error."""
        wanted = list(keys)
        self.delete_packed(self._spec.key.pack_many(wanted), len(wanted))

    def delete_packed(self, keys: bytes, n: int) -> None:
        """Delete *n* entries by their packed keys."""
        self._spec.check_deletion(keys, n)
        for key in cut(keys, self._spec.key.SIZE):
            self._held.pop(key, None)

    def close(self) -> None:
        """Nothing is held."""

    def _write(self, packed: list[tuple[bytes, bytes]]) -> None:
        """Put packed entries in."""
        for done, (key, value) in enumerate(packed):
            if key not in self._held and len(self._held) >= self._max_entries:
                if not self._spec.kind.is_lru:
                    wanted = self._max_entries + len(packed) - done
                    raise MapFull(self._spec.name, self._max_entries, wanted)
                del self._held[next(iter(self._held))]
            self._held[key] = value

    def _check_index(self, key: bytes) -> None:
        """An array has its indices and no others."""
        if self._spec.kind.is_array and key not in self._held:
            index = int.from_bytes(key, "little")
            raise IndexError(f"{self._spec.name} has no entry {index}: it has {self._max_entries}")
