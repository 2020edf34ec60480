"""Whether this process stands in the node's network namespace: only there do interface indices mean its devices."""

import socket
from collections.abc import Callable

from agent.netlink.cookie import netns_cookie

DeviceName = Callable[[int], str]


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
    return device_name if node in (0, netns_cookie()) else no_name
