"""What no peer is believed with, whatever is asked for: it would take packets for pods, nodes or cluster IPs away.

A route counts against ours by being longer. So nobody is believed with a part of what a node has, and with the whole of
it a peer by the node itself as the next hop, where that node, or a reflector of this one's, is a peer of this node.
Where it is none, routers bring the whole, and nodes that relay these.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import collapse_addresses, ip_network

from agent.compile.bgp.plan import Step, all_within, exactly
from agent.compile.bgp.pod_parts import PodParts, pod_parts
from agent.compile.bgp.router import FAMILIES
from agent.model.address import Address, Network
from agent.model.bgp import PrefixRange
from agent.model.bgp_filter import FilterRule
from agent.model.ip_pool import IpPool, overlap
from agent.model.node import Node

PODS, PARTS, NODES, SERVICES = "pod CIDRs", "parts of pod CIDRs", "addresses of nodes", "--service-cidrs"
Met = Mapping[int, frozenset[str]]  # by IP version


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes as this one sees them."""

    own: Node
    others: Mapping[str, Node]
    met: Met  # others that tell of their pods themselves
    addresses: Mapping[str, tuple[Address, ...]]  # by which each is reached and tells of itself as the next hop
    subnets: tuple[Network, ...] = ()  # of this node

    def whole(self, version: int) -> bool:
        """Whether all others are met in a family."""
        return self.met.get(version, frozenset()) >= self.others.keys()


@dataclass(frozen=True, slots=True)
class Believed:
    """The steps that go before whatever accepts."""

    of_routers: tuple[Step, ...] = ()
    at_interfaces: tuple[Step, ...] = ()  # of who is there, which may be a node: its link-local address is no Node's
    of_nodes: tuple[Step, ...] = ()  # behind their own pod CIDRs
    never: tuple[PrefixRange, ...] = ()  # is not the kernel's, whoever told it


def believed(nodes: Nodes, pools: Iterable[IpPool], service_cidrs: tuple[Network, ...]) -> Believed:
    """All of it."""
    routed = tuple(pool for pool in pools if not pool.network)
    others = tuple(cidr for _, node in sorted(nodes.others.items()) for cidr in node.pod_ranges)
    parts = pod_parts(nodes.own, others, routed)
    services = all_within(service_cidrs)
    of_services = (Step(SERVICES, accepts=False, prefixes=services),) if services else ()
    first, rest = tuple(_parts(parts)), (*of_services, *_near(nodes))
    return Believed(
        (*first, *_wholes(nodes, routed, parts), *rest),
        (*first, *rest),
        (*_not_relayed(nodes, routed, parts), *of_services, *_of_ways(nodes)),
        (*parts.own, *services),
    )


def overlapping(steps: Iterable[Step], ranges: tuple[PrefixRange, ...]) -> tuple[Step, ...]:
    """Those of the steps that have to do with prefixes of these ranges."""
    return tuple(
        step
        for step in steps
        if any(overlap(one.network, other.network) for one in step.prefixes or () for other in ranges)
    )


def _parts(parts: PodParts) -> Iterator[Step]:
    if parts.own:
        yield Step(PARTS, accepts=False, prefixes=parts.own)
    yield from _parts_of_others(parts, frozenset(FAMILIES))


def _parts_of_others(parts: PodParts, versions: frozenset[int]) -> Iterator[Step]:
    if found := tuple(one for one in parts.others if one.network.version in versions):
        rule = FilterRule(accepts=False, excepted=parts.spared) if parts.spared else None
        yield Step(PARTS, accepts=False, prefixes=found, rule=rule)


def _wholes(nodes: Nodes, pools: tuple[IpPool, ...], parts: PodParts) -> Iterator[Step]:
    """Of other nodes that are met, by the Nodes alone: blocks come and go, and a router would tell all it has anew."""
    for version in FAMILIES:
        met = sorted(nodes.met.get(version, ()))
        cidrs = [cidr for name in met for cidr in nodes.others[name].pod_cidrs if cidr.version == version]
        ranges = exactly(cidrs)
        if nodes.whole(version):
            blocks = ((cidr, max(pool.length(version), cidr.prefixlen)) for pool in pools for cidr in pool.cidrs)
            ranges += tuple(PrefixRange(one, length, length) for one, length in blocks if one.version == version)
            shorter = (PrefixRange(one.network, one.least - 1, one.least - 1) for one in parts.others)
            ranges += tuple(one for one in (*shorter, *parts.spared) if one.network.version == version)
        hops = tuple(ip for name in met for ip in nodes.addresses[name] if ip.version == version)
        if ranges and hops:
            yield Step(PODS, accepts=False, prefixes=tuple(dict.fromkeys(ranges)), not_by=hops)


def _not_relayed(nodes: Nodes, pools: tuple[IpPool, ...], parts: PodParts) -> Iterator[Step]:
    """What a node's own word for it alone is good for: few ranges, for each other node's session has them."""
    pods = list(nodes.own.pod_ranges)
    for version in FAMILIES:
        met = nodes.met.get(version, frozenset())
        pods += [cidr for name in met for cidr in nodes.others[name].pod_ranges if cidr.version == version]
        if nodes.whole(version):
            pods += [cidr for pool in pools for cidr in pool.cidrs if cidr.version == version]
    if pods:
        yield Step(PODS, accepts=False, prefixes=all_within(_collapsed(pods)))
    yield from _parts_of_others(parts, frozenset(version for version in FAMILIES if not nodes.whole(version)))


def _collapsed(networks: Iterable[Network]) -> Iterator[Network]:
    those = tuple(networks)
    yield from collapse_addresses(one for one in those if one.version == 4)  # noqa: PLR2004  as FAMILIES has them
    yield from collapse_addresses(one for one in those if one.version == 6)  # noqa: PLR2004


def _near(nodes: Nodes) -> Iterator[Step]:
    """Addresses of nodes on this one's subnets: what is longer than the subnet and has them."""
    everyone = (*nodes.own.internal_ips, *(ip for _, those in sorted(nodes.addresses.items()) for ip in those))
    found = []
    for ip in dict.fromkeys(everyone):
        lengths = (one.prefixlen for one in nodes.subnets if ip in one)
        length = max(lengths, default=ip.max_prefixlen)
        if length < ip.max_prefixlen:
            found.append(PrefixRange(ip_network(ip), length + 1, ip.max_prefixlen))
    if found:
        yield Step(NODES, accepts=False, prefixes=tuple(found))


def _of_ways(nodes: Nodes) -> Iterator[Step]:
    """What has a node in it that this one has a session with, and so reaches without: not a default route."""
    ips = list(nodes.own.internal_ips)
    for version in FAMILIES:
        met = nodes.met.get(version, frozenset())
        ips += [ip for name in met for ip in nodes.addresses[name] if ip.version == version]
    found = tuple(PrefixRange(one, 1, one.max_prefixlen) for one in _collapsed(map(ip_network, ips)))
    # and parts of this node's subnets, where it reaches everybody itself
    parts = (PrefixRange(one, one.prefixlen + 1, one.max_prefixlen) for one in nodes.subnets)
    yield Step(NODES, accepts=False, prefixes=(*found, *(one for one in parts if one.least <= one.most)))
