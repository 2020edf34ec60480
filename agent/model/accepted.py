"""Whether a resource is accepted: what its status says of it, and what reading it found.

Agents write such statuses, and each of them hears of what all write: what is made of a resource does not depend on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

CONDITION = "Accepted"  # its type


@dataclass(frozen=True, slots=True)
class Accepted:
    """The condition, as it stands in an object's status."""

    is_so: bool
    reason: str
    message: str
    generation: int  # of the object, that it speaks of
    since: str = ""  # when it was last the other way, RFC 3339 in UTC


@dataclass(frozen=True, slots=True)
class Standing:
    """What of an object is said to be so, and what is."""

    generation: int = 0  # of the object, which grows with each change of its spec
    wrong: tuple[str, ...] = ()  # what cannot be read of it, each with its field
    accepted: Accepted | None = None  # what its status says; None: nothing
    peers: tuple[str, ...] = ()  # of a BGPFilter: who names it, by its status
    nodes: frozenset[str] = frozenset()  # of a BGPPeer: nodes whose entries its status has


UNKNOWN = Standing()


def is_alike(one: Any, other: Any) -> bool:
    """Whether two values of one kind of object mean the same, whatever their statuses say."""
    if one is other or one == other:
        return True
    standing = getattr(one, "standing", None)
    return standing is not None and other is not None and one == replace(other, standing=standing)


def are_alike(some: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether two tables hold the same objects, each alike."""
    return some is others or (
        some.keys() == others.keys() and all(is_alike(one, others[name]) for name, one in some.items())
    )
