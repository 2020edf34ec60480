"""Notifications of rtnetlink, sorted into those that may concern the node's own devices and those of pods.

Only fixed headers and a device's name are read; local.py gets the state itself from a dump.
"""

import errno
import select
import socket
from types import TracebackType
from typing import Self

from agent.netlink.rtnetlink import (
    ADDRESS,
    IFLA_IFNAME,
    LINK,
    READ,
    ROOM,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELQDISC,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    RTMGRP_TC,
    SO_RCVBUFFORCE,
    TRAFFIC,
    attribute,
    messages,
    text,
)

GATHER_S = 0.01  # a pod that comes is a dozen notices: one wake for them all
POD_PREFIX = "swp"  # of the node's end of a pod's veth

GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE | RTMGRP_TC


class Notices:
    """A netlink socket that hears of links, addresses, routes and queues in the network namespace it was made in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        self._socket.bind((0, GROUPS))
        self._socket.setblocking(False)  # noqa: FBT003  the standard library's signature
        self._pods: set[int] = set()  # ifindexes of pods' devices
        self._others: set[int] = set()  # and of those that were told to be the node's

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def wait(self, timeout_s: float, wake_fd: int) -> bool:
        """Whether something of the node's own may have changed; False after *timeout_s* and when woken.

        Pods' notices are read and passed over; they start the wait anew.
        """
        while True:
            if self._socket.fileno() not in _readable(timeout_s, self._socket.fileno(), wake_fd):
                return False
            _readable(GATHER_S, wake_fd)
            if self._read():
                return True

    def _read(self) -> bool:
        """Whether any of the notices that are there may be about the node's own."""
        found = False
        while True:
            try:
                found |= self.concerns_node(self._socket.recv(READ))
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found = True  # notices were lost; the dump will show what they said

    def concerns_node(self, content: bytes) -> bool:
        """Whether any message of one read may be about a device of the node."""
        found = False
        for kind, _, body in messages(content):  # all of them: each may teach us a pod's ifindex
            found |= self._concerns_node(kind, body)
        return found

    def _concerns_node(self, kind: int, body: bytes) -> bool:
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            return body[1] == 0  # rtm_dst_len: a default route
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            return ADDRESS.unpack_from(body)[4] not in self._pods
        if kind in (RTM_NEWQDISC, RTM_DELQDISC):
            return TRAFFIC.unpack_from(body)[1] not in self._pods
        if kind not in (RTM_NEWLINK, RTM_DELLINK):
            return False
        index = LINK.unpack_from(body)[2]
        if not text(attribute(body, LINK.size, IFLA_IFNAME)).startswith(POD_PREFIX):
            self._pods.discard(index)
            self._others.add(index)
            return True
        if kind == RTM_NEWLINK:
            self._pods.add(index)
        else:
            self._pods.discard(index)
        was_other = index in self._others  # it was renamed to a pod's name
        self._others.discard(index)
        return was_other


def _readable(timeout_s: float, *descriptors: int) -> frozenset[int]:
    """Those that can be read, as soon as one can; select() takes none above 1,023."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return frozenset(descriptor for descriptor, _ in poll.poll(timeout_s * 1000))
