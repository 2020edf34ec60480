"""Desired minus actual, as a value; nothing is written here.

Records are grouped by owner (a service, a pod). An owner whose records are the identical object on both sides is
skipped without a look, so a plan after one change costs one owner, and a walk over the others.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from maps.errors import MapFull

K = TypeVar("K")
V = TypeVar("V")
Owner = TypeVar("Owner", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Changes(Generic[K, V]):
    """What turns the actual entries of one table into the desired ones."""

    update: Mapping[K, V] = field(default_factory=dict)
    delete: tuple[K, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.update) or bool(self.delete)


def plan(desired: Mapping[Owner, Mapping[K, V]], actual: Mapping[Owner, Mapping[K, V]]) -> Changes[K, V]:
    """The changes between two groupings of a table's records.

    A key has one owner on each side; it may move from one to another, which is an update.
    """
    update: dict[K, V] = {}
    gone: dict[K, None] = {}
    kept: set[K] = set()
    for owner, records in desired.items():
        before = actual.get(owner)
        if before is records:
            continue
        if before is None:
            update.update(records)
            continue
        for key, value in records.items():
            old = before.get(key)
            if old is not value and old != value:
                update[key] = value
            else:
                kept.add(key)
        gone.update((key, None) for key in before if key not in records)
    for owner, records in actual.items():
        if owner not in desired:
            gone.update((key, None) for key in records)
    return Changes(update, tuple(key for key in gone if key not in update and key not in kept))


def difference(desired: Mapping[K, V], actual: Mapping[K, V]) -> Changes[K, V]:
    """The changes between two whole tables; for small ones, and against what was read back."""
    return plan({None: desired}, {None: actual})


def entries(desired: Mapping[Owner, Mapping[K, V]]) -> int:
    """How many entries a grouping has."""
    return sum(map(len, desired.values()))


def refuse_overflow(name: str, capacity: int, wanted: int, flag: str = "") -> None:
    """Refuse, before the first write, what a table cannot hold; *flag* is the option that makes it larger.

    Raises:
        MapFull: more is wanted than it has room for.
    """
    if wanted > capacity:
        raise MapFull(name, capacity, wanted, flag)
