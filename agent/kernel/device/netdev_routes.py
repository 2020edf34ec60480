"""Routes of a device in its pod, beside those that lead out of the pod's other devices, which stay as they are.

By the wire anybody may advertise himself as a router, and be the pod's way out as soon as the device is up; whatever
prefix he says is on the link is routed there. So the kernel is told beforehand what of that it is to follow.

Source: Documentation/networking/ip-sysctl.rst, accept_ra.
"""

import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from agent.log import logger
from agent.model.address import family
from agent.model.netdev import NetdevRoute
from agent.netlink import netdev_requests as requests
from agent.netlink.batch import SetSysctl, run_batch
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import RouteKey
from agent.netlink.netns import NetnsHandle
from agent.netlink.requests import FAMILIES
from agent.netlink.rtnetlink import RT_TABLE_MAIN
from agent.netlink.socket import Socket

log = logger(__name__)

IPV6, IPV6_PRIORITY = 6, 1024  # the kernel's, of a route that has none: IP6_RT_PRIO_USER, net/ipv6_route.h
NO_DEVICE = -1  # no device has this number; 0 is that of a route of several ways
WAY_OUT = ip_network("::/0"), RT_TABLE_MAIN


def limit_routers(there: NetnsHandle, index: int, *, has_addresses: bool) -> None:
    """Have routers on the link of the device *index* not be the way out of a pod that has another.

    Its MTU is what ADD gave it, whatever they say. Where it *has_addresses* of IPAM, they give it none: nobody knows of
    those, and programs drop what is sent from them. Nor do they say then what else is on the link.

    Raises:
        OSError: the kernel refused.
    """
    ignored = ["accept_ra_mtu", *(["accept_ra_pinfo"] if has_addresses else [])]
    others = requests.routes_of_others(Dump(there.pod), index, socket.AF_INET6)
    if any((destination, table) == WAY_OUT for destination, table, _ in others):
        ignored.append("accept_ra_defrtr")
    name = requests.name_of(Dump(there.pod), index)
    run_batch([SetSysctl(f"/proc/sys/net/ipv6/conf/{name}/{key}", "0", there.fd) for key in ignored])


def set_routes(pod: Socket, index: int, routes: Iterable[NetdevRoute]) -> None:
    """Set the routes of the device *index* in a pod; one that leads out of another device already is left to that.

    Raises:
        OSError: the kernel refused.
    """
    wanted = tuple(routes)
    others = frozenset(map(_place, _others(pod, index, wanted)))
    for route in wanted:
        if _place(_key(route)) in others:
            log.info("a route is left out: another device of the pod has it", route=route.destination)
        else:
            pod.ask(requests.add_route(index, route))


def missing_routes(pod: Socket, routes: Iterable[NetdevRoute]) -> tuple[NetdevRoute, ...]:
    """Those of *routes* that a pod has by no device at all.

    Raises:
        OSError: the kernel did not answer.
    """
    wanted = tuple(routes)
    there = frozenset(map(_place, _others(pod, NO_DEVICE, wanted)))
    return tuple(route for route in wanted if _place(_key(route)) not in there)


def _others(pod: Socket, index: int, wanted: Iterable[NetdevRoute]) -> Iterator[RouteKey]:
    for kind in {FAMILIES[family(route.destination)] for route in wanted}:
        yield from requests.routes_of_others(Dump(pod), index, kind)


def _key(route: NetdevRoute) -> RouteKey:
    own = IPV6_PRIORITY if route.destination.version == IPV6 else 0
    return route.destination, route.table or RT_TABLE_MAIN, route.priority or own


def _place(key: RouteKey) -> RouteKey:
    """What one route alone has: by its priority, but for the pod's way out, which goes before no other."""
    destination, table, priority = key
    is_way_out = not destination.prefixlen and table == RT_TABLE_MAIN
    return destination, table, 0 if is_way_out else priority
