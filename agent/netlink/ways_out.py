"""The devices by which a namespace's default routes lead out."""

import socket
import struct
from collections.abc import Iterator

from agent.netlink.dump import Dump
from agent.netlink.rtnetlink import ROUTE, RTA_MULTIPATH, RTA_OIF, attribute, number

_HOP = struct.Struct("=Hxxi")  # struct rtnexthop: length, ifindex


def default_route_devices(dump: Dump) -> Iterator[int]:
    """The output devices of all default routes of the main table, those of a multipath route too.

    Raises:
        OSError: the kernel did not answer.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        for body in dump.routes(family):
            if ROUTE.unpack_from(body)[1]:  # its prefix length
                continue
            if output := attribute(body, ROUTE.size, RTA_OIF):
                yield number(output)
            hops = attribute(body, ROUTE.size, RTA_MULTIPATH)
            while hops:
                size, index = _HOP.unpack_from(hops)
                yield index
                hops = hops[size:]
