"""A process in a pod that waits for a device, sets it up as soon as it is there, and sends what policy denies."""

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from agent.netlink.netns import inside
from tests.agent.kernel.device.vf_maps import PORT

DENIED, ALLOWED = b"what policy denies", b"what policy allows"
ETH_P_ALL, SO_RCVBUFFORCE, ROOM = 3, 33, 1 << 24
SCRIPT = """
import fcntl, socket, struct, sys
raw, control = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
frames = [bytes.fromhex(each) for each in sys.argv[1:]]
links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)  # NETLINK_ROUTE
links.bind((0, 1))  # RTMGRP_LINK
there = {name for _, name in socket.if_nameindex()}
print("ready", flush=True)
def attempt(what, *given):  # a frame that is dropped is an error, too
    try:
        return what(*given)
    except OSError:
        return b""
while True:
    came = {name for _, name in socket.if_nameindex()} - there
    if not came:
        attempt(links.recv, 1 << 16)  # the kernel tells of it as it comes
    for name in came:
        asked = name.encode()
        has = attempt(fcntl.ioctl, control, 0x8913, struct.pack("16s24x", asked)) or bytes(40)  # SIOCGIFFLAGS
        attempt(fcntl.ioctl, control, 0x8914, has[:16] + bytes([has[16] | 1]) + has[17:])  # SIOCSIFFLAGS, IFF_UP
        mac = attempt(fcntl.ioctl, control, 0x8927, struct.pack("16s24x", asked))[18:24]  # SIOCGIFHWADDR
        for frame in frames:
            attempt(raw.sendto, frame[:6] + mac + frame[12:], (name, 0))
"""


@contextmanager
def hostile(netns: str, mac: str, source: str, destination: str) -> Iterator[None]:
    """One in the namespace at a path; it sends from an address to another, at a MAC address."""
    frames = (
        _frame(mac, source, destination, socket.IPPROTO_UDP, struct.pack("!HHHH", 7, 9, 8 + len(DENIED), 0) + DENIED),
        _frame(mac, source, destination, socket.IPPROTO_TCP, _syn() + ALLOWED),
    )
    command = ["nsenter", f"--net={netns}", sys.executable, "-c", SCRIPT, *(each.hex() for each in frames)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


@contextmanager
def listening(netns: str, device: str) -> Iterator[socket.socket]:
    """What comes to a device in the namespace at a path, before any program sees it."""
    with inside(netns):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.bind((device, 0))
    with made:
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        made.settimeout(0)
        yield made


def came(wire: socket.socket) -> tuple[int, int]:
    """How many frames have come of those that policy denies, and allows, since the last call."""
    denied = allowed = 0
    try:
        while True:
            frame = wire.recv(2048)
            denied, allowed = denied + (DENIED in frame), allowed + (ALLOWED in frame)
    except BlockingIOError:
        return denied, allowed


def _frame(mac: str, source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """With another's MAC address to be put in, and checksums of the IP header alone."""
    addresses = IPv4Address(source).packed + IPv4Address(destination).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + addresses
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return bytes.fromhex(mac.replace(":", "")) + bytes(6) + struct.pack("!H", 0x0800) + head + payload


def _syn() -> bytes:
    return struct.pack("!HHIIBBHHH", 7, PORT, 1, 0, 5 << 4, 2, 1024, 0, 0)
