"""The way out of a pod with several interfaces: its first one's, unless its annotation says otherwise.

What plugins have set beside it is taken away. Where another interface is asked to be the way out, the cluster is still
reached by the first: its ranges, and whoever asks the first one's address, are routed there; its own default route
stays behind, less preferred, for when the other is down. The kernel takes a device's routes away when it goes down, and
does not bring them back: so somebody looks at them from time to time.
"""

import errno
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

from agent.model.address import ANY, Address, Family, Network
from agent.model.network import AFXDP, VETH
from agent.netlink import requests
from agent.netlink.batch import SetSysctl, run_batch
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import RouteKey, netdevs, routes_of
from agent.netlink.netns import NetnsHandle, NoSuchNetns, open_netns
from agent.netlink.requests import FAMILIES, Request
from agent.netlink.rtnetlink import (
    ROUTE,
    RT_TABLE_MAIN,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PRIORITY,
    attribute,
    number,
)
from agent.pods.errors import NetworkFailed
from agent.pods.network_record import InterfaceRecord, NetworkSet
from agent.pods.plugin import CONFIG
from agent.pods.pod_rules import rules
from agent.pods.veth_check import addresses_of
from agent.pods.veth_spec import HOST_MAC, gateway, table_of

BEHIND = 4096  # metric of a first interface's default route that another goes before
NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length with its attributes, flags, hops, ifindex
_Way = Address | Network  # of which the family counts
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL})  # of a gateway that is on no subnet there
METRIC = {4: 0, 6: 1024}  # of a route that is set without one: IP6_RT_PRIO_USER, net/ipv6_route.h


class Routed(Protocol):
    """:class:`PodRoutes`, or a test's."""

    def __call__(self, owner: NetworkSet, routed: Iterable[InterfaceRecord]) -> None:
        """Set a pod's ways out; *routed* are the interfaces that are asked to be one."""


class KeptRoutes(Protocol):
    """:class:`PodRoutes`, or a test's, as far as it looks after what it has set."""

    def lost(self, owner: NetworkSet, routed: Iterable[InterfaceRecord]) -> tuple[Network, ...]:
        """Where no route leads any more."""

    def repair(self, owner: NetworkSet, routed: Iterable[InterfaceRecord]) -> tuple[Network, ...]:
        """That again."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A route that a pod with another way out has."""

    key: RouteKey
    device: int
    set_it: tuple[Request, ...]


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
                    raise NetworkFailed(f"default-route: no plugin made {one.interface}", CONFIG)
                try:
                    self._lead_out(netns, owner, first.index, _out(one, link.index, way), own)
                except OSError as error:
                    text = f"default-route: {way} is no way out by {one.interface} of {one.network}: {error}"
                    raise NetworkFailed(text, CONFIG if error.errno in _NO_WAY else 0) from error

    def lost(self, owner: NetworkSet, routed: Iterable[InterfaceRecord]) -> tuple[Network, ...]:
        """Which ways out are not there any more, of devices that are there and up; each by its destination.

        One that the pod has by a device of its own is left to that.

        Raises:
            NetworkFailed: that cannot be seen.
        """
        every = self._lost(owner, tuple(routed), sets=False)
        return tuple(one for one in every if not one.prefixlen)  # a range of the cluster's may be younger than the pod

    def repair(self, owner: NetworkSet, routed: Iterable[InterfaceRecord]) -> tuple[Network, ...]:
        """Set those again, and what else of :meth:`__call__` is missing; where all that leads.

        Raises:
            NetworkFailed: they cannot be seen, or the kernel refused; the rest was tried.
        """
        return self._lost(owner, tuple(routed), sets=True)

    def _lost(self, owner: NetworkSet, routed: tuple[InterfaceRecord, ...], *, sets: bool) -> tuple[Network, ...]:
        try:
            with open_netns(owner.netns, may_be_host=True) as netns:
                if owner.netns_cookie not in {0, netns.cookie}:
                    return ()
                missing = tuple(self._missing(netns, owner, routed))
                if missing and sets:
                    netns.pod.ask(*(each for one in missing for each in one.set_it))
                return tuple(one.key[0] for one in missing)
        except NoSuchNetns:
            return ()
        except OSError as error:
            raise NetworkFailed(f"the routes of {owner.netns} cannot be kept: {error}") from error

    def _missing(self, netns: NetnsHandle, owner: NetworkSet, routed: tuple[InterfaceRecord, ...]) -> Iterator[_Wanted]:
        devices = {one.name: one for one in netdevs(Dump(netns.pod)) if one.is_up}
        first = devices.get(owner.interface)
        dump = Dump(netns.pod)
        there = {route for kind in FAMILIES.values() for route in routes_of(dump, kind)}
        own = addresses_of(dump, first.index) if first is not None else ()
        for one in routed:
            if (other := devices.get(one.interface)) is None:
                continue
            for way in map(ip_address, one.default_route):
                wanted = [_out(one, other.index, way)]
                if first is not None:
                    wanted += self._to_cluster(owner, first.index, way, own)
                beside = first.index if first is not None else 0
                yield from (one for one in wanted if not _is_there(one, there, beside))

    def _lead_out(
        self, netns: NetnsHandle, owner: NetworkSet, first: int, out: _Wanted, own: Iterable[Address]
    ) -> None:
        """Have the pod go out by *out*, and to the cluster by the device *first*."""
        way = out.key[0]
        asked = [each for one in self._to_cluster(owner, first, way, own) for each in one.set_it]
        if asked:
            table = table_of(owner.container_id, owner.interface)
            there = rules(netns)  # of when it was led out before
            mine = _of_family(own, way)
            asked += [requests.add_rule(one, table) for one in mine if (one.packed, table) not in there]
        netns.pod.ask(*asked, *out.set_it)

    def _to_cluster(self, owner: NetworkSet, first: int, way: _Way, own: Iterable[Address]) -> Iterator[_Wanted]:
        """What leads to the cluster by the device *first* of a pod that goes out by *way*; nothing of another's."""
        mine = _of_family(own, way)
        if not mine or owner.replaces_first:
            return
        near, any_of = gateway(mine[0]), ANY[way.version]
        table, own_metric = table_of(owner.container_id, owner.interface), METRIC[way.version]
        yield _Wanted((any_of, table, own_metric), first, (requests.set_default_route(first, near, table),))
        for one in self._cluster():
            if one.version == way.version:
                key = one, RT_TABLE_MAIN, own_metric
                yield _Wanted(key, first, (requests.set_route_onlink(one, first, near),))
        key = any_of, RT_TABLE_MAIN, BEHIND
        yield _Wanted(key, first, (requests.set_route_onlink(any_of, first, near, BEHIND),))


def _of_family(own: Iterable[Address], way: _Way) -> list[Address]:
    """The addresses of a first interface that go by a way out of *way*'s family."""
    return [one for one in own if one.version == way.version and not one.is_link_local]


def _out(one: InterfaceRecord, device: int, way: Address) -> _Wanted:
    """The way out by another device; at the other end of a veth of ours is the node, whatever gateway is named."""
    any_of = ANY[way.version]
    key = any_of, RT_TABLE_MAIN, METRIC[way.version]
    route = requests.set_route_onlink(any_of, device, way)
    if one.own_kind not in {VETH, AFXDP}:
        return _Wanted(key, device, (route,))
    return _Wanted(key, device, (requests.set_neighbour(device, way, HOST_MAC), route))


def _is_there(one: _Wanted, there: Collection[tuple[RouteKey, int]], first: int) -> bool:
    """Whether a pod has such a route; by its first interface only where that is whose it is."""
    return any(key == one.key and (device != first or one.device == first) for key, device in there)


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
