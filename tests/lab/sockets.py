"""What a socket sees of a service, by each way of the socket API. Run as a script.

sockets.py ADDRESS PORT prints JSON: by the way's name who answered, from which addresses, or the error.
"""

import ctypes
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

TIMEOUT_S = 3.0
COUNT = 12  # datagrams by one socket: that one of three backends gets all by chance, 1 in 177,147
WORD = b"x" * 100

Seen = tuple[str, Any]  # who answered, and the address it came from


def main() -> None:
    """Try each way."""
    address, port = sys.argv[1], int(sys.argv[2])
    found: dict[str, object] = {}
    for kind, target in targets(address):
        for name, way in WAYS.items():
            family = socket.AF_INET6 if ":" in target else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM if name == "stream" else socket.SOCK_DGRAM) as asking:
                asking.settimeout(TIMEOUT_S)
                found[f"{kind}{name}"] = tried(way, asking, (target, port))
    json.dump(found, sys.stdout)


def targets(address: str) -> Iterator[tuple[str, str]]:
    """The address, and an IPv4 one as sockets of IPv6 have it too."""
    yield "", address
    if ":" not in address:
        yield "mapped ", f"::ffff:{address}"


def tried(way: Callable[[socket.socket, Any], Iterator[Seen]], asking: socket.socket, target: Any) -> object:
    """Who answered, and whether always from the address that was asked."""
    try:
        seen = list(way(asking, target))
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    wrong = sorted({str(source) for _, source in seen if source[:2] != target})
    return wrong or sorted({name for name, _ in seen})


def stream(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """TCP: getpeername()."""
    asking.connect(target)
    yield asking.makefile().readline().strip(), asking.getpeername()


def unconnected(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """sendto() and recvfrom()."""
    for _ in range(COUNT):
        asking.sendto(WORD, target)
        answer, source = asking.recvfrom(100)
        yield answer.decode(), source


def connected(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """connect(), send(), recv(), getpeername()."""
    asking.connect(target)
    for _ in range(COUNT):
        asking.send(WORD)
        yield asking.recv(100).decode(), asking.getpeername()


def connected_sendto(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """sendto() the address to which the socket is connected."""
    asking.connect(target)
    yield from unconnected(asking, target)


def reconnected(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """connect() to the same address again."""
    yield from connected(asking, target)
    yield from connected(asking, target)


def disconnected(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """connect() with AF_UNSPEC ends a connection; then sendto(), from another port."""
    list(connected(asking, target))
    nobody = struct.pack("=H26x", socket.AF_UNSPEC)
    if ctypes.CDLL(None, use_errno=True).connect(asking.fileno(), nobody, len(nobody)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    yield from unconnected(asking, target)


def peeked(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """recvmsg() that leaves the datagram, then takes it."""
    for flags in (socket.MSG_PEEK, 0):
        if flags:
            asking.sendto(WORD, target)
        answer, _, _, source = asking.recvmsg(100, 0, flags)
        yield answer.decode(), source


WAYS = {
    "stream": stream,
    "unconnected": unconnected,
    "connected": connected,
    "connected, sendto": connected_sendto,
    "connected again": reconnected,
    "disconnected": disconnected,
    "peeked": peeked,
}

if __name__ == "__main__":
    main()
