"""Which addresses of services this node announces: each is one node's, which follows from the nodes that are live.

All nodes choose alike, without asking each other: of those that may, the one whose hash with the address is greatest
(rendezvous hashing). One that leaves moves its own addresses and no other's; so does one that balancers are to leave
out (compile/leaving.py), which has none. With externalTrafficPolicy Local those may that have a ready endpoint, or
where none has, one that ends and still serves; where there is neither, all.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter

from agent.compile.changes import changed
from agent.compile.frontend import BALANCERS, served_outside
from agent.compile.leaving import why_gone
from agent.compile.records import NOTHING, Owner, OwnerKind, Records
from agent.compile.settings import Settings
from agent.model.address import Address, Family, family, mapped
from agent.model.cluster import Cluster
from agent.model.local import Device
from agent.model.name import ObjectName
from agent.model.service import EndpointSlice, Service
from agent.options.choices import L2Announce
from maps import abi

KEPT = 1 << 16  # choices remembered


@dataclass(frozen=True, slots=True)
class Announcement:
    """An address on the subnet of a device."""

    address: Address
    device: str
    ifindex: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Placement:
    """An address of a service, and the node that announces it; empty where none does."""

    address: Address
    service: ObjectName
    node: str


@lru_cache(KEPT)
def announcer(address: Address, nodes: frozenset[str]) -> str:
    """The one of *nodes* that announces the address; empty where there is none.

    Source: Thaler and Ravishankar, Using name-based mappings to increase hit rates, 1998.
    """
    return max(nodes, key=lambda node: (blake2b(node.encode() + b"\0" + address.packed).digest(), node), default="")


def announced(
    cluster: Cluster, settings: Settings, uplinks: Iterable[Device], refused: Collection[ObjectName] = ()
) -> frozenset[Announcement]:
    """What this node announces; nothing of Services that have no place."""
    if settings.l2_announce is L2Announce.OFF or settings.node_name not in cluster.announcers:
        return frozenset()
    devices = tuple(device for device in uplinks if device.mac)
    return frozenset(
        Announcement(address, device.name, device.ifindex, device.mac)
        for address in set(_own(cluster, settings, refused))
        for device in devices
    )


def _own(cluster: Cluster, settings: Settings, refused: Collection[ObjectName]) -> Iterator[Address]:
    return (one.address for one in placements(cluster, settings, refused) if one.node == settings.node_name)


def placements(cluster: Cluster, settings: Settings, refused: Collection[ObjectName] = ()) -> Iterator[Placement]:
    """Which node announces each address; those *refused* have none, as nobody serves them.

    Of an address that several Services have, the one that goes before the others says which nodes may have it, as
    frontends are given: a balancer's address before what somebody writes, and then the older; a node's is its own.
    """
    seen = set(_nodes_own(cluster))
    live = _live(cluster, settings)
    asking = [
        (is_written, service.created, service.name, address)
        for service in cluster.services.values()
        if service.name not in refused
        for is_written, address in _addresses(service, settings)
    ]
    for _, _, name, address in sorted(asking, key=itemgetter(0, 1, 2)):
        if address in seen:
            continue
        seen.add(address)
        service, nodes = cluster.services[name], live
        if service.external_local:
            nodes = _with_endpoints(nodes, service, cluster.slices.get(name, ()), family(address))
        yield Placement(address, name, announcer(address, nodes))


def _live(cluster: Cluster, settings: Settings) -> frozenset[str]:
    """The nodes that announce."""
    return frozenset(name for name in cluster.announcers if not why_left_out(cluster, name, settings))


def why_left_out(cluster: Cluster, node: str, settings: Settings) -> str:
    """Why a node that is live announces nothing all the same; empty where it does."""
    if node not in cluster.nodes and "Node" not in cluster.listed:
        return ""  # nobody has looked
    return why_gone(cluster.nodes.get(node), ignores_excluded=settings.ignores_excluded)


def has_same_announcers(cluster: Cluster, old: Cluster, settings: Settings) -> bool:
    """Whether the nodes that announce are those that did."""
    is_same = cluster.announcers is old.announcers and cluster.nodes is old.nodes and cluster.listed is old.listed
    return is_same or _live(cluster, settings) == _live(old, settings)


def _nodes_own(cluster: Cluster) -> frozenset[Address]:
    """Addresses of nodes, and all that this node has: these are announced as nobody's."""
    return cluster.node_ips.union(ip for device in cluster.local.devices for ip in device.addresses)


def has_same_own(cluster: Cluster, old: Cluster) -> bool:
    """Whether nodes have the addresses that they had."""
    is_same = cluster.nodes is old.nodes and cluster.local.devices is old.local.devices
    return is_same or _nodes_own(cluster) == _nodes_own(old)


def has_same_places(cluster: Cluster, old: Cluster, settings: Settings) -> bool:
    """Whether endpoints that changed leave each Service the nodes that may have its addresses."""
    found = {name: cluster.services.get(name) for name in changed(old.slices, cluster.slices)}
    local = {name: one for name, one in found.items() if one is not None and one.external_local}
    live = _live(cluster, settings) if local else frozenset()
    return all(
        _with_endpoints(live, one, cluster.slices.get(name, ()), of)
        == _with_endpoints(live, one, old.slices.get(name, ()), of)
        for name, one in local.items()
        for of in Family
    )


def _addresses(service: Service, settings: Settings) -> Iterator[tuple[bool, Address]]:
    """Those of the kinds that are announced, and whether somebody wrote them: what is not served is not."""
    has_external = settings.l2_announce is L2Announce.EXTERNAL
    for field, ip in served_outside(service, settings.public_ranges):
        is_written = not field.startswith(BALANCERS)
        if has_external or not is_written:
            yield is_written, ip


def _with_endpoints(
    nodes: frozenset[str], service: Service, slices: Iterable[EndpointSlice], of: Family
) -> frozenset[str]:
    """Those of the nodes that serve who is sent to them, as endpoints are chosen there; all, where none does."""
    states = tuple(state for one in slices if one.family is of for state in one.states)
    ready = frozenset(state.node for state in states if state.ready or service.publish_not_ready)
    ending = frozenset(state.node for state in states if state.serving and state.terminating)
    return nodes & ready or nodes & ending or nodes


def announced_records(
    found: frozenset[Announcement], settings: Settings, before: Mapping[Owner, Records]
) -> dict[Owner, Records]:
    """The records of what is announced, where they are others than before."""
    if settings.l2_announce is L2Announce.OFF:
        return {}
    owner = Owner(OwnerKind.ANNOUNCED, settings.node_name)
    made = Records.of(
        {
            "announced": {
                abi.AnnouncedKey(mapped(one.address), one.ifindex).pack(): abi.Announced(one.mac, 0).pack()
                for one in sorted(found, key=lambda one: (mapped(one.address), one.ifindex))
            },
        }
    )
    return {} if made == before.get(owner, NOTHING) else {owner: made}
