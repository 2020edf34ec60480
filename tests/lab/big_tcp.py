"""GSO packets of more than 64 KiB ("BIG TCP") over IPv4, which iproute2 6.1 cannot configure."""

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
def raised(*ends: Client) -> Iterator[None]:
    """While the block runs, the devices of these pods and machines send and merge more than usual."""
    try:
        for end in ends:
            _set(end, RAISED)
        yield
    finally:
        for end in ends:
            _set(end, USUAL)


def sent(end: Client) -> tuple[int, int]:
    """IPv4 packets and octets that a pod or a node has sent; a GSO packet is one."""
    found: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        lines = end.machine.run("cat", f"/proc/self/net/{file}", context=end.context).stdout.splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            found |= dict(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
    return found["OutRequests"], found["OutOctets"]


def _set(end: Client, octets: int) -> None:
    """Set the sizes of all devices but the tunnel's, of which one is there to segment packets."""
    sizes = b"".join(packed(kind, struct.pack("=I", octets)) for kind in (GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE))
    with netns.inside(str(end.context.netns or end.machine.netns)), Socket() as asking:
        for index, name in socket.if_nameindex():
            if not name.startswith(tunnel.NAME):
                body = LINK.pack(0, 0, index, 0, 0) + sizes
                asking.ask(Request(RTM_SETLINK, 0, body, f"say {octets} octets to {name}"))
