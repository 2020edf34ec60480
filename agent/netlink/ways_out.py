"""The devices by which a namespace's default routes lead out, and where others lead."""

import socket
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from agent.model.address import Address, Network
from agent.netlink.dump import Dump
from agent.netlink.rtnetlink import (
    ROUTE,
    RT_TABLE_UNSPEC,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_GETROUTE,
    RTN_UNICAST,
    RTNH_F_ONLINK,
    attribute,
    number,
)

_HOP = struct.Struct("=Hxxi")  # struct rtnexthop: length, ifindex
_OCTETS: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
_OF_ITSELF = frozenset({1, 2, 9})  # RTPROT_REDIRECT, _KERNEL and _RA: of addresses, and of what routers say


@dataclass(frozen=True, slots=True)
class ByGateway:
    """A route by one gateway."""

    network: Network
    gateway: Address
    ifindex: int


def main_routes(dump: Dump) -> tuple[bytes, ...]:
    """The main table's routes of both families.

    Raises:
        OSError: the kernel did not answer.
    """
    return tuple(body for family in _OCTETS for body in dump.routes(family))


def default_route_devices(routes: Iterable[bytes]) -> Iterator[int]:
    """The output devices of all default routes, those of a multipath route too."""
    for body in routes:
        if not ROUTE.unpack_from(body)[1]:  # its prefix length
            yield from _devices(body)


def by_gateways(routes: Iterable[bytes], passed_over: Collection[int]) -> Iterator[ByGateway]:
    """The routes by one gateway that the kernel finds by other routes, but those of protocols that are *passed_over*.

    Of several to one destination the first alone counts, as with the kernel.
    """
    first: dict[tuple[int, int, bytes], tuple[int, bytes]] = {}
    for body in routes:
        family, length, _, _, _, protocol, *_ = ROUTE.unpack_from(body)
        if protocol not in passed_over:
            key, metric = (family, length, attribute(body, ROUTE.size, RTA_DST)), _metric(body)
            if key not in first or metric < first[key][0]:
                first[key] = metric, body
    for (family, length, destination), (_, body) in first.items():
        *_, kind, flags = ROUTE.unpack_from(body)
        gateway, output = attribute(body, ROUTE.size, RTA_GATEWAY), attribute(body, ROUTE.size, RTA_OIF)
        if kind == RTN_UNICAST and gateway and output and not flags & RTNH_F_ONLINK:
            network = ip_network((destination or bytes(_OCTETS[family]), length))
            yield ByGateway(network, ip_address(gateway), number(output))


def _metric(body: bytes) -> int:
    return number(attribute(body, ROUTE.size, RTA_PRIORITY))


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
