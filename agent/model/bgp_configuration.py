"""BGPConfigurations: what holds for all nodes, or for some of them, in place of the options."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.model.accepted import UNKNOWN, Standing
from agent.model.address import Network
from agent.model.bgp import Bfd, PrefixRange
from agent.model.community import Community, Marks
from agent.model.policy import Selector


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What routes within a range carry."""

    network: Network
    marks: Marks


@dataclass(frozen=True, slots=True)
class BgpConfiguration:
    """A BGPConfiguration (sluiceway.io/v1alpha1); of what is None the options decide."""

    name: str
    nodes: Selector | None = None  # those for which it holds; None: all, after those that select
    is_usable: bool = True  # False: nobody knows for which nodes it is
    asn: int | None = None
    port: int | None = None
    peers_nodes: bool | None = None
    full_mesh: bool | None = None
    hold_s: int | None = None
    restarts: bool | None = None  # whether by graceful restart
    restart_time_s: int | None = None
    bfd: Bfd | None = None
    next_hop_self: bool | None = None
    imports: tuple[PrefixRange, ...] | None = None
    relayed: tuple[PrefixRange, ...] | None = None  # of what routers told a node, it tells the others these
    pods: bool | None = None
    cluster_ips: bool | None = None
    external_ips: bool | None = None
    load_balancer: bool | None = None
    communities: Mapping[str, Community] = field(default_factory=dict)  # by the names that they are given
    advertisements: tuple[Advertisement, ...] = ()
    aggregates: tuple[Network, ...] = ()
    leaves_when_cordoned: bool | None = None
    standing: Standing = UNKNOWN
