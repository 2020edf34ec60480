"""The node's side of a pod's wire: device up, a route and a permanent neighbour per address; laid once, and kept.

The MTU of both ends follows the node's uplinks for as long as the pod lives.

``agent.pods`` lays it within ADD. The reconcile loop has it looked at again when netlink tells that something of it
went, so that a node always reaches its pods.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from fcntl import ioctl

from agent.kernel.net.routes import METRIC, PROTOCOL
from agent.log import logger
from agent.model.address import Address, Family
from agent.model.attachment import Attachment
from agent.netlink import netns, requests
from agent.netlink.cookie import netns_cookie
from agent.netlink.dump import Dump
from agent.netlink.requests import NUD_PERMANENT
from agent.netlink.rtnetlink import (
    LINK,
    NDA_DST,
    NDA_LLADDR,
    NEIGHBOUR,
    ROUTE,
    RTA_DST,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    WITHOUT_STATISTICS,
    attribute,
    number,
)
from agent.netlink.socket import IFF_UP, Request, Socket

log = logger(__name__)

FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
SIOCSIFMTU = 0x8922
IFREQ = struct.Struct("16si20x")  # struct ifreq: the name, the MTU
_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOENT})
Place = tuple[bytes, int]  # an address, and the device it is behind


def side(index: int, mac: str, wanted: Iterable[Address]) -> Iterator[Request]:
    """Route and neighbour for each address of a pod; *index* is the node's end, *mac* the pod's."""
    for address in wanted:
        yield requests.set_neighbour(index, address, mac)
        yield requests.set_route(index, address, PROTOCOL)


def mend(attachments: Iterable[Attachment]) -> tuple[str, ...]:
    """Lay again what is missing; the devices where something was. A device that is gone is nobody's to mend.

    Raises:
        OSError: the kernel refused.
    """
    with Dump() as dump:
        up, routes, neighbours = _up(dump), _routes(dump), _neighbours(dump)
    mended = []
    for attachment in attachments:
        index, mac, wanted = attachment.link.ifindex, attachment.mac, attachment.addresses
        places = {(address.packed, index) for address in wanted}
        near = {(*place, bytes.fromhex(mac.replace(":", ""))) for place in places}
        if index in up and places <= routes and near <= neighbours:
            continue
        try:
            with Socket() as sender:
                sender.ask(requests.set_up(index), *side(index, mac, wanted))
        except OSError as error:
            if error.errno not in _GONE:
                raise
        else:
            mended.append(attachment.link.host_device)
            log.warning(
                "somebody took away a pod's route, neighbour or link; put back", device=attachment.link.host_device
            )
    return tuple(mended)


def resize(attachments: tuple[Attachment, ...], mtu: int) -> Mapping[str, str]:
    """Have this MTU on both ends of each wire; what the kernel refused, by device, with its reason.

    The node's end is the last: where it has the MTU, so has the pod's. A pod that is gone is nobody's to resize.
    """
    sizes, failed = _sizes(attachments), {}
    for attachment in attachments:
        if sizes.get(attachment.link.ifindex, mtu) == mtu:
            continue
        try:
            _resize(attachment, mtu)
        except OSError as error:
            if error.errno not in _GONE:
                failed[attachment.link.host_device] = str(error)
        else:
            log.info("MTU of a pod follows the node's", device=attachment.link.host_device, mtu=mtu)
    return failed


def _sizes(attachments: Iterable[Attachment]) -> dict[int, int]:
    """The MTU of the node's ends; asked for one by one, since a dump is dear where few pods have come to many."""
    with Socket() as asking:
        found = {a.link.ifindex: asking.find(index=a.link.ifindex) for a in attachments}
    return {ifindex: link.mtu for ifindex, link in found.items() if link is not None}


def _resize(attachment: Attachment, mtu: int) -> None:
    """The pod's end, if the path of its namespace still leads there; then the node's."""
    with netns.inside(attachment.netns):
        is_there = netns_cookie() == attachment.netns_cookie
        if is_there:
            _set_mtu(attachment.interface, mtu)
    if is_there:
        _set_mtu(attachment.link.host_device, mtu)


def _set_mtu(device: str, mtu: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
        ioctl(asking, SIOCSIFMTU, IFREQ.pack(device.encode(), mtu))


def _up(dump: Dump) -> set[int]:
    """The links that are up."""
    every = (LINK.unpack_from(body) for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS))
    return {index for _, _, index, flags, _ in every if flags & IFF_UP}


def _routes(dump: Dump) -> set[Place]:
    """Routes of ours to one address each; those to other nodes' pods have a metric of their own."""
    found = set()
    for family in FAMILIES.values():
        for body in dump.read(RTM_GETROUTE, bytes((family,)) + bytes(ROUTE.size - 1)):
            if ROUTE.unpack_from(body)[5] == PROTOCOL and number(attribute(body, ROUTE.size, RTA_PRIORITY)) != METRIC:
                found.add((attribute(body, ROUTE.size, RTA_DST), number(attribute(body, ROUTE.size, RTA_OIF))))
    return found


def _neighbours(dump: Dump) -> set[tuple[bytes, int, bytes]]:
    """Neighbours that are known for good."""
    found = set()
    for family in FAMILIES.values():
        for body in dump.read(RTM_GETNEIGH, bytes((family,)) + bytes(NEIGHBOUR.size - 1)):
            _, index, state, *_ = NEIGHBOUR.unpack_from(body)
            if state & NUD_PERMANENT:
                address, mac = (attribute(body, NEIGHBOUR.size, kind) for kind in (NDA_DST, NDA_LLADDR))
                found.add((address, index, mac))
    return found
