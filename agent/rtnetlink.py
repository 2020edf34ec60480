"""The framing of rtnetlink: messages and attributes, as far as who only listens has to read them."""

import struct
from collections.abc import Iterator

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
RTM_NEWQDISC, RTM_DELQDISC = 36, 37
RTMGRP_LINK = 0x1
RTMGRP_NEIGH = 0x4
RTMGRP_TC = 0x8
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV4_ROUTE = 0x40
RTMGRP_IPV6_IFADDR = 0x100
RTMGRP_IPV6_ROUTE = 0x400
IFLA_IFNAME = 3
READ = 1 << 16  # bytes of one read

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


def text(value: bytes) -> str:
    """A name, which ends with a NUL."""
    return value.rstrip(b"\0").decode(errors="replace")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
