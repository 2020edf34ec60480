"""What the rules of several policies say together of one group of peers: a verdict by protocol and destination port.

Tiers, priorities, Deny, Pass and named ports are gone afterwards: what is left are ranges of ports that do not overlap,
and what is so of everything else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter

from agent.model.policy import FIRST_PORT, LAST_PORT, PortRange, Tier, Verdict
from agent.model.service import Protocol

PROTOCOLS = (Protocol.TCP, Protocol.UDP, Protocol.SCTP)


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that means the peers, with its named ports resolved: *ports* None is every protocol and port."""

    tier: Tier
    verdict: Verdict
    ports: tuple[PortRange, ...] | None
    policy: int  # whose it is, by its number

    def has(self, protocol: Protocol, port: int) -> bool:
        """Whether it means a destination port."""
        if self.ports is None:
            return True
        return any(one.protocol is protocol and one.low <= port <= one.high for one in self.ports)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Accepted or denied, and by whose rules; policy 0: nobody's."""

    accepts: bool
    policy: int = 0


@dataclass(frozen=True, slots=True)
class PortOutcome:
    """The outcome for some ports of a protocol, both inclusive."""

    protocol: Protocol
    low: int
    high: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Table:
    """Every protocol and port: what *ports* names, which do not overlap and are sorted, and *otherwise*."""

    otherwise: Outcome
    ports: tuple[PortOutcome, ...] = ()


def table(matches: Sequence[Match], isolated_by: int | None) -> Table:
    """What rules say together, in the order in which they are asked.

    *isolated_by* is the number of a NetworkPolicy that selects the pod, whose rules are in Tier.NAMESPACE: what none of
    these accepts is denied by it. None: none selects it, and the baseline is asked.
    """
    otherwise = _outcome(_first_of_tiers(match for match in matches if match.ports is None), isolated_by)
    found: list[PortOutcome] = []
    for protocol in PROTOCOLS:
        edges = sorted(_edges(matches, protocol))
        for (low, above), said in zip(pairwise(edges), _asked(matches, protocol, edges), strict=True):
            outcome = _outcome(said, isolated_by)
            if outcome == otherwise:
                continue
            last = found[-1] if found else None
            if last and (last.protocol, last.high + 1, last.outcome) == (protocol, low, outcome):
                found[-1] = PortOutcome(protocol, last.low, above - 1, outcome)
            else:
                found.append(PortOutcome(protocol, low, above - 1, outcome))
    return Table(otherwise, tuple(found))


def _edges(matches: Iterable[Match], protocol: Protocol) -> set[int]:
    """Where the verdict may change: each is the first port of a stretch."""
    found = {FIRST_PORT, LAST_PORT + 1}
    for match in matches:
        for ports in match.ports or ():
            if ports.protocol is protocol:
                found |= {ports.low, ports.high + 1}
    return found


def _asked(matches: Iterable[Match], protocol: Protocol, edges: Sequence[int]) -> list[list[Match]]:
    """For each stretch between two edges the first rule of each tier that means it.

    Each stretch is taken once by each tier, however many rules and ports there are.
    """
    at, last = {edge: index for index, edge in enumerate(edges)}, len(edges) - 1
    found: list[list[Match]] = [[] for _ in range(last)]
    for _, those in groupby(matches, key=attrgetter("tier")):
        free = [*range(len(edges))]  # from each stretch on, where the next may be that no rule of the tier has taken
        for match in those:
            for low, above in _stretches(match, protocol, at, last):
                index = _next(free, low)
                while index < above:
                    found[index].append(match)
                    free[index] = index + 1
                    index = _next(free, index)
    return found


def _stretches(match: Match, protocol: Protocol, at: Mapping[int, int], last: int) -> Iterator[tuple[int, int]]:
    if match.ports is None:
        yield 0, last
    for one in match.ports or ():
        if one.protocol is protocol:
            yield at[one.low], at[one.high + 1]


def _next(free: list[int], index: int) -> int:
    """Where a chain of what is taken ends; whoever asks again is there sooner."""
    end = index
    while free[end] != end:
        end = free[end]
    while free[index] != end:
        free[index], index = end, free[index]
    return end


def _outcome(asked: Iterable[Match], isolated_by: int | None) -> Outcome:
    """What the first rules of the tiers say, which is asked in turn."""
    for match in asked:
        if match.tier is Tier.BASELINE and isolated_by is not None:
            break
        if match.verdict is not Verdict.PASS:
            return Outcome(match.verdict is Verdict.ACCEPT, match.policy)
    return Outcome(accepts=isolated_by is None, policy=isolated_by or 0)


def _first_of_tiers(matches: Iterable[Match]) -> Iterator[Match]:
    """The first rule of each tier."""
    return (next(those) for _, those in groupby(matches, key=attrgetter("tier")))
