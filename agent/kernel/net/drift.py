"""Hears on rtnetlink when something that the agent keeps in the node's network is taken away, so that it comes back.

Only headers and the few attributes that tell whose it is are read. What is right is for the kernel layer to compare:
a notice is but the sign to look, and so is an overrun.
"""

import contextlib
import socket
from collections.abc import Callable, Collection, Iterable, Iterator

from agent.kernel.net.routes import METRIC, PROTOCOL
from agent.log import logger
from agent.netlink.notices import Notice, Notices
from agent.netlink.rtnetlink import (
    ALL_FLAGS,
    IFF_UP,
    IFLA_IFNAME,
    LINK,
    NDA_DST,
    NEIGHBOUR,
    NETCONF,
    NETCONFA_FORWARDING,
    NETCONFA_IFINDEX,
    NETCONFA_IFINDEX_ALL,
    NETCONFA_IFINDEX_DEFAULT,
    NETCONFA_RP_FILTER,
    NLM_F_REPLACE,
    NLMSG_OVERRUN,
    NUD_PERMANENT,
    NUMBER,
    ROUTE,
    RTA_DST,
    RTA_PRIORITY,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWNETCONF,
    RTM_NEWROUTE,
    RTMGRP_IPV4_NETCONF,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_NETCONF,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    RTMGRP_NEIGH,
    attribute,
    number,
    text,
)
from agent.threads import Threads, Worker

log = logger(__name__)

GATHER_S = 0.05  # a pod that comes or goes is a dozen notices: one wake for them all
SETTLE_S = 0.1  # what the agent itself removes is no drift when it has been forgotten by then
RETRY_S = 1.0

SYSCTLS = RTMGRP_IPV4_NETCONF | RTMGRP_IPV6_NETCONF  # the two kinds that the kernel tells of: see _sysctls()
GROUPS = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | SYSCTLS

Token = str | bytes  # a device's name, or an address in network byte order
KEPT = "kept"  # what is always ours: a route to another node's pods, a sysctl of the whole node


class DriftWatch:
    """One thread, in the network namespace of the caller of :meth:`start`.

    *kept* tells which devices' names and pods' addresses of the moment are to be kept; *look* is called when one of
    them lost something.
    """

    def __init__(self, kept: Callable[[], Collection[Token]], look: Callable[[], None], threads: Threads) -> None:
        self._kept = kept
        self._look = look
        self._worker = Worker(threads, "watch-drift", self._run)

    def start(self) -> None:
        """Begin to listen."""
        self._worker.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._worker.is_stopping:
            try:
                with Notices(GROUPS) as notices:
                    self._follow(notices)
            except OSError as error:
                log.warning("netlink failed; tried again", why=error)
                self._worker.pause(RETRY_S)

    def _follow(self, notices: Notices) -> None:
        while not self._worker.is_stopping:
            if not notices.wait(self._worker.wake, gather_s=GATHER_S):
                continue
            if not (lost := lost_by(notices.read())):
                continue
            self._worker.pause(SETTLE_S)
            lost |= lost_by(notices.read())
            if KEPT in lost or not lost.isdisjoint(self._kept()):
                self._look()


def lost_by(notices: Iterable[Notice]) -> set[Token]:
    """Who may have lost something."""
    heard = tuple(notices)
    lost = {token for notice in heard for token in _lost_by(*notice)}
    return lost.union(_sysctls(body for kind, _, body in heard if kind == RTM_NEWNETCONF))


def _sysctls(bodies: Iterable[bytes]) -> Iterator[Token]:
    """Whose packets are filtered by their way back, or whether none are forwarded, as the last notice of each says.

    A device that comes has what new ones have until ADD has set its own, of which there is a notice too. Where what new
    ones have is set, devices of which nobody has set it follow (devinet_copy_dflt_conf()), and the kernel says nothing.
    """
    last: dict[tuple[int, int, int], bool] = {}  # by family, device and sysctl: whether that is lost
    for body in bodies:
        index = number(attribute(body, NETCONF.size, NETCONFA_IFINDEX))
        filters = attribute(body, NETCONF.size, NETCONFA_RP_FILTER)
        forwards = attribute(body, NETCONF.size, NETCONFA_FORWARDING)
        if filters:
            last[body[0], index, NETCONFA_RP_FILTER] = number(filters) != 0
        if forwards and index == NETCONFA_IFINDEX_ALL:
            last[body[0], index, NETCONFA_FORWARDING] = number(forwards) == 0
    for _, index, _ in (key for key, is_lost in last.items() if is_lost):
        if index in {NETCONFA_IFINDEX_ALL, NETCONFA_IFINDEX_DEFAULT}:
            yield KEPT
        else:
            with contextlib.suppress(OSError):  # it is gone
                yield socket.if_indextoname(index)


def _lost_by(kind: int, flags: int, body: bytes) -> Iterator[Token]:
    if kind == NLMSG_OVERRUN:
        yield KEPT
    elif kind in {RTM_NEWROUTE, RTM_DELROUTE}:
        yield from _route(kind, flags, body)
    elif kind in {RTM_NEWNEIGH, RTM_DELNEIGH}:
        if kind == RTM_DELNEIGH or not NEIGHBOUR.unpack_from(body)[2] & NUD_PERMANENT:
            yield attribute(body, NEIGHBOUR.size, NDA_DST)
    elif kind in {RTM_NEWLINK, RTM_DELLINK} and (kind == RTM_DELLINK or _went_down(body)):
        yield text(attribute(body, LINK.size, IFLA_IFNAME))


def _went_down(link: bytes) -> bool:
    """Whether a device was set down; one that is being made, which is not up either, says that all has changed."""
    *_, flags, change = LINK.unpack_from(link)
    return not flags & IFF_UP and bool(change & IFF_UP) and change != ALL_FLAGS


def _route(kind: int, flags: int, body: bytes) -> Iterator[Token]:
    """Ours that went, or somebody else's that may have taken the place of ours."""
    is_ours = ROUTE.unpack_from(body)[5] == PROTOCOL
    if is_ours if kind == RTM_DELROUTE else not is_ours and flags & NLM_F_REPLACE:
        is_to_nodes = attribute(body, ROUTE.size, RTA_PRIORITY) == NUMBER.pack(METRIC)
        yield KEPT if is_to_nodes else attribute(body, ROUTE.size, RTA_DST)
