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
    claimants = dict(before)
    contended: dict[N, None] = {}
    for name, (old, new) in changes.items():
        held, wanted = set(old), set(new)
        for key in held - wanted:
            others = tuple(other for other in claimants[key] if other != name)
            contended.update(dict.fromkeys(others))
            if others:
                claimants[key] = others
            else:
                del claimants[key]
        for key in wanted:  # also what it had, which it may now ask for otherwise
            others = tuple(other for other in claimants.get(key, ()) if other != name)
            ranked = tuple(sorted((*others, name), key=partial(rank, key))) if others else (name,)
            if claimants.get(key) != ranked:
                contended.update(dict.fromkeys(others))
                claimants[key] = ranked
    return Claims(claimants, tuple(name for name in contended if name not in changes))
