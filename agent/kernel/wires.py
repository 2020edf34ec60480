"""The node's side of a pod's wire: device up, a route and a permanent neighbour per address; laid once, and kept.

The MTU of both ends follows the node's uplinks for as long as the pod lives.

``serve.pod_link`` lays it within ADD. The reconcile loop has it looked at again when netlink tells that something of it
went, so that a node always reaches its pods.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from fcntl import ioctl
from typing import Any

from agent.cookie import netns_cookie
from agent.kernel import netns, requests
from agent.kernel.netlink import IFF_UP, Request, Socket
from agent.kernel.requests import NUD_PERMANENT
from agent.kernel.routes import METRIC, PROTOCOL
from agent.log import logger
from agent.model.address import Address, Family
from agent.model.local import Attachment

log = logger(__name__)

FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
SIOCSIFMTU = 0x8922
IFREQ = struct.Struct("16si20x")  # struct ifreq: the name, the MTU
_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOENT})
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

    def resize(self, attachments: tuple[Attachment, ...], mtu: int) -> Mapping[str, str]:
        """Have this MTU on both ends of each wire; what the kernel refused, by device, with its reason.

        The node's end is the last: where it has the MTU, so has the pod's. A pod that is gone is nobody's to resize.
        """
        sizes, failed = _sizes(attachments), {}
        for attachment in attachments:
            if sizes.get(attachment.ifindex, mtu) == mtu:
                continue
            try:
                _resize(attachment, mtu)
            except OSError as error:
                if error.errno not in _GONE:
                    failed[attachment.host_device] = str(error)
            else:
                log.info("MTU of a pod follows the node's", device=attachment.host_device, mtu=mtu)
        return failed


def _sizes(attachments: Iterable[Attachment]) -> dict[int, int]:
    """The MTU of the node's ends; asked for one by one, since a dump is dear where few pods have come to many."""
    with Socket() as asking:
        found = {a.ifindex: asking.find(index=a.ifindex) for a in attachments}
    return {ifindex: link.mtu for ifindex, link in found.items() if link is not None}


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


def _resize(attachment: Attachment, mtu: int) -> None:
    """The pod's end, if the path of its namespace still leads there; then the node's."""
    with netns.inside(attachment.netns):
        is_there = netns_cookie() == attachment.netns_cookie
        if is_there:
            _set_mtu(attachment.interface, mtu)
    if is_there:
        _set_mtu(attachment.host_device, mtu)


def _set_mtu(device: str, mtu: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        ioctl(asking, SIOCSIFMTU, IFREQ.pack(device.encode(), mtu))


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
