"""What a socket sees of a service, by each way of the socket API. Run as a script.

sockets.py ADDRESS PORT OTHER prints JSON: by the way's name who answered, from which addresses, or the error. OTHER is
another service, at port 80.
"""

import ctypes
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

TIMEOUT_S = 15.0
COUNT = 12  # datagrams by one socket: that one of three backends gets all by chance, 1 in 177,147
WORD = b"x" * 100

Seen = tuple[str, Any]  # who answered, and the address it came from


def main() -> None:
    """Try each way."""
    address, port = sys.argv[1], int(sys.argv[2])
    found: dict[str, object] = {}
    for (kind, target), (_, other) in zip(targets(address), targets(sys.argv[3]), strict=True):
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        for (what, protocol), ways in WAYS.items():
            for name, way in ways.items():
                with socket.socket(family, what, protocol) as asking:
                    asking.settimeout(TIMEOUT_S)
                    OTHER[0] = (other, 80)
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


def disconnect(asking: socket.socket) -> None:
    """connect() with AF_UNSPEC."""
    nobody = struct.pack("=H26x", socket.AF_UNSPEC)
    if ctypes.CDLL(None, use_errno=True).connect(asking.fileno(), nobody, len(nobody)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def disconnected(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """connect() with AF_UNSPEC ends a connection; then sendto(), from another port."""
    list(connected(asking, target))
    disconnect(asking)
    yield from unconnected(asking, target)


def connected_elsewhere(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """connect() to another service; then to this one."""
    list(connected(asking, OTHER[0]))
    yield from connected(asking, target)


def unconnected_elsewhere(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """sendmsg() to another service and to this one, in turn."""
    for _ in range(COUNT):
        for asked in (OTHER[0], target):
            asking.sendmsg([WORD], (), 0, asked)
            answer, source = asking.recvfrom(100)
            if asked == target:
                yield answer.decode(), source
            elif source[:2] != asked:
                raise ConnectionAbortedError(f"answered by {source}")


def connected_sendmsg(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """sendmsg() with the address to which the socket is connected, and recvmsg()."""
    asking.connect(target)
    for _ in range(COUNT):
        asking.sendmsg([WORD], (), 0, target)
        answer, _, _, source = asking.recvmsg(100)
        yield answer.decode(), source


def fast_open(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """TCP without connect(): sendto() with MSG_FASTOPEN (tcp(7))."""
    with suppress(BlockingIOError):
        asking.sendto(b"first\n", socket.MSG_FASTOPEN, target)
    select.select([], [asking], [], TIMEOUT_S)
    yield asking.makefile().readline().strip(), asking.getpeername()


def stream_elsewhere(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """TCP: connect() with AF_UNSPEC ends a connection to another service; then one to this."""
    list(stream(asking, OTHER[0]))
    disconnect(asking)
    yield from stream(asking, target)


def peeked(asking: socket.socket, target: Any) -> Iterator[Seen]:
    """recvmsg() that leaves the datagram, then takes it; recvfrom() too."""
    asking.sendto(WORD, target)
    for flags in (socket.MSG_PEEK, 0):
        answer, _, _, source = asking.recvmsg(100, 0, flags)
        yield answer.decode(), source
    asking.sendto(WORD, target)
    for flags in (socket.MSG_PEEK, 0):
        answer, source = asking.recvfrom(100, flags)
        yield answer.decode(), source


OTHER: list[Any] = [None]  # the other service's address and port
WAYS: dict[tuple[socket.SocketKind, int], dict[str, Callable[[socket.socket, Any], Iterator[Seen]]]] = {
    (socket.SOCK_STREAM, 0): {
        "stream": stream,
        "stream, fast open": fast_open,
        "stream, elsewhere before": stream_elsewhere,
    },
    (socket.SOCK_STREAM, socket.IPPROTO_MPTCP): {
        "stream, MPTCP": stream,
        "stream, MPTCP, elsewhere before": stream_elsewhere,
    },
    (socket.SOCK_DGRAM, 0): {
        "unconnected": unconnected,
        "unconnected, elsewhere in turn": unconnected_elsewhere,
        "connected": connected,
        "connected, sendto": connected_sendto,
        "connected, sendmsg": connected_sendmsg,
        "connected again": reconnected,
        "connected elsewhere before": connected_elsewhere,
        "disconnected": disconnected,
        "peeked": peeked,
    },
}

if __name__ == "__main__":
    main()
