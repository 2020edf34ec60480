"""Whether this process stands in the node's network namespace: only there do interface indices mean its devices."""

import socket
import struct
from collections.abc import Callable

_SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h

DeviceName = Callable[[int], str]


def cookie() -> int:
    """The cookie of this thread's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        (number,) = struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))
    return int(number)


def device_name(ifindex: int) -> str:
    """A device's name; empty when it left."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return ""


def no_name(_ifindex: int) -> str:
    """What every device is called seen from another namespace."""
    return ""


def names_of(node: int) -> DeviceName:
    """How to name the devices of the node with that cookie, from here."""
    return device_name if node in (0, cookie()) else no_name
