"""``status.conditions`` of our own resources, as far as it is ours: the condition Accepted."""

from collections.abc import Sequence

from msgspec import Raw, Struct

from agent.model.accepted import CONDITION, Accepted, Standing
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader


class Condition(Struct, rename="camel", frozen=True):
    """One of them."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


class Status(Struct, frozen=True):
    """``status``, of a BGPFilter with who names it, of a BGPPeer with the sessions of nodes."""

    conditions: list[Condition] | None = None
    peers: list[str] | None = None
    nodes: dict[str, Raw] | None = None


def standing(read: Reader, metadata: Metadata, status: Status) -> Standing:
    """What the status says, and what reading the object has found by now."""
    wrong = tuple(f"{one.field}: {one.text}" for one in read.problems)
    accepted = _accepted(status.conditions or ())
    return Standing(metadata.generation, wrong, accepted, tuple(status.peers or ()), frozenset(status.nodes or ()))


def _accepted(given: Sequence[Condition]) -> Accepted | None:
    for one in given:
        if one.type == CONDITION:
            since = one.last_transition_time
            return Accepted(one.status == "True", one.reason, one.message, one.observed_generation, since)
    return None
