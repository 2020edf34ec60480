"""The devices by which a namespace's default routes lead out, and where others lead."""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_network

from agent.netlink.dump import Dump
from agent.netlink.rtnetlink import (
    ROUTE,
    RT_TABLE_UNSPEC,
    RTA_DST,
    RTA_MULTIPATH,
    RTA_OIF,
    RTM_GETROUTE,
    attribute,
    number,
)

_HOP = struct.Struct("=Hxxi")  # struct rtnexthop: length, ifindex
_OCTETS = {socket.AF_INET: 4, socket.AF_INET6: 16}
_OF_ITSELF = frozenset({1, 2, 9})  # RTPROT_REDIRECT, _KERNEL and _RA: of addresses, and of what routers say


def default_route_devices(dump: Dump) -> Iterator[int]:
    """The output devices of all default routes of the main table, those of a multipath route too.

    Raises:
        OSError: the kernel did not answer.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        for body in dump.routes(family):
            if not ROUTE.unpack_from(body)[1]:  # its prefix length
                yield from _devices(body)


def routes_out_of(dump: Dump, device: int) -> tuple[str, ...]:
    """Where routes lead that leave by the device of this number and that somebody has set, of all tables.

    Those that the kernel makes of itself it makes again.

    Raises:
        OSError: the kernel did not answer.
    """
    found = []
    for family, octets in _OCTETS.items():
        for body in dump.read(RTM_GETROUTE, ROUTE.pack(family, 0, 0, 0, RT_TABLE_UNSPEC, 0, 0, 0, 0)):
            kind, length, _, _, _, protocol, *_ = ROUTE.unpack_from(body)
            if kind == family and protocol not in _OF_ITSELF and device in _devices(body):
                found.append(str(ip_network((attribute(body, ROUTE.size, RTA_DST) or bytes(octets), length))))
    return tuple(dict.fromkeys(found))


def _devices(body: bytes) -> Iterator[int]:
    """The output devices of a route, each way of several."""
    if output := attribute(body, ROUTE.size, RTA_OIF):
        yield number(output)
    hops = attribute(body, ROUTE.size, RTA_MULTIPATH)
    while hops:
        size, index = _HOP.unpack_from(hops)
        yield index
        hops = hops[size:]
