"""The way out of a pod with several interfaces: its first one's, unless its annotation says otherwise.

What plugins have set beside it is taken away. Where another interface is asked to be the way out, the cluster is still
reached by the first: its ranges, and whoever asks the first one's address, are routed there; its own default route
stays behind, less preferred, for when the other is down.
"""

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Protocol

from agent.model.address import Address, Family, Network
from agent.netlink import requests
from agent.netlink.batch import SetSysctl, run_batch
from agent.netlink.dump import Dump
from agent.netlink.netns import NetnsHandle, NoSuchNetns, open_netns
from agent.netlink.requests import FAMILIES
from agent.netlink.rtnetlink import (
    ROUTE,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PRIORITY,
    attribute,
    number,
)
from agent.pods.errors import NetworkFailed
from agent.pods.network_record import InterfaceRecord, NetworkSet
from agent.pods.pod_rules import rules
from agent.pods.veth_check import addresses_of
from agent.pods.veth_spec import gateway, table_of

BEHIND = 4096  # metric of a first interface's default route that another goes before
NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length with its attributes, flags, hops, ifindex
ANY = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class Routed(Protocol):
    """:class:`PodRoutes`, or a test's."""

    def __call__(self, owner: NetworkSet, routed: Iterable[InterfaceRecord]) -> None:
        """Set a pod's ways out; *routed* are the interfaces that are asked to be one."""


class PodRoutes:
    """Sets routes in pods' namespaces."""

    def __init__(self, cluster: Callable[[], Iterable[Network]]) -> None:
        """*cluster* gives the ranges that are reached by a pod's first interface, whatever its way out."""
        self._cluster = cluster

    def __call__(self, owner: NetworkSet, routed: Iterable[InterfaceRecord]) -> None:
        """Set a pod's ways out.

        Raises:
            NetworkFailed: the namespace is gone, or the kernel refused.
        """
        try:
            with open_netns(owner.netns, may_be_host=True) as netns:
                self._set(netns, owner, tuple(routed))
        except (NoSuchNetns, OSError) as error:
            raise NetworkFailed(f"the routes of {owner.netns} cannot be set: {error}") from error

    def _set(self, netns: NetnsHandle, owner: NetworkSet, routed: tuple[InterfaceRecord, ...]) -> None:
        first = netns.pod.find(name=owner.interface)
        if first is None:
            return
        dump = Dump(netns.pod)
        own = addresses_of(dump, first.index)
        there = {one.interface: netns.pod.find(name=one.interface) for one in routed}
        asked = {
            (link.index, ip_address(way).packed)
            for one in routed
            if (link := there[one.interface]) is not None
            for way in one.default_route
        }
        if _leads_out(_defaults(dump, Family.IPV6), first.index):
            _ignore_routers(netns, owner, routed)
        for family, version in ((Family.IPV4, 4), (Family.IPV6, 6)):
            _take_away(netns, _defaults(dump, family), first.index, version, asked)
        for one in routed:
            for way in map(ip_address, one.default_route):
                if (link := there[one.interface]) is None:
                    raise NetworkFailed(f"default-route: no plugin made {one.interface}")
                self._lead_out(netns, owner, first.index, link.index, way, own)

    def _lead_out(  # noqa: PLR0913, PLR0917  what a route has
        self, netns: NetnsHandle, owner: NetworkSet, first: int, other: int, way: Address, own: Iterable[Address]
    ) -> None:
        """Have the pod go out by *way* on the device *other*, and to the cluster by the device *first*."""
        mine = [one for one in own if one.version == way.version and not one.is_link_local]
        asked = []
        if mine and not owner.replaces_first:
            near, any_of = gateway(mine[0]), ANY[way.version]
            table = table_of(owner.container_id, owner.interface)
            asked.append(requests.set_default_route(first, near, table))
            ranges = (one for one in self._cluster() if one.version == way.version)
            asked += [requests.set_route_onlink(one, first, near) for one in ranges]
            asked.append(requests.set_route_onlink(any_of, first, near, BEHIND))
            there = rules(netns)  # of when it was led out before
            asked += [requests.add_rule(one, table) for one in mine if (one.packed, table) not in there]
        netns.pod.ask(*asked, requests.set_route_onlink(ANY[way.version], other, way))


def _ignore_routers(netns: NetnsHandle, owner: NetworkSet, routed: Iterable[InterfaceRecord]) -> None:
    """Have those that advertise themselves by the pod's further interfaces be no way out, at whatever time.

    But for an interface that is *routed* to be one; addresses of theirs are its network's affair.
    """
    asked = {one.interface for one in routed if any(":" in way for way in one.default_route)}
    others = (one.interface for one in owner.interfaces if one.interface not in {owner.interface, *asked})
    run_batch([SetSysctl(f"/proc/sys/net/ipv6/conf/{name}/accept_ra_defrtr", "0", netns.fd) for name in others])


def _defaults(dump: Dump, family: Family) -> list[bytes]:
    return [body for body in dump.routes(FAMILIES[family]) if not ROUTE.unpack_from(body)[1]]


def _leads_out(defaults: Iterable[bytes], device: int) -> bool:
    return any(index == device for body in defaults for index, _ in _ways(body))


def _take_away(
    netns: NetnsHandle, defaults: Iterable[bytes], first: int, version: int, asked: Collection[tuple[int, bytes]]
) -> None:
    """Remove default routes that lead out of other devices than the first, where that has one.

    Those that are *asked* for, device and gateway, stay.
    """
    ways = {(*way, number(attribute(body, ROUTE.size, RTA_PRIORITY))) for body in defaults for way in _ways(body)}
    if all(index != first for index, _, _ in ways):
        return
    for index, by, metric in sorted(ways):
        if index != first and (index, by) not in asked:
            netns.pod.ask(requests.delete_route(ANY[version], 0, metric, index, ip_address(by) if by else None))


def _ways(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Devices and gateways of a route; the kernel joins routes of IPv6 that differ in nothing else."""
    if index := number(attribute(body, ROUTE.size, RTA_OIF)):
        yield index, attribute(body, ROUTE.size, RTA_GATEWAY)
    hops = attribute(body, ROUTE.size, RTA_MULTIPATH)
    while len(hops) >= NEXT_HOP.size:
        length, _, _, index = NEXT_HOP.unpack_from(hops)
        yield index, attribute(hops[:length], NEXT_HOP.size, RTA_GATEWAY)
        hops = hops[-(-max(length, NEXT_HOP.size) // 4) * 4 :]
