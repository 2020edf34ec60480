"""Hears on rtnetlink when something that the agent keeps in the node's network is taken away, so that it comes back.

Only headers and the few attributes that tell whose it is are read. What is right is for the kernel layer to compare:
a notice is but the sign to look, and so is an overrun.
"""

import os
import select
from collections.abc import Callable, Collection, Iterable, Iterator
from threading import Thread

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
    RTM_NEWROUTE,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    RTMGRP_NEIGH,
    attribute,
    text,
)

log = logger(__name__)

GATHER_S = 0.05  # a pod that comes or goes is a dozen notices: one wake for them all
SETTLE_S = 0.1  # what the agent itself removes is no drift when it has been forgotten by then
RETRY_S = 1.0

GROUPS = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE

Token = str | bytes  # a device's name, or an address in network byte order
KEPT = "kept"  # a route to another node's pods: always ours


class DriftWatch:
    """One thread, in the network namespace of the caller of :meth:`start`.

    *kept* tells which devices' names and pods' addresses of the moment are to be kept; *look* is called when one of
    them lost something.
    """

    def __init__(self, kept: Callable[[], Collection[Token]], look: Callable[[], None]) -> None:
        self._kept = kept
        self._look = look
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_stopping = False
        self._thread = Thread(target=self._run, name="watch-drift", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._is_stopping = True
        os.write(self._waker, b"\0")
        self._thread.join(timeout_s)
        os.close(self._wake)
        os.close(self._waker)

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                with Notices(GROUPS) as notices:
                    self._follow(notices)
            except OSError as error:
                log.warning("netlink failed; tried again", why=error)
                select.select([self._wake], [], [], RETRY_S)

    def _follow(self, notices: Notices) -> None:
        while not self._is_stopping:
            if not notices.wait(self._wake, gather_s=GATHER_S):
                continue
            if not (lost := lost_by(notices.read())):
                continue
            select.select([self._wake], [], [], SETTLE_S)
            lost |= lost_by(notices.read())
            if KEPT in lost or not lost.isdisjoint(self._kept()):
                self._look()


def lost_by(notices: Iterable[Notice]) -> set[Token]:
    """Who may have lost something."""
    return {token for notice in notices for token in _lost_by(*notice)}


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
