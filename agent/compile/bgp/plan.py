"""By which rules a session's routes are taken and told: steps that are tried in order, the first that fits decides.

BIRD's filters are written of them, and ``dpctl bgp why`` reads them. What no step fits is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from agent.compile.bgp.configured import Unresolved, resolved
from agent.compile.bgp.settings import BgpSettings
from agent.model.address import Address, Network
from agent.model.bgp import BgpPeer, PeerExport, PrefixRange
from agent.model.bgp_filter import NO_CHANGE, BgpFilter, Change, FilterRule, Origin


@dataclass(frozen=True, slots=True)
class Hop:
    """A node as the next hop of what it may tell."""

    addresses: tuple[Address, ...]  # each is the node
    ranges: tuple[PrefixRange, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One rule; all that it names is to be met."""

    by: str  # who says it: "BGPFilter lab export[0]", "--advertise-pod-cidr"
    accepts: bool
    origins: tuple[Origin, ...] = ()  # of what is told
    prefixes: tuple[PrefixRange, ...] | None = None  # within one of them; None: every prefix
    rule: FilterRule | None = None  # what else it asks for
    change: Change = NO_CHANGE
    hops: tuple[Hop, ...] = ()  # each prefix by one of these next hops alone; *prefixes* are all of theirs
    not_by: tuple[Address, ...] = ()  # not where it comes by one of these next hops


class Refusal(Exception):  # noqa: N818  a value on its way to a Problem
    """A BGPFilter that cannot be used, so that no session may be."""

    def __init__(self, index: int, text: str) -> None:
        """*index* is its place in the peer's list."""
        super().__init__(text)
        self.index = index


def filter_steps(  # noqa: PLR0913  all that they are made from
    peer: BgpPeer,
    known: Mapping[str, BgpFilter],
    settings: BgpSettings,
    base: Change,
    *,
    is_import: bool,
    is_internal: bool,
) -> tuple[Step, ...]:
    """The steps of a peer's BGPFilters; *base* is done to all that is told; *is_internal*: the peer is of the same AS.

    Raises:
        Refusal: one is not there, or cannot be used.
    """
    found: list[Step] = []
    for index, name in enumerate(peer.filters):
        one = known.get(name)
        if one is None or not one.is_usable:
            why = "there is no BGPFilter" if one is None else "a rule cannot be read of BGPFilter"
            raise Refusal(index, f"{why} {name!r}; the peer is left out until then")
        way, rules = ("import", one.imports) if is_import else ("export", one.exports)
        for at, rule in enumerate(rules):
            if rule.of_internal is not None and rule.of_internal is not is_internal:
                continue
            by = f"BGPFilter {name} {way}[{at}]"
            try:
                found.append(_step(by, rule, settings, base))
            except Unresolved as error:
                raise Refusal(index, f"{by}: {error}; the peer is left out until then") from error
    return tuple(found)


def _step(by: str, rule: FilterRule, settings: BgpSettings, base: Change) -> Step:
    meant = replace(rule, communities=resolved(rule.communities, settings), change=_named(rule.change, settings))
    change = joined(base, meant.change) if meant.accepts else NO_CHANGE
    return Step(by, meant.accepts, meant.origins, meant.prefixes or None, meant, change)


def _named(change: Change, settings: BgpSettings) -> Change:
    return replace(
        change, communities=resolved(change.communities, settings), removed=resolved(change.removed, settings)
    )


def joined(first: Change, then: Change) -> Change:
    """What both do; where only one can, the latter."""
    return Change(
        (*first.communities, *then.communities),
        (*first.removed, *then.removed),
        first.med if then.med is None else then.med,
        first.local_preference if then.local_preference is None else then.local_preference,
        (*first.prepends, *then.prepends),
    )


def changes(export: PeerExport) -> Change:
    """What a peer's own part does to all that it is told."""
    return Change(
        export.communities, med=export.med, local_preference=export.local_preference, prepends=export.prepends
    )


def exactly(networks: Iterable[Network]) -> tuple[PrefixRange, ...]:
    """These, and nothing within them."""
    return tuple(PrefixRange(network, network.prefixlen, network.prefixlen) for network in networks)


def all_within(networks: Iterable[Network]) -> tuple[PrefixRange, ...]:
    """These, and all within them."""
    return tuple(PrefixRange(network, network.prefixlen, network.max_prefixlen) for network in networks)
