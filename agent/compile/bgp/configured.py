"""What a node does of BGP: the options, and BGPConfigurations before them.

Those that select nodes go before those for all, within each in the order of their names; a field counts where it is
first given. What they list (names of communities, advertisements, aggregates) is taken together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from agent.compile.bgp.settings import BgpSettings
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.community import Community, CommunityKind
from agent.model.node import Node

T = TypeVar("T")
Configurations = Mapping[str, BgpConfiguration]


class Unresolved(Exception):  # noqa: N818  a value on its way to a Problem
    """Of some community nobody knows the numbers."""

    def __init__(self, text: str, index: int | None = None) -> None:
        """*index* is its place among those that were given."""
        super().__init__(text)
        self.index = index


def configured(settings: BgpSettings, configurations: Configurations, node: Node) -> BgpSettings:
    """The settings of a node; the identical value where nothing else is said."""
    labels = dict(node.labels)
    held = [
        one for one in configurations.values() if one.is_usable and (one.nodes is None or one.nodes.selects(labels))
    ]
    if not held:
        return settings
    held.sort(key=lambda one: (one.nodes is None, one.name))
    names: dict[str, Community] = {}
    for one in reversed(held):
        names.update(one.communities)
    restarts = _first((one.restarts for one in held), bool(settings.restart_s))
    restart_time_s = _first((one.restart_time_s for one in held), settings.restart_time_s)
    return replace(
        settings,
        asn=_first((one.asn for one in held), settings.asn),
        port=_first((one.port for one in held), settings.port),
        peers_nodes=_first((one.peers_nodes for one in held), settings.peers_nodes),
        full_mesh=_first((one.full_mesh for one in held), settings.full_mesh),
        hold_s=_first((one.hold_s for one in held), settings.hold_s),
        restart_s=restart_time_s if restarts else 0,
        restart_time_s=restart_time_s,
        bfd=_first((one.bfd for one in held), settings.bfd),
        next_hop_self=_first((one.next_hop_self for one in held), settings.next_hop_self),
        imports=_first((one.imports for one in held), settings.imports),
        imports_by=_first(
            (f"BGPConfiguration {one.name}" for one in held if one.imports is not None), settings.imports_by
        ),
        relayed=_first((one.relayed for one in held), settings.relayed),
        relayed_by=_first((f"BGPConfiguration {one.name} relay" for one in held if one.relayed is not None), ""),
        pods=_first((one.pods for one in held), settings.pods),
        cluster_ips=_first((one.cluster_ips for one in held), settings.cluster_ips),
        external_ips=_first((one.external_ips for one in held), settings.external_ips),
        load_balancer=_first((one.load_balancer for one in held), settings.load_balancer),
        leaves_when_cordoned=_first((one.leaves_when_cordoned for one in held), settings.leaves_when_cordoned),
        communities=tuple(sorted(names.items())),
        advertisements=tuple(advertisement for one in held for advertisement in one.advertisements),
        aggregates=tuple(dict.fromkeys(network for one in held for network in one.aggregates)),
    )


def resolved(given: Iterable[Community], settings: BgpSettings) -> tuple[Community, ...]:
    """Communities, with their numbers in place of their names.

    Raises:
        Unresolved: one has a name that nobody gives.
    """
    names = dict(settings.communities)
    found = []
    for index, one in enumerate(given):
        if one.kind is CommunityKind.NAMED:
            (name,) = one.parts
            if name not in names:
                raise Unresolved(f"no BGPConfiguration of this node names a community {name!r}", index)
            found.append(names[name])
        else:
            found.append(one)
    return tuple(found)


def _first(given: Iterable[T | None], default: T) -> T:
    return next((one for one in given if one is not None), default)
