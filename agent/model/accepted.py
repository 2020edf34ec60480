"""Whether a resource is accepted: what its status says of it, and what reading it found."""

from dataclasses import dataclass

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


UNKNOWN = Standing()
