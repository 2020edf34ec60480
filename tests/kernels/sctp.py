"""SCTP by real sockets, which the machines of the other tests may lack: services, a node port, masquerading, refusals.

A checksum is left to the device, as a pod's is, or made by who sends it. What the uplink sends has one at any rate, at
which the neighbour looks. Each end says more than a packet holds, which is sent as one to cut (GSO) where that can be.
All have addresses of both families, say so as they begin, and ask each other by them in the pause that follows.
"""

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

from agent.model.address import Address
from agent.netlink import netns
from tests.kernels import site

Tried = Callable[[str, Callable[[], None]], list[str]]

POD, BACKEND, NEIGHBOUR = "/run/netns/client", "/run/netns/backend", "/run/netns/outside"
TIMEOUT_S = 60
SAID = bytes(range(250)) * 200
PAUSE_S = 0.5
SCTP_RTOINFO = 0  # linux/sctp.h: how long a packet may take that is answered, initially, at most and at least, in ms
SOON = struct.pack("iIII", 0, 100, 1000, 100)  # other paths are asked for after half of it, to one and a half


def tried_associations(maps: Path, tried: Tried) -> list[str]:
    """Every way in turn; what failed."""
    failures = []
    for path in (BACKEND, NEIGHBOUR):
        _serve(path)
    for device, path in (("eth0", NEIGHBOUR), ("uplink", "/proc/self/ns/net")):
        _leave_sums(path, device, on=False)
    for f in site.FAMILIES:
        ask = partial(_asked, NEIGHBOUR, f.node, site.NODE_PORT, f.outside)
        failures += tried(f"SCTP, neighbour to {f.node}:{site.NODE_PORT}", ask)
        failures += tried(f"SCTP, pod is refused by {f.empty}", partial(_refused, f.empty))
        for sums in (True, False):
            ask = partial(_asked, POD, f.service, site.SERVICE_PORT, f.client)
            with _masqueraded(maps), _sums(left=sums) as how:
                failures += tried(f"SCTP, {how}, pod to {f.service}", ask)
                out = partial(_asked, POD, f.outside, site.BACKEND_PORT, f.node)
                failures += tried(f"SCTP, {how}, pod to {f.outside} under {f.node}", out)
    return failures


@contextmanager
def _masqueraded(maps: Path) -> Iterator[None]:
    site.masquerade(maps)
    try:
        yield
    finally:
        site.fill(maps)


@contextmanager
def _sums(*, left: bool) -> Iterator[str]:
    """Have the pod leave its sums to its device, or not."""
    _leave_sums(POD, "eth0", on=left)
    yield "sums left to the device" if left else "whole sums"


def _leave_sums(path: str, device: str, *, on: bool) -> None:
    command = ["nsenter", f"--net={path}", "--", "ethtool", "-K", device, "tx-checksum-sctp", "on" if on else "off"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _socket(path: str, version: int) -> socket.socket:
    with netns.inside(path):
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    made.setsockopt(socket.IPPROTO_SCTP, SCTP_RTOINFO, SOON)
    made.settimeout(TIMEOUT_S)
    return made


def _asked(path: str, address: Address, port: int, seen: Address) -> None:
    """Say something, and have it come back from one who tells whom he saw."""
    with _socket(path, address.version) as asking:
        asking.connect((str(address), port))
        time.sleep(PAUSE_S)
        asking.sendall(SAID)
        answer = _all(asking)
    who = IPv6Address(answer[: -len(SAID)].decode())
    assert (who.ipv4_mapped or who) == seen, f"was seen as {who}"
    assert answer.endswith(SAID), "was told something else"


def _refused(address: Address) -> None:
    """Be refused, and at once: by an ABORT that the kernel believes."""
    with _socket(POD, address.version) as asking:
        try:
            asking.connect((str(address), site.SERVICE_PORT))
        except ConnectionRefusedError:
            return
    raise AssertionError("connected")


def _serve(path: str) -> None:
    """Tell whoever asks there what address he has, and what he said."""
    listener = _socket(path, 6)
    listener.settimeout(None)
    listener.bind(("::", site.BACKEND_PORT))
    listener.listen()

    def answers() -> None:
        while True:
            connection, peer = listener.accept()
            with connection:
                said = b""
                while len(said) < len(SAID) and (more := connection.recv(len(SAID))):
                    said += more
                connection.sendall(peer[0].encode())
                connection.sendall(said)

    threading.Thread(target=answers, daemon=True).start()


def _all(connection: socket.socket) -> bytes:
    """What is said until the other end closes."""
    said = b""
    while more := connection.recv(len(SAID)):
        said += more
    return said
