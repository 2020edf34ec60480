"""What the rules of several policies say together of one group of peers: a verdict by protocol and destination port.

Tiers, priorities, Deny, Pass and named ports are gone afterwards: what is left are ranges of ports that do not overlap,
and what is so of everything else.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

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
    otherwise = _outcome(matches, isolated_by, lambda match: match.ports is None)
    found: list[PortOutcome] = []
    for protocol in PROTOCOLS:
        edges = sorted(_edges(matches, protocol))
        for low, above in pairwise(edges):
            outcome = _outcome(matches, isolated_by, lambda match, at=low, of=protocol: match.has(of, at))  # type: ignore[misc]
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


def _outcome(matches: Sequence[Match], isolated_by: int | None, means: Callable[[Match], bool]) -> Outcome:
    for tier, verdict, policy in _asked(matches, means):
        if tier is Tier.BASELINE and isolated_by is not None:
            break
        if verdict is not Verdict.PASS:
            return Outcome(verdict is Verdict.ACCEPT, policy)
    return Outcome(accepts=isolated_by is None, policy=isolated_by or 0)


def _asked(matches: Sequence[Match], means: Callable[[Match], bool]) -> Iterator[tuple[Tier, Verdict, int]]:
    """The first rule of each tier that means a port."""
    done: Tier | None = None
    for match in matches:
        if match.tier is not done and means(match):
            done = match.tier
            yield match.tier, match.verdict, match.policy
