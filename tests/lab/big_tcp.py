"""GSO packets of more than 64 KiB ("BIG TCP") over IPv4, for which iproute2 6.1 has no word."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from agent.compile import tunnel
from agent.kernel.programs import features
from agent.netlink import netns
from agent.netlink.requests import Request
from agent.netlink.rtnetlink import LINK, packed
from agent.netlink.socket import Socket
from lab.use import Client

RTM_SETLINK = 19  # linux/rtnetlink.h
GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE = 63, 64  # of linux/if_link.h's IFLA_*
USUAL, RAISED = 1 << 16, 3 << 16
KNOWN = (6, 3)  # the kernel that has both


def is_known() -> bool:
    """Whether this kernel has them."""
    return features.kernel_version(os.uname().release) >= KNOWN


@contextmanager
def raised(*places: Client) -> Iterator[None]:
    """Have the devices there send and merge more; as much as usual afterwards."""
    try:
        for place in places:
            _set(place, RAISED)
        yield
    finally:
        for place in places:
            _set(place, USUAL)


def sent(place: Client) -> tuple[int, int]:
    """IPv4 packets and octets that a pod or a node has sent; a GSO packet is one."""
    found: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        lines = place.machine.run("cat", f"/proc/self/net/{file}", place=place.place).stdout.splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            found |= dict(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
    return found["OutRequests"], found["OutOctets"]


def _set(place: Client, octets: int) -> None:
    """But of the tunnel's devices: one of them is there to cut what it is given."""
    sizes = b"".join(packed(kind, struct.pack("=I", octets)) for kind in (GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE))
    with netns.inside(str(place.place.netns or place.machine.netns)), Socket() as asking:
        for index, name in socket.if_nameindex():
            if not name.startswith(tunnel.NAME):
                body = LINK.pack(0, 0, index, 0, 0) + sizes
                asking.ask(Request(RTM_SETLINK, 0, body, f"say {octets} octets to {name}"))
