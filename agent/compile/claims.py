"""Several owners may ask for one key of a map: the first of them has it, and the others are told who.

Services ask for addresses and ports, Nodes for ranges of pod addresses.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

N = TypeVar("N")  # an owner's name
Claimants = Mapping[bytes, tuple[N, ...]]  # by key, in their order of rank; the first has it
Keys = Collection[bytes]


@dataclass(frozen=True, slots=True)
class Claims(Generic[N]):
    """Who asks for which key, and which other owners the latest changes may concern."""

    claimants: Claimants[N]
    contended: tuple[N, ...] = ()

    def lost(self, name: N, asked: Keys) -> dict[bytes, N]:
        """The keys that *name* asks for and another has, with who that is."""
        return {key: self.claimants[key][0] for key in asked if self.claimants[key][0] != name}


def claims(before: Claimants[N], changes: Mapping[N, tuple[Keys, Keys]], rank: Callable[[bytes, N], Any]) -> Claims[N]:
    """The claims after *changes*, which have for an owner's name the keys it asked for and asks for.

    *rank* is an owner's among those who ask for a key.
    """
    asking: dict[bytes, dict[N, bool]] = {}  # by key, the owners that change, and whether they ask for it now
    for name, (old, new) in changes.items():
        for key in (*old, *new):
            asking.setdefault(key, {})[name] = False
        for key in new:
            asking[key][name] = True
    claimants = dict(before)
    contended: dict[N, None] = {}
    for key, names in asking.items():
        found = claimants.get(key, ())
        others = tuple(other for other in found if other not in names)
        ranked = (*others, *(name for name, asks in names.items() if asks))
        if len(ranked) > 1:
            ranked = tuple(sorted(ranked, key=partial(rank, key)))
        if ranked != found:
            contended.update(dict.fromkeys(others))
        if ranked:
            claimants[key] = ranked
        else:
            claimants.pop(key, None)
    return Claims(claimants, tuple(contended))
