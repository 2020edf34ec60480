"""Desired minus actual for one table, as a value; nothing is written here.

Records are packed bytes, as the kernel has them: they compare at once. Who knows which owners changed passes the
records of those alone, on both sides.
"""

from dataclasses import dataclass, field

from maps.record import Packed

NUMBER = 4  # octets


@dataclass(frozen=True, slots=True)
class Changes:
    """What turns the actual entries of one table into the desired ones."""

    write: Packed = field(default_factory=dict)
    remove: tuple[bytes, ...] = ()
    new: int = 0  # of those to write: under keys that are not there yet
    moved: int = 0  # under keys that are there and lead elsewhere, see is_moved()

    def __len__(self) -> int:
        """Entries to write and to remove."""
        return len(self.write) + len(self.remove)

    @property
    def growth(self) -> int:
        """How many entries more there are afterwards."""
        return self.new - len(self.remove)


def difference(desired: Packed, actual: Packed) -> Changes:
    """The changes between two contents of a table."""
    write = {key: value for key, value in desired.items() if actual.get(key) != value}
    kept = write.keys() & actual.keys()
    moved = sum(is_moved(actual[key], write[key]) for key in kept)
    return Changes(write, tuple(actual.keys() - desired.keys()), len(write) - len(kept), moved)


def is_moved(old: bytes, new: bytes) -> bool:
    """Whether a key leads elsewhere with its new value: where values begin with the number of what they lead to."""
    return old[:NUMBER] != new[:NUMBER]
