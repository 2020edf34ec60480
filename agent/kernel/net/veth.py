"""The node's side of pods' veths: device up, a route and a permanent neighbour per address; made within ADD, and kept.

``agent.pods`` makes it. The reconcile loop has it compared again when netlink tells that something of it went, so that
a node always reaches its pods, and has the MTU of both ends follow the node's uplinks for as long as the pod lives.
A veth at a time, so that a pod that comes meanwhile does not wait for all others.
"""

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agent.errors import AgentError
from agent.kernel.net.routes import METRIC, PROTOCOL
from agent.log import logger
from agent.model.address import Address
from agent.model.attachment import Attachment, Veth
from agent.netlink import requests
from agent.netlink.batch import run_batch
from agent.netlink.dump import Dump
from agent.netlink.netns import NoSuchNetns, open_netns
from agent.netlink.requests import FAMILIES, Request
from agent.netlink.rtnetlink import (
    IFF_UP,
    LINK,
    NDA_DST,
    NDA_LLADDR,
    NEIGHBOUR,
    NUD_PERMANENT,
    ROUTE,
    RTA_DST,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_GETLINK,
    RTM_GETNEIGH,
    WITHOUT_STATISTICS,
    attribute,
    number,
)
from agent.netlink.socket import Socket

log = logger(__name__)

# a page of 4096 octets has room for 3506 beside what XDP and the kernel keep there (veth_xdp_set()); less two VLAN tags
AFXDP_MTU = 3498
SHOWN = 3  # refusals that an error tells of; of more, their number
_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOENT})
Behind = tuple[bytes, int]  # an address, and the ifindex of the device that it is behind


def mtu_of(link: Veth, mtu: int) -> int:
    """What a pod's device has where the others have *mtu*."""
    return min(mtu, AFXDP_MTU) if link.afxdp else mtu


def side(index: int, mac: str, wanted: Iterable[Address]) -> Iterator[Request]:
    """Route and neighbour for each address of a pod; *index* is the node's end, *mac* the pod's."""
    for address in wanted:
        yield requests.set_neighbour(index, address, mac)
        yield requests.set_route(index, address, PROTOCOL)


@dataclass(slots=True)
class _Sides:
    """What the kernel has of all pods' sides."""

    up: set[int] = field(default_factory=set)  # ifindexes
    routes: set[Behind] = field(default_factory=set)  # of ours, to one address each
    neighbours: set[tuple[bytes, int, bytes]] = field(default_factory=set)  # known for good, with their MAC

    def is_whole(self, attachment: Attachment) -> bool:
        index, mac = attachment.link.ifindex, bytes.fromhex(attachment.mac.replace(":", ""))
        behind = {(address.packed, index) for address in attachment.addresses}
        near = {(*each, mac) for each in behind}
        return index in self.up and behind <= self.routes and near <= self.neighbours


class VethRepair:
    """Repairs the node's sides that somebody touched."""

    def __init__(self) -> None:
        self._is_known = False  # nobody touched any since they were compared

    def resync(self) -> None:
        """Something of ours was taken away: compare with the kernel at the next :meth:`apply`."""
        self._is_known = False

    def apply(self, wanted: Iterable[Attachment]) -> Iterator[None]:
        """Set again what is missing, a veth at a time. A device that is gone is nobody's to repair.

        Raises:
            AgentError: the kernel refused some; the others are whole.
        """
        if self._is_known:
            return
        self._is_known = True
        failed: dict[str, str] = {}
        try:
            there = _Sides()
            with Dump() as dump:
                for look in (_look_at_links, _look_at_routes, _look_at_neighbours):
                    look(dump, there)
                    yield
            for attachment in wanted:
                if not there.is_whole(attachment):
                    _repair(attachment, failed)
                    yield
        except BaseException:  # given up in between, too
            self._is_known = False
            raise
        _raise_for(failed, "pods' routes and neighbours not repaired")


class VethMtu:
    """Has both ends of pods' veths have one MTU; remembers which do."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}  # by the ifindex of the node's end

    def resync(self) -> None:
        """Somebody may have set another: compare with the kernel at the next :meth:`apply`."""
        self._done.clear()

    def apply(self, wanted: Iterable[Attachment], mtu: int) -> Iterator[None]:
        """Set *mtu*, a veth at a time. A pod that is gone is nobody's to resize.

        Raises:
            AgentError: some could not be changed, and are tried at the next call; the others are.
        """
        attachments = tuple(wanted)
        wanted_mtu = {a.link.ifindex: mtu_of(a.link, mtu) for a in attachments}
        self._done = {index: own for index, own in wanted_mtu.items() if self._done.get(index) == own}
        failed: dict[str, str] = {}
        with Socket() as node:
            for attachment in attachments:
                index = attachment.link.ifindex
                if index not in self._done:
                    if _resize(node, attachment, wanted_mtu[index], failed):
                        self._done[index] = wanted_mtu[index]
                    yield
        _raise_for(failed, f"MTU {mtu} not set")


def _repair(attachment: Attachment, failed: dict[str, str]) -> None:
    index, device = attachment.link.ifindex, attachment.link.host_device
    try:
        with Socket() as socket:
            socket.ask(requests.set_up(index), *side(index, attachment.mac, attachment.addresses))
    except OSError as error:
        if error.errno not in _GONE:
            failed[device] = str(error)
    else:
        log.warning("somebody took away a pod's route, neighbour or link; put back", device=device)


def _resize(node: Socket, attachment: Attachment, mtu: int, failed: dict[str, str]) -> bool:
    """Whether nothing is left to do. The node's end is the last: where it has the MTU, so has the pod's."""
    link = node.find(index=attachment.link.ifindex)
    if link is None or link.mtu == mtu:
        return True
    try:
        with open_netns(attachment.netns, may_be_host=True) as netns:
            if netns.cookie != attachment.netns_cookie:
                return True  # the path leads elsewhere: the pod is gone
            pod_end = netns.pod.messages(requests.set_mtu(mtu, name=attachment.interface))
            run_batch((pod_end, netns.node.messages(requests.set_mtu(mtu, index=link.index))))
    except NoSuchNetns:
        return True
    except OSError as error:
        if error.errno in _GONE:
            return True
        failed[attachment.link.host_device] = str(error)
        return False
    log.info("MTU of a pod follows the node's", device=attachment.link.host_device, mtu=mtu)
    return True


def _look_at_links(dump: Dump, there: _Sides) -> None:
    every = (LINK.unpack_from(body) for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS))
    there.up.update(index for _, _, index, flags, _ in every if flags & IFF_UP)


def _look_at_routes(dump: Dump, there: _Sides) -> None:
    """Those to other nodes' pods have a metric of their own."""
    for family in FAMILIES.values():
        for body in dump.routes(family, protocol=PROTOCOL):
            if number(attribute(body, ROUTE.size, RTA_PRIORITY)) != METRIC:
                there.routes.add((attribute(body, ROUTE.size, RTA_DST), number(attribute(body, ROUTE.size, RTA_OIF))))


def _look_at_neighbours(dump: Dump, there: _Sides) -> None:
    for family in FAMILIES.values():
        for body in dump.read(RTM_GETNEIGH, bytes((family,)) + bytes(NEIGHBOUR.size - 1)):
            _, index, state, *_ = NEIGHBOUR.unpack_from(body)
            if state & NUD_PERMANENT:
                address, mac = (attribute(body, NEIGHBOUR.size, kind) for kind in (NDA_DST, NDA_LLADDR))
                there.neighbours.add((address, index, mac))


def _raise_for(failed: dict[str, str], what: str) -> None:
    if failed:
        first = "; ".join(f"{device}: {why}" for device, why in list(failed.items())[:SHOWN])
        raise AgentError(f"{what} at {len(failed)} devices, first {first}")
