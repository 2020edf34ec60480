"""The node's side of a pod's wire: device up, a route and a permanent neighbour per address; laid once, and kept.

``serve.pod_link`` lays it within ADD. The reconcile loop has it looked at again when netlink tells that something of it
went, so that a node always reaches its pods.
"""

import errno
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from agent.kernel import requests
from agent.kernel.netlink import IFF_UP, Request, Socket
from agent.kernel.requests import NUD_PERMANENT
from agent.kernel.routes import METRIC, PROTOCOL
from agent.log import logger
from agent.model.address import Address, Family
from agent.model.local import Attachment

log = logger(__name__)

FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_GONE = frozenset({errno.ENODEV, errno.ENXIO})
Place = tuple[str, int]  # an address, and the device it is behind


def side(index: int, mac: str, wanted: Iterable[Address]) -> Iterator[Request]:
    """Route and neighbour for each address of a pod; *index* is the node's end, *mac* the pod's."""
    for address in wanted:
        yield requests.set_neighbour(index, address, mac)
        yield requests.set_route(index, address, PROTOCOL)


class Wires:
    """The wires of a node's pods, by a netlink socket that stays open."""

    def __init__(self, netlink: Any) -> None:
        self._netlink = netlink

    def mend(self, attachments: Iterable[Attachment]) -> tuple[str, ...]:
        """Lay again what is missing; the devices where something was. A device that is gone is nobody's to mend.

        Raises:
            OSError, NetlinkError: the kernel refused.
        """
        return _mend(self._netlink, attachments)


def _mend(netlink: Any, attachments: Iterable[Attachment]) -> tuple[str, ...]:
    up = {link["index"] for link in netlink.get_links() if link["flags"] & IFF_UP}
    routes, neighbours = _routes(netlink), _neighbours(netlink)
    mended = []
    for attachment in attachments:
        index, wanted = attachment.ifindex, attachment.addresses
        places = {(str(address), index) for address in wanted}
        if index in up and places <= routes and {(*place, attachment.mac) for place in places} <= neighbours:
            continue
        try:
            with Socket() as sender:
                sender.ask(requests.set_up(index), *side(index, attachment.mac, wanted))
        except OSError as error:
            if error.errno not in _GONE:
                raise
        else:
            mended.append(attachment.host_device)
            log.warning("somebody took away a pod's route, neighbour or link; put back", device=attachment.host_device)
    return tuple(mended)


def _routes(netlink: Any) -> set[Place]:
    return {
        (route.get_attr("RTA_DST"), route.get_attr("RTA_OIF"))
        for number in FAMILIES.values()
        for route in netlink.get_routes(family=number, proto=PROTOCOL)
        if route["proto"] == PROTOCOL and route.get_attr("RTA_PRIORITY") != METRIC
    }


def _neighbours(netlink: Any) -> set[tuple[str, int, str]]:
    return {
        (entry.get_attr("NDA_DST"), entry["ifindex"], entry.get_attr("NDA_LLADDR"))
        for number in FAMILIES.values()
        for entry in netlink.get_neighbours(family=number)
        if entry["state"] & NUD_PERMANENT
    }
