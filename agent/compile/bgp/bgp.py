"""BGP's sessions of this node, and what it has to tell: from Nodes, BGPPeers, Services and the options.

What is wrong with one peer costs that peer. BIRD's configuration is made of the Router in bird.py.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from agent.compile.bgp.aggregate import Unfit, aggregate_problems, unfit
from agent.compile.bgp.annotations import NodeBgp, node_bgp
from agent.compile.bgp.configured import configured
from agent.compile.bgp.own import OwnPrefixes, own_prefixes
from agent.compile.bgp.place import sources
from agent.compile.bgp.prefix import Prefixes, Rules, prefixes
from agent.compile.bgp.reserved import Reserved, reserved
from agent.compile.bgp.router import Router
from agent.compile.bgp.sessions import Making
from agent.compile.bgp.settings import BgpSettings
from agent.compile.public_range import PublicRanges
from agent.model.accepted import are_alike
from agent.model.address import Address, Network
from agent.model.bgp import interfaces
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.node import Node


@dataclass(frozen=True, slots=True)
class Bgp:
    """The Router, and what the next one is made from."""

    router: Router | None = None  # None: the node, or who is at its interfaces, is not known yet
    problems: tuple[Problem, ...] = ()  # of Services too
    own_problems: tuple[Problem, ...] = ()
    prefixes: Prefixes = field(default_factory=Prefixes)
    said: Mapping[str, tuple[Node, NodeBgp]] = field(default_factory=dict)
    settings: BgpSettings | None = None  # this node's
    unfit: Unfit = field(default_factory=dict)  # aggregates that this node cannot have
    tunnelled: tuple[Address, ...] = ()  # other nodes' addresses, to which pods' packets go encapsulated
    interfaces: frozenset[str] = frozenset()  # at which peers are
    subnets: tuple[Network, ...] = ()  # of this node
    addresses: frozenset[Address] = frozenset()  # of this node's devices; none: they are not known yet
    source: Cluster | None = None


OFF = Bgp()


def bgp(  # noqa: PLR0913, PLR0917  all that it is made from
    cluster: Cluster,
    settings: BgpSettings,
    ranges: PublicRanges | None,
    own: str,
    before: Bgp,
    tunnelled: tuple[Address, ...] = (),
    subnets: tuple[Network, ...] = (),
    unserved: Collection[ObjectName] = (),
) -> Bgp:
    """What BGP is to be now; the identical value while nothing of it changed.

    *tunnelled* is as Remotes' own; *subnets* this node is on; *unserved* are Services that have no place.
    """
    old, node = before.source, _own_node(cluster, own, before)
    said = before.said if old is not None and cluster.nodes is old.nodes else _said(cluster, node, own, before)
    here = before.addresses if old is not None and cluster.local is old.local else cluster.local.addresses
    ways, known = (tunnelled, subnets, here), (before.tunnelled, before.subnets, before.addresses)
    is_same_way = ways == known and (old is None or cluster.local.far_gateways == old.local.far_gateways)
    is_anew = old is None or not is_same_way or not _is_same_but_services(cluster, old)
    held = configured(settings, cluster.bgp_configurations, node) if node else settings
    lost = before.unfit
    if is_anew and node is not None:
        lost = unfit(cluster, node, said[node.name][1], held, subnets)
    if lost:
        held = replace(held, aggregates=tuple(one for one in held.aggregates if one not in lost))
    if before.settings == held:
        held = before.settings
    rules = Rules(held, ranges, own, _reserved(cluster, held, said, before), unserved)
    if rules == before.prefixes.rules:
        rules = before.prefixes.rules
    is_same_prefixes = (
        old is not None
        and rules is before.prefixes.rules
        and cluster.services is old.services
        and cluster.slices is old.slices
    )
    found = before.prefixes if is_same_prefixes else prefixes(cluster, rules, before.prefixes)
    now = replace(before, prefixes=found, said=said, settings=held, unfit=lost, source=cluster)
    if is_anew:
        now = _anew(cluster, settings, node, replace(now, tunnelled=tunnelled, subnets=subnets, addresses=here))
    elif is_same_prefixes:
        return before
    elif before.router is not None and node is not None and not _are_same(found, before.prefixes):
        told = own_prefixes(node, held, found)
        now = replace(now, router=_with_services(before.router, told))
    problems = (*now.own_problems, *found.problems)
    return replace(now, problems=before.problems if problems == before.problems else problems)


def _reserved(cluster: Cluster, held: BgpSettings, said: Mapping[str, tuple[Node, NodeBgp]], before: Bgp) -> Reserved:
    """The identical value while nothing of it changed."""
    known, old = before.prefixes.rules, before.source
    is_same = (
        old is not None
        and cluster.nodes is old.nodes
        and are_alike(cluster.bgp_peers, old.bgp_peers)
        and cluster.ip_pools is old.ip_pools
        and held is before.settings
    )
    return known.reserved if known is not None and is_same else reserved(cluster, held, said)


def _said(cluster: Cluster, node: Node | None, own: str, before: Bgp) -> Mapping[str, tuple[Node, NodeBgp]]:
    """What Nodes' annotations say, this node's also when its object has gone; each is read once."""
    known = before.said
    nodes = cluster.nodes if node is None or own in cluster.nodes else {**cluster.nodes, own: node}
    return {
        name: known[name] if name in known and known[name][0] is one else (one, node_bgp(one, is_own=name == own))
        for name, one in nodes.items()
    }


def _own_node(cluster: Cluster, own: str, before: Bgp) -> Node | None:
    """The node's own; one whose Node has gone is as it was known last, and leaves."""
    found = cluster.nodes.get(own)
    if found is not None or own not in before.said:
        return found
    last, _ = before.said[own]
    return last if last.is_leaving else replace(last, is_leaving=True)


def _with_services(router: Router, told: OwnPrefixes) -> Router:
    return replace(
        router, services=told.services, aggregates=told.aggregates, dropped=told.dropped, why_gone=told.why_gone
    )


def _is_same_but_services(cluster: Cluster, old: Cluster) -> bool:
    return (
        cluster.nodes is old.nodes
        and are_alike(cluster.bgp_peers, old.bgp_peers)
        and cluster.ip_pools is old.ip_pools
        and are_alike(cluster.bgp_filters, old.bgp_filters)
        and are_alike(cluster.bgp_configurations, old.bgp_configurations)
        and cluster.bgp_passwords is old.bgp_passwords
        and cluster.bgp_neighbours is old.bgp_neighbours
    )


def _are_same(found: Prefixes, before: Prefixes) -> bool:
    return found.services is before.services and found.aggregates is before.aggregates


def _anew(cluster: Cluster, settings: BgpSettings, node: Node | None, now: Bgp) -> Bgp:
    """With a Router that is made of all there is; an equal one stays the identical."""
    now = replace(now, interfaces=interfaces(cluster.bgp_peers.values(), dict(node.labels) if node else {}))
    if node is None or not node.internal_ips or now.settings is None or not cluster.bgp_neighbours.is_known:
        return now
    told = own_prefixes(node, now.settings, now.prefixes)
    made = Making(cluster, settings, now.settings, node, now.said, told, now.subnets, now.addresses)
    router = replace(
        made.router(),
        tunnelled=now.tunnelled,
        sources=tuple(sources(node, now.addresses, now.subnets)),
        far_gateways=cluster.local.far_gateways,
    )
    if router == now.router:
        router = now.router
    problems = (*made.problems, *aggregate_problems(now.unfit, cluster, node.name))
    return replace(now, router=router, own_problems=problems)
