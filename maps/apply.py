"""Plans become writes: in the order given, in slices, so that more urgent work can go between.

The caller states the order of tables once: what is referred to is updated before what refers to it, and deleted after.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from maps.errors import MapFull
from maps.plan import Changes
from maps.table import TableLike

K = TypeVar("K")
V = TypeVar("V")

SLICE = 4096  # entries in one call: about 4 ms of packing and writing on a slow core


@dataclass(frozen=True, slots=True)
class Update(Generic[K, V]):
    """Write a table's new and changed entries."""

    table: TableLike[K, V]
    changes: Changes[K, V]

    def slices(self, size: int) -> Iterator[int]:
        """Write; yield the entries of each call.

        A table too full for old and new entries side by side gives up the old ones first: they would have gone
        anyway, only later than what refers to them.
        """
        pairs = iter(self.changes.update.items())
        leaving = self.changes.delete
        while part := list(islice(pairs, size)):
            try:
                self.table.update(part)
            except MapFull:
                if not leaving:
                    raise
                yield from Delete(self.table, self.changes).slices(size)
                leaving = ()
                self.table.update(part)
            yield len(part)


@dataclass(frozen=True, slots=True)
class Delete(Generic[K, V]):
    """Delete a table's entries that are gone."""

    table: TableLike[K, V]
    changes: Changes[K, V]

    def slices(self, size: int) -> Iterator[int]:
        """Delete; yield the entries of each call."""
        keys = iter(self.changes.delete)
        while part := list(islice(keys, size)):
            self.table.delete(part)
            yield len(part)


Write = Update[Any, Any] | Delete[Any, Any]


def apply(writes: Iterable[Write], size: int = SLICE) -> Iterator[int]:
    """Do the writes one slice at a time, and yield after each how many entries it had.

    Stopping half way is safe in the sense of the order: nothing written refers to something that is not there. What
    was not written is in the next plan again.

    Raises:
        MapsError: the kernel refused a write; those before it are done.
    """
    for write in writes:
        yield from write.slices(size)


def apply_all(writes: Iterable[Write]) -> int:
    """Do the writes without a pause; returns the number of entries written and deleted."""
    return sum(apply(writes))
