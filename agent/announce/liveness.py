"""Which nodes announce: those whose leases are seen to be renewed. Pure bookkeeping, by one clock of this node's.

A node answers for its addresses for HOLD_S after it began to renew its lease. Others take over when a list that they
began TAKE_S after they saw the last renewal still shows that one: then the holder's time has passed, whatever the
network or the API server delayed. Clocks are not compared; they must run alike to a quarter.

A node that comes, or comes back, begins JOIN_S after its first renewal was answered, and nobody answers for longer than
JOIN_S after it began to look at the others: so whoever still answers by then has seen it, and given way.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.kube.leases import Lease

PERIOD_S = 0.5  # between two renewals, and two looks at the others'
HOLD_S = 1.5  # after a renewal nobody else can have taken over
TAKE_S = 2.0  # unchanged for so long, a lease has ended
JOIN_S = 1.5  # a node that comes, or comes back, waits so long; who has not looked for so long stops
GAP_S = 1.2  # not having looked for so long, renewals may have been missed


@dataclass(slots=True)
class _Seen:
    """A node's lease as it was last seen to change."""

    lease: tuple[str, str, int]
    at_s: float
    is_live: bool = True


class Liveness:
    """The leases of all nodes that announce."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._looked_s: float | None = None  # when the last list had come

    def look(self, leases: Iterable[Lease], began_s: float, ended_s: float) -> frozenset[str]:
        """The nodes that are live by a list that was begun and had come then."""
        found = {lease.holder: (lease.holder, lease.renewed, lease.transitions) for lease in leases if lease.holder}
        is_gap = self._looked_s is not None and began_s - self._looked_s > GAP_S
        for node, lease in found.items():
            seen = self._seen.get(node)
            if seen is None or seen.lease != lease:
                self._seen[node] = _Seen(lease, ended_s)
            elif is_gap and seen.is_live:
                seen.at_s = ended_s  # nobody is judged by a time in which nobody looked
            elif began_s >= seen.at_s + TAKE_S:
                seen.is_live = False
        for node in self._seen.keys() - found.keys():
            del self._seen[node]
        self._looked_s = ended_s
        return frozenset(node for node, seen in self._seen.items() if seen.is_live)

    def due_s(self, own: str) -> float:
        """When the first lease of another's could be seen to have ended."""
        others = (seen.at_s + TAKE_S for node, seen in self._seen.items() if seen.is_live and node != own)
        return min(others, default=float("inf"))


class Holding:
    """For how long this node itself may answer, by its renewals."""

    def __init__(self) -> None:
        self._joined_s: float | None = None  # since when it is held without a break
        self._until_s = float("-inf")  # of the clock, by the last renewal
        self._looked_s = float("-inf")  # when the last look at the others was begun

    def renewed(self, began_s: float, ended_s: float) -> None:
        """The lease was renewed, by a request begun then, and answered."""
        if self._joined_s is None or began_s >= self._until_s:
            self._joined_s = ended_s
        self._until_s = began_s + HOLD_S

    def looked(self, began_s: float) -> None:
        """The others' leases were listed, by a request begun then."""
        self._looked_s = began_s

    def fresh_until_s(self, now_s: float) -> float | None:
        """Until when nobody else answers; None: others may not have seen this node, or it not them."""
        until_s = min(self._until_s, self._looked_s + JOIN_S)
        if self._joined_s is None or now_s < self._joined_s + JOIN_S or now_s >= until_s:
            return None
        return until_s
