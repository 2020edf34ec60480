"""What a node has to tell: its pods' ranges, Services' addresses, and the aggregates that stand for some of both."""

from dataclasses import dataclass

from agent.compile.bgp.configured import Unresolved
from agent.compile.bgp.prefix import Prefixes, marked
from agent.compile.bgp.router import Told
from agent.compile.bgp.settings import BgpSettings
from agent.compile.leaving import why_gone
from agent.model.address import Network, is_within
from agent.model.community import NO_MARKS
from agent.model.node import Node


@dataclass(frozen=True, slots=True)
class OwnPrefixes:
    """All of it."""

    pods: tuple[Told, ...] = ()
    services: tuple[Told, ...] = ()
    aggregates: tuple[Told, ...] = ()
    dropped: tuple[Network, ...] = ()  # of them
    pod_aggregates: tuple[Network, ...] = ()  # of these, those that stand for pods' ranges
    unmarked: tuple[Network, ...] = ()  # pods' ranges of which nobody knows what they are to carry
    why_unmarked: str = ""
    why_gone: str = ""  # why there are no services, if there are none whatever these are

    @property
    def pods_alone(self) -> tuple[Network, ...]:
        """The pods' ranges for which no aggregate stands."""
        pods = (one.network for one in self.pods)
        return tuple(one for one in pods if not any(is_within(one, wide) for wide in self.pod_aggregates))


def own_prefixes(node: Node, settings: BgpSettings, found: Prefixes) -> OwnPrefixes:
    """What this node has to tell now."""
    wide = tuple(one for one in settings.aggregates if any(is_within(cidr, one) for cidr in node.pod_ranges))
    pods: list[Told] = []
    unmarked: dict[Network, str] = {}
    for network in (*node.pod_ranges, *wide):
        try:
            pods.append(marked(network, NO_MARKS, settings))
        except Unresolved as error:
            pods.append(Told(network))
            unmarked[network] = str(error)
    count = len(node.pod_ranges)
    gone = why_gone(
        node, ignores_excluded=settings.ignores_excluded, leaves_when_cordoned=settings.leaves_when_cordoned
    )
    aggregates = {one.network: one for one in (() if gone else found.aggregates)}
    aggregates |= {one.network: one for one in pods[count:] if one.network not in unmarked}
    return OwnPrefixes(
        tuple(pods[:count]),
        () if gone else found.services,
        tuple(aggregates.values()),
        tuple(one for one in aggregates if one in wide or settings.drops_unserved),
        wide,
        tuple(unmarked),
        next(iter(unmarked.values()), ""),
        gone,
    )
