"""The framing of rtnetlink: messages and attributes, read and written."""

import struct
import sys
from collections.abc import Iterator

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTMGRP_LINK = 0x1
RTMGRP_NEIGH = 0x4
RTMGRP_TC = 0x8
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV4_ROUTE = 0x40
RTMGRP_IPV6_IFADDR = 0x100
RTMGRP_IPV6_ROUTE = 0x400
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU = 1, 3, 4
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH = 1, 4, 5, 6, 9
READ = 1 << 16  # bytes of one read
SO_RCVBUFFORCE, ROOM = 33, 1 << 22  # linux/socket.h; bytes of notices that may wait: those of a thousand pods

# linux/neighbour.h
NDA_DST, NDA_LLADDR = 1, 2

# the fixed headers
LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
ADDRESS = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, flags, scope, index
NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, ifindex, state, flags, type
ROUTE = struct.Struct("=8BI")  # struct rtmsg: family, two lengths, tos, table, protocol, scope, type, flags
TRAFFIC = struct.Struct("=BxxxiIII")  # struct tcmsg: family, ifindex, handle, parent, info

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type


def messages(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The type, flags and body of each netlink message."""
    at = 0
    while at + _HEADER.size <= len(content):
        length, kind, flags, *_ = _HEADER.unpack_from(content, at)
        if length < _HEADER.size:
            return
        yield kind, flags, content[at + _HEADER.size : at + length]
        at += _aligned(length)


def attribute(body: bytes, at: int, wanted: int) -> bytes:
    """The value of the first attribute *wanted* behind a fixed header that ends at *at*; empty when there is none."""
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        if kind == wanted:
            return body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return b""


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One netlink message; *body* is a multiple of four octets, as fixed headers and :func:`packed` are."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def packed(kind: int, value: bytes) -> bytes:
    """One attribute; several, one behind the other, are a nested one's value."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


WITHOUT_STATISTICS = packed(29, struct.pack("=I", 0x8))  # IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS: cheaper links


def number(value: bytes) -> int:
    """A number in the machine's byte order; 0 where the attribute is not there."""
    return int.from_bytes(value, sys.byteorder)


def text(value: bytes) -> str:
    """A name, which ends with a NUL."""
    return value.rstrip(b"\0").decode(errors="replace")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
