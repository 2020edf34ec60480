"""Whether BGP's resources are accepted, alike on every node: by what they and each other say, and no node's own.

What a node alone has, as a password's file, is told of by its Problems.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.model.bgp import BgpPeer
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.bgp_filter import BgpFilter
from agent.model.cluster import Cluster
from agent.model.community import Community, CommunityKind

VALID, INVALID, PARTLY, FILTER, COMMUNITY = "Valid", "Invalid", "PartlyInvalid", "FilterNotUsable", "UnknownCommunity"
MOST_PEERS = 100  # that a filter's status names
MOST_MISTAKES = 8  # in one message
_REST = "; the rest holds"
Resource = BgpPeer | BgpFilter | BgpConfiguration


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one resource, at one generation."""

    generation: int
    is_so: bool
    reason: str
    message: str
    peers: tuple[str, ...] = ()  # of a BGPFilter: the BGPPeers that name it, the first by name

    def stands(self, resource: Resource) -> bool:
        """Whether the resource's status says so already."""
        said = resource.standing.accepted
        return (
            said is not None
            and (said.generation, said.is_so, said.reason, said.message)
            == (self.generation, self.is_so, self.reason, self.message)
            and resource.standing.peers == self.peers
        )


def verdicts(cluster: Cluster) -> Iterator[tuple[Resource, Verdict]]:
    """Of all of them."""
    names = {name for one in cluster.bgp_configurations.values() if one.is_usable for name in one.communities}
    naming: dict[str, list[str]] = {}
    for _, peer in sorted(cluster.bgp_peers.items()):
        for name in dict.fromkeys(peer.filters):
            naming.setdefault(name, []).append(peer.name)
    for one in cluster.bgp_filters.values():
        yield one, _verdict(one, _filter(one, names), tuple(naming.get(one.name, ())[:MOST_PEERS]))
    for configuration in cluster.bgp_configurations.values():
        yield configuration, _verdict(configuration, _configuration(configuration, names))
    for peer in cluster.bgp_peers.values():
        yield peer, _verdict(peer, _peer(peer, cluster.bgp_filters, names))


def _verdict(one: Resource, why: tuple[str, str] | None, peers: tuple[str, ...] = ()) -> Verdict:
    reason, message = why or (VALID, "every field can be used")
    return Verdict(one.standing.generation, why is None, reason, message, peers)


def _wrong(one: Resource, *, is_usable: bool) -> tuple[str, str] | None:
    """What cannot be read of it, if anything."""
    wrong = one.standing.wrong
    if not wrong:
        return None
    more = f"; and {len(wrong) - MOST_MISTAKES} more" if len(wrong) > MOST_MISTAKES else ""
    text = f"{'; '.join(wrong[:MOST_MISTAKES])}{more}"
    return (PARTLY, f"{text}{_REST}") if is_usable else (INVALID, text)


def _filter(one: BgpFilter, names: set[str]) -> tuple[str, str] | None:
    if found := _wrong(one, is_usable=False):
        return found
    for way, rules in (("import", one.imports), ("export", one.exports)):
        for index, rule in enumerate(rules):
            for field, given in (
                ("communities", rule.communities),
                ("set.addCommunities", rule.change.communities),
                ("set.removeCommunities", rule.change.removed),
            ):
                if unknown := _unknown(f"spec.{way}[{index}].{field}", given, names):
                    return COMMUNITY, f"{unknown}; peers that name the filter are left out"
    return None


def _configuration(one: BgpConfiguration, names: set[str]) -> tuple[str, str] | None:
    if found := _wrong(one, is_usable=one.is_usable):
        return found
    for index, advertisement in enumerate(one.advertisements):
        where = f"spec.prefixAdvertisements[{index}].communities"
        if unknown := _unknown(where, advertisement.marks.communities, names):
            return COMMUNITY, f"{unknown}; of {advertisement.network} nobody is told"
    return None


def _peer(one: BgpPeer, filters: Mapping[str, BgpFilter], names: set[str]) -> tuple[str, str] | None:
    if found := _wrong(one, is_usable=one.address is not None or bool(one.interface)):
        return found
    for index, name in enumerate(one.filters):
        known = filters.get(name)
        if known is None or not known.is_usable:
            why = "there is no BGPFilter" if known is None else "a rule cannot be read of BGPFilter"
            return FILTER, f"spec.filters[{index}]: {why} {name!r}; the peer is left out until then"
    if unknown := _unknown("spec.export.communities", one.export.communities, names):
        return COMMUNITY, f"{unknown}; the peer is left out until then"
    return None


def _unknown(where: str, given: Iterable[Community], names: set[str]) -> str:
    """The first by a name that nobody gives; empty for none."""
    for index, one in enumerate(given):
        if one.kind is CommunityKind.NAMED and one.parts[0] not in names:
            return f"{where}[{index}]: no BGPConfiguration names a community {one.parts[0]!r}"
    return ""
