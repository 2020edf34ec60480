"""Notifications of rtnetlink, sorted into those that may concern the node's own devices and those of pods.

Only fixed headers and a device's name are read; local.py gets the state itself from a dump.
"""

import errno
import select
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

POD_PREFIX = "swp"  # of the node's end of a pod's veth

# linux/rtnetlink.h
RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV4_ROUTE = 0x40
RTMGRP_IPV6_IFADDR = 0x100
RTMGRP_IPV6_ROUTE = 0x400
GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE

RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
IFLA_IFNAME = 3

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_READ = 1 << 16


class Notices:
    """A netlink socket that hears of links, addresses and routes in the network namespace it was made in."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
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
            ready, _, _ = select.select([self._socket.fileno(), wake_fd], [], [], timeout_s)
            if self._socket.fileno() not in ready:
                return False
            try:
                if self.concerns_node(self._socket.recv(_READ)):
                    return True
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return True  # notices were lost; the dump will show what they said

    def concerns_node(self, content: bytes) -> bool:
        """Whether any message of one read may be about a device of the node."""
        found = False
        for kind, body in messages(content):  # all of them: each may teach us a pod's ifindex
            found |= self._concerns_node(kind, body)
        return found

    def _concerns_node(self, kind: int, body: bytes) -> bool:
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            return body[1] == 0  # rtm_dst_len: a default route
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            return _ADDRESS.unpack_from(body)[4] not in self._pods
        if kind not in (RTM_NEWLINK, RTM_DELLINK):
            return False
        index = _LINK.unpack_from(body)[2]
        if not _name(body).startswith(POD_PREFIX):
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


def messages(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and body of each netlink message."""
    at = 0
    while at + _HEADER.size <= len(content):
        length, kind, *_ = _HEADER.unpack_from(content, at)
        if length < _HEADER.size:
            return
        yield kind, content[at + _HEADER.size : at + length]
        at += _aligned(length)


def _name(body: bytes) -> str:
    at = _LINK.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        if kind == IFLA_IFNAME:
            return body[at + _ATTRIBUTE.size : at + length].rstrip(b"\0").decode(errors="replace")
        at += _aligned(length)
    return ""


def _aligned(length: int) -> int:
    return (length + 3) & ~3
