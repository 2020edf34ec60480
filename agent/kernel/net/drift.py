"""Hears on rtnetlink when something that the agent keeps in the node's network is taken away, so that it comes back.

Only headers and the few attributes that tell whose it is are read. What is right is for the kernel layer to compare:
a notice is but the sign to look, and so is an overrun.
"""

import errno
import socket
import struct
from collections.abc import Callable, Collection, Iterator

from agent.kernel.net.routes import METRIC, PROTOCOL
from agent.log import logger
from agent.netlink.rtnetlink import (
    IFLA_IFNAME,
    LINK,
    NDA_DST,
    NEIGHBOUR,
    READ,
    ROOM,
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
    SO_RCVBUFFORCE,
    attribute,
    messages,
    text,
)
from agent.threads import Threads, Worker

log = logger(__name__)

GATHER_S = 0.05  # a pod that comes or goes is a dozen notices: one wake for them all
SETTLE_S = 0.1  # what the agent itself removes is no loss when it has been forgotten by then
RETRY_S = 1.0

GROUPS = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE
# linux/rtnetlink.h, linux/neighbour.h, linux/netlink.h, linux/if.h
NLM_F_REPLACE = 0x100
NUD_PERMANENT = 0x80
IFF_UP, ALL_FLAGS = 0x1, 0xFFFFFFFF

Token = str | bytes  # a device's name, or an address as the wire has it
KEPT = "kept"  # a route to another node's pods: always ours


class Losses:
    """One thread, in the network namespace of the caller of :meth:`start`.

    *kept* tells which devices' names and pods' addresses of the moment are to be kept; *look* is called when one of
    them lost something.
    """

    def __init__(self, kept: Callable[[], Collection[Token]], look: Callable[[], None], threads: Threads) -> None:
        self._kept = kept
        self._look = look
        self._worker = Worker(threads, "watch-losses", self._run)

    def start(self) -> None:
        """Begin to listen."""
        self._worker.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._worker.is_stopping:
            try:
                with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as s:
                    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
                    s.bind((0, GROUPS))
                    s.setblocking(False)  # noqa: FBT003  the standard library's signature
                    self._follow(s)
            except OSError as error:
                log.warning("netlink failed; tried again", why=error)
                self._worker.pause(RETRY_S)

    def _follow(self, notices: socket.socket) -> None:
        while not self._worker.is_stopping:
            self._worker.wait(notices.fileno())
            self._worker.pause(GATHER_S)
            if not (lost := self._read(notices)):
                continue
            self._worker.pause(SETTLE_S)
            lost |= self._read(notices)
            if KEPT in lost or not lost.isdisjoint(self._kept()):
                self._look()

    def _read(self, notices: socket.socket) -> set[Token]:
        """What was lost by all notices that are there."""
        found: set[Token] = set()
        while True:
            try:
                found.update(losses(notices.recv(READ)))
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found.add(KEPT)  # notices were lost


def losses(content: bytes) -> Iterator[Token]:
    """Who may have lost something, by each message of one read."""
    for kind, flags, body in messages(content):
        if kind in {RTM_NEWROUTE, RTM_DELROUTE}:
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
    """Ours that went, or a stranger's that may have taken the place of ours."""
    is_ours = ROUTE.unpack_from(body)[5] == PROTOCOL
    if is_ours if kind == RTM_DELROUTE else not is_ours and flags & NLM_F_REPLACE:
        is_between = attribute(body, ROUTE.size, RTA_PRIORITY) == struct.pack("=I", METRIC)
        yield KEPT if is_between else attribute(body, ROUTE.size, RTA_DST)
