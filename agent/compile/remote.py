"""Each Node's prefixes: which remote its pods are behind, who meets pods unmasqueraded; and the kernel's routes there.

Beside them the ranges that are no Node's: those of --masquerade-config, and those of services, where nobody else is.

A range of pods is encapsulated when its node is on none of our subnets, or always; so is what pods send to such a
node itself, for the network between knows no pod. The node's own packets to another node are never encapsulated.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2s
from ipaddress import ip_network

from agent.compile.changes import changed
from agent.compile.claims import Claimants, claims
from agent.compile.ids import RemoteIds
from agent.compile.prefix import prefix_key
from agent.compile.records import NOTHING, Owner, OwnerKind, Records
from agent.compile.route import Route, gateway
from agent.compile.settings import NetworkSettings
from agent.model.address import Address, Network, is_within, mapped
from agent.model.ip_pool import IP_BLOCK
from agent.model.local import Local
from agent.model.name import ObjectName, Problem
from agent.model.node import Node
from maps import abi
from maps.record import Packed

IPV4, IPV6 = 4, 6
RANGES = Owner(OwnerKind.NODE, "")  # of --masquerade-config and --service-cidrs; no Node has this name
SERVICES = abi.REMOTE_CLUSTER_IP


@dataclass(frozen=True, slots=True)
class Vantage:
    """From where other nodes are looked at: this node's addresses and subnets, and the options."""

    node_name: str = ""
    families: tuple[int, ...] = ()  # of this node's InternalIPs, in their order
    subnets: tuple[Network, ...] = ()
    sources: tuple[Address, ...] = ()  # InternalIPs that a device has
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def outer(self, node: Node) -> Address | None:
        """Where encapsulated packets for a node are sent; None when none are, or it cannot be reached so.

        The families are tried in the order of this node's own InternalIPs.
        """
        if node.name == self.node_name:
            return None
        if not (self.network.forwards or any(self.is_tunnelled(node, version) for version in (IPV4, IPV6))):
            return None
        return next((found for version in self.families if (found := gateway(node, version)) is not None), None)

    def is_tunnelled(self, node: Node, version: int) -> bool:
        """Whether packets of one family for *node* must be encapsulated."""
        if self.network.is_native or node.name == self.node_name:
            return False
        near = gateway(node, version)
        if near is None:
            return any(cidr.version == version for cidr in node.pod_ranges)
        return not (self.network.cross_subnet and any(near in subnet for subnet in self.subnets))

    def is_far(self, near: Address) -> bool:
        """Whether a node is on none of our subnets, so that BGP, or the network between, brings packets to its pods."""
        return not any(near in subnet for subnet in self.subnets)

    def source(self, version: int) -> Address | None:
        """The address of this node's own packets to pods behind the tunnel."""
        return next((address for address in self.sources if address.version == version), None)


def vantage(own: Node, local: Local, network: NetworkSettings) -> Vantage:
    """What decides how this node reaches others."""
    networks = (one for device in local.devices if not device.loopback for one in device.networks)
    # IPv4's link-local ones may be of one link, as a tunnel's to a router; of IPv6's each link has the same
    subnets = (one for one in networks if one.version == IPV4 or not one.network_address.is_link_local)
    here = {address for device in local.devices for address in device.addresses}
    return Vantage(
        own.name,
        tuple(dict.fromkeys(address.version for address in own.internal_ips)),
        tuple(subnets),
        tuple(address for address in own.internal_ips if address in here),
        network,
    )


@dataclass(frozen=True, slots=True)
class RemoteNode:
    """What one Node asks for: its prefixes, its remote, its routes."""

    node: Node
    outer: Address | None
    prefixes: Packed
    remote: Packed  # remotes
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Remotes:
    """What follows from all Nodes, kept from one Desired to the next."""

    vantage: Vantage = field(default_factory=Vantage)
    objects: Mapping[str, Node] = field(default_factory=dict)
    nodes: Mapping[str, RemoteNode] = field(default_factory=dict)
    claimants: Claimants[str] = field(default_factory=dict)
    ids: RemoteIds = field(default_factory=RemoteIds)
    ranges: tuple[Network, ...] = ()
    routes: Mapping[Network, Route] = field(default_factory=dict)
    overhead: int = 0  # octets that encapsulation adds to a packet at most
    tunnelled: tuple[
        Address, ...
    ] = ()  # nodes' own that packets of pods reach by the tunnel alone, where BGP needs them

    @property
    def no_nodes(self) -> Mapping[bytes, int]:
        """The ranges that are no Node's, as keys, and the remote of each; a service's also within one of services."""
        services = self.vantage.network.service_cidrs
        found = {prefix_key(n): SERVICES if any(is_within(n, s) for s in services) else 0 for n in self.ranges}
        return found | {prefix_key(network): SERVICES for network in services}


Update = Mapping[Owner, Records]
Problems = Mapping[Owner, tuple[Problem, ...]]


def remotes(nodes: Mapping[str, Node], seen: Vantage, ranges: tuple[Network, ...], before: Remotes) -> Remotes:
    """The same for the Nodes of now; those that are the identical value as *before* cost nothing."""
    if nodes is before.objects and seen == before.vantage and ranges == before.ranges:
        return before
    moved = seen != before.vantage
    names = tuple(dict.fromkeys((*before.objects, *nodes))) if moved else changed(before.objects, nodes)
    outers = {name: known.outer for name, known in before.nodes.items() if known.outer is not None}
    for name in names:
        outers.pop(name, None)
        if name in nodes and (outer := seen.outer(nodes[name])) is not None:
            outers[name] = outer
    ids = before.ids.of([mapped(outers[name]).packed for name in sorted(outers)])
    found = dict(before.nodes)
    for name in names:
        found.pop(name, None)
        if name in nodes:
            found[name] = _remote_node(nodes[name], outers.get(name), seen, ids)
    kept = replace(before, vantage=seen, objects=nodes, nodes=found, ids=ids, ranges=ranges)
    return replace(kept, overhead=_overhead(seen, outers), tunnelled=tuple(_tunnelled(found, seen)))


def update(now: Remotes, before: Remotes) -> tuple[Remotes, Update, Problems]:
    """The records of the Nodes that differ, after each has what it is the first to ask for; and what is wrong."""
    names = changed(before.nodes, now.nodes)
    ranges, ranges_before = now.no_nodes, before.no_nodes
    if now is before or not (names or ranges != ranges_before):
        return now, {}, {}
    asked = {name: (_keys(before.nodes.get(name)), _keys(now.nodes.get(name))) for name in names}
    asked[""] = (tuple(ranges_before), tuple(ranges))
    own = now.vantage.node_name
    claimed = claims(before.claimants, asked, lambda _, name: (name != own, not name, name))
    routes = dict(now.routes)
    for name in names:
        for route in before.nodes[name].routes if name in before.nodes else ():
            routes.pop(route.destination, None)
    made: dict[Owner, Records] = {}
    problems: dict[Owner, tuple[Problem, ...]] = {}
    for name in dict.fromkeys((*names, *claimed.contended, "")):
        owner = Owner(OwnerKind.REMOTE, name) if name else RANGES
        known = now.nodes.get(name)
        lost = claimed.lost(name, _keys(known) if name else tuple(ranges))
        made[owner] = _records(known, ranges, lost) if known or not name else NOTHING
        problems[owner] = tuple(_problems(known, lost, now.vantage.network.service_cidrs)) if known else ()
        for route in known.routes if known else ():
            if prefix_key(route.destination) not in lost:
                routes[route.destination] = route
    return replace(now, claimants=claimed.claimants, routes=routes), made, problems


def _remote_node(node: Node, outer: Address | None, seen: Vantage, ids: RemoteIds) -> RemoteNode:
    remote_id = ids.ids[mapped(outer).packed] if outer is not None else 0
    remote = {} if outer is None else {abi.REMOTES.key.pack(remote_id): abi.Remote(mapped(outer)).pack()}
    return RemoteNode(node, outer, dict(_prefixes(node, remote_id, seen)), remote, tuple(_routes(node, outer, seen)))


def _prefixes(node: Node, remote_id: int, seen: Vantage) -> Iterator[tuple[bytes, bytes]]:
    """A node's pods and addresses, which meet pods unmasqueraded, the remote that they are behind, and forwarding's."""
    ranges = dict.fromkeys(node.pod_ranges, abi.PrefixFlag(0))
    ranges |= {ip_network(address): abi.PrefixFlag.PREFIX_NODE for address in node.internal_ips}
    for found, flag in ranges.items():
        is_behind = remote_id and seen.is_tunnelled(node, found.version)
        forward_id = remote_id if seen.network.forwards else 0
        yield prefix_key(found), _prefix(remote_id if is_behind else 0, flag, node_number(node.name), forward_id)


def node_number(name: str) -> int:
    """What stands for a Node in the maps, never 0: of its name alone, so that it is the same after every restart.

    Two names may have one number, with 5,000 Nodes in one cluster of 350: those may encapsulate for each other's pods.
    """
    return int.from_bytes(blake2s(name.encode(), digest_size=4).digest(), "big") or 1


def _routes(node: Node, outer: Address | None, seen: Vantage) -> Iterator[Route]:
    """The kernel's own routes to a node's pods."""
    for cidr in node.pod_ranges if node.name != seen.node_name else ():
        if seen.is_tunnelled(node, cidr.version):
            if outer is not None:
                yield Route(cidr, None, seen.source(cidr.version))
        elif (near := gateway(node, cidr.version)) is not None:
            is_far = seen.is_far(near)
            if not (is_far and seen.network.has_router):
                yield Route(cidr, near, seen.source(cidr.version), is_far=is_far)


def _tunnelled(nodes: Mapping[str, RemoteNode], seen: Vantage) -> Iterator[Address]:
    """The addresses of nodes that are no next hop as they are."""
    if seen.network.has_router and not seen.network.is_native:
        for _, known in sorted(nodes.items()):
            if known.outer is not None:
                yield from (ip for ip in known.node.internal_ips if seen.is_tunnelled(known.node, ip.version))


def _overhead(seen: Vantage, outers: Mapping[str, Address]) -> int:
    versions = {seen.families[0] if seen.families else IPV4, *(address.version for address in outers.values())}
    return 0 if not seen.network.has_tunnel else seen.network.overhead(max(versions))


def _records(known: RemoteNode | None, ranges: Mapping[bytes, int], lost: Mapping[bytes, str]) -> Records:
    if known is None:
        return Records.of({"prefixes": {key: _prefix(remote) for key, remote in ranges.items() if key not in lost}})
    parts = {"remotes": known.remote, "prefixes": known.prefixes}
    return Records.of({m: {k: v for k, v in part.items() if k not in lost} for m, part in parts.items()})


def _problems(known: RemoteNode, lost: Mapping[bytes, str], services: Iterable[Network]) -> Iterator[Problem]:
    """Ranges and addresses of a Node that another Node has, or services."""
    node = known.node
    fields = [(cidr, "Node", node.name, f"spec.podCIDRs[{i}]") for i, cidr in enumerate(node.pod_cidrs)]
    fields += [(ip_network(ip), "Node", node.name, "status.addresses") for ip in node.internal_ips]
    fields += [(cidr, IP_BLOCK, name, "spec.cidr") for cidr, name in node.blocks]
    for network, kind, name, where in fields:
        if winner := lost.get(prefix_key(network)):
            text = f"Node {winner} has {network} already, and keeps it; give each Node its own"
            yield Problem(kind, ObjectName("", name), where, text)
        for taken in services:
            if network.overlaps(taken):
                text = f"{network} overlaps {taken} of --service-cidrs; pods, Nodes and services each need their own"
                yield Problem(kind, ObjectName("", name), where, text)


def _keys(known: RemoteNode | None) -> tuple[bytes, ...]:
    return (*known.prefixes, *known.remote) if known else ()


def _prefix(remote_id: int, flag: int = 0, number: int = 0, forward_id: int = 0) -> bytes:
    return abi.Prefix(remote_id, abi.PrefixFlag.PREFIX_NO_MASQUERADE | flag, number, forward_id).pack()
