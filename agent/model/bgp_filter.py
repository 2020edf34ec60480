"""BGPFilters: rules by which routes are taken and told, tried in their order."""

from dataclasses import dataclass
from enum import StrEnum

from agent.model.accepted import UNKNOWN, Standing
from agent.model.bgp import PrefixRange
from agent.model.community import Community


class Origin(StrEnum):
    """Whose a route is that may be told."""

    PODS = "Pods"  # this node's
    SERVICES = "Services"
    AGGREGATES = "Aggregates"
    PEERS = "Peers"  # taken of somebody
    ROUTERS = "Routers"  # taken of somebody who is no node; no rule names it
    NODES = "Nodes"  # other nodes' pods, by a reflector; no rule names it


OWN = (Origin.PODS, Origin.SERVICES, Origin.AGGREGATES)  # what is told without being named


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to a route on its way."""

    communities: tuple[Community, ...] = ()  # added
    removed: tuple[Community, ...] = ()
    med: int | None = None
    local_preference: int | None = None
    prepends: tuple[int, ...] = ()  # AS numbers


NO_CHANGE = Change()


@dataclass(frozen=True, slots=True)
class FilterRule:
    """One rule; all that it names is to be met."""

    accepts: bool
    prefixes: tuple[PrefixRange, ...] = ()  # within one of them; without, every prefix
    excepted: tuple[PrefixRange, ...] = ()  # and within none of these
    interface: str = ""  # the device of its next hop, by a pattern of * and ?; empty: whichever
    of_internal: bool | None = None  # of peers of the same AS, or of those of others; None: of both
    origins: tuple[Origin, ...] = ()  # of what is told: OWN
    communities: tuple[Community, ...] = ()  # one of them
    as_path: tuple[int, ...] = ()  # the path begins with these
    change: Change = NO_CHANGE


@dataclass(frozen=True, slots=True)
class BgpFilter:
    """A BGPFilter (sluiceway.io/v1alpha1)."""

    name: str
    is_usable: bool = True  # False: something in it cannot be read, and peers that name it have no session
    imports: tuple[FilterRule, ...] = ()
    exports: tuple[FilterRule, ...] = ()
    standing: Standing = UNKNOWN
