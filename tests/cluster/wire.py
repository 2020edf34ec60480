"""A program that opens sockets in the network namespaces of a node's pods, as their processes would.

It runs on the node, in its cgroup, so that the node's hooks see its sockets. One request a line of JSON on standard
input, one answer a line on standard output; see `Wire` for the requests. It serves TCP and UDP where it is told to.
"""

import contextlib
import ctypes
import ipaddress
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_NETWORK = 0x40000000  # CLONE_NEWNET
ALL_PROTOCOLS = 3  # ETH_P_ALL
TICK_S = 0.01
UDP_AGAIN_S = 0.3
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


@contextlib.contextmanager
def inside(netns: str) -> Iterator[None]:
    """In the network namespace at this path; a socket stays where it was made."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(netns, os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(home)
        os.close(there)
        os.close(home)


def _enter(fd: int) -> None:
    if LIBC.setns(fd, NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


def made(netns: str, address: str, kind: int) -> socket.socket:
    """A socket of the address's family in that namespace, which blocks nobody."""
    with inside(netns):
        new = socket.socket(FAMILIES[ipaddress.ip_address(address).version], kind)
    new.settimeout(0)
    return new


class Wire:
    """All sockets, and one loop for them; the methods with a name like a request's are the requests."""

    def __init__(self) -> None:
        self.loop = selectors.DefaultSelector()
        self.seen: dict[str, Counter[str]] = {}  # by namespace: packets by the address they come from
        self.senders: list[tuple[str, str, str, int]] = []
        self.answered: list[socket.socket] = []  # of those that are held
        self.trips = 0
        self.lost: list[str] = []

    def serve(self, netns: list[str], ports: list[int]) -> None:
        """Answer on these ports in each namespace, and count every packet that comes in."""
        for where in netns:
            for any_address in ("0.0.0.0", "::"):
                for port in ports:
                    self._listen(where, any_address, port)
            with inside(where):
                tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PROTOCOLS))
            tap.settimeout(0)
            counts = self.seen.setdefault(where, Counter())
            self._on(tap, partial(_count, tap, counts))

    def ask(self, flows: list[tuple[str, str, str, str, int]], within_s: float) -> list[str]:
        """How each flow (namespace, source, protocol, address, port) ends: passed, silent, or an error's name."""
        ends = ["silent"] * len(flows)
        open_: dict[int, socket.socket] = {}
        again: list[socket.socket] = []

        def close(index: int, *, udp: bool) -> None:
            ends[index] = _end(open_[index], udp=udp)
            self._off(open_.pop(index))

        for index, (netns, source, protocol, address, port) in enumerate(flows):
            try:
                open_[index] = self._begin(netns, source, protocol, address, port)
            except OSError as error:
                ends[index] = str(error)
                continue
            if protocol == "UDP":
                again.append(open_[index])
            self._on(
                open_[index],
                partial(close, index, udp=protocol == "UDP"),
                selectors.EVENT_READ if protocol == "UDP" else selectors.EVENT_WRITE,
            )
            if not index % 50:
                self.turn(0)
        deadline, repeat = time.monotonic() + within_s, time.monotonic() + UDP_AGAIN_S
        while open_ and time.monotonic() < deadline:
            self.turn(TICK_S)
            if again and time.monotonic() > repeat:
                for one in again:
                    if one.fileno() >= 0:
                        with contextlib.suppress(OSError):
                            one.send(b"ping")
                again = []
        for one in open_.values():
            self._off(one)
        return ends

    def packets(self, netns: str, source: str) -> int:
        """How many packets came into the namespace from an address."""
        return self.seen[netns][source]

    def send(self, netns: str, source: str, address: str, port: int) -> None:
        """From now on, ten times a second, begin a flow by UDP and one by TCP."""
        self.senders.append((netns, source, address, port))

    def hold(self, netns: str, source: str, address: str, port: int) -> None:
        """Open a connection that goes on asking and being answered."""
        one = made(netns, source, socket.SOCK_STREAM)
        one.bind((source, 0))
        one.settimeout(5)
        one.connect((address, port))
        one.settimeout(0)
        one.send(b"ping")
        self._on(one, partial(self._trip, one))

    def progress(self) -> tuple[int, list[str]]:
        """How often held connections were answered, and what ended any of them."""
        return self.trips, self.lost

    def turn(self, within_s: float) -> None:
        """One look at all sockets. Requests come last: what they do looks at all sockets too."""
        for key, _ in sorted(self.loop.select(within_s), key=lambda found: found[0].fd == 0):
            key.data()

    def run(self) -> None:
        """Serve requests until standard input ends."""
        os.set_blocking(0, False)
        kept, running = b"", True

        def read() -> None:
            nonlocal kept, running
            while chunk := self._stdin():
                kept += chunk
            *lines, kept = kept.split(b"\n")
            for line in lines:
                request = json.loads(line)
                answer = getattr(self, request.pop("do"))(**request)
                sys.stdout.write(json.dumps(answer) + "\n")
                sys.stdout.flush()
            running = chunk is None

        self.loop.register(0, selectors.EVENT_READ, read)
        due = time.monotonic()
        sent: list[socket.socket] = []
        while running:
            self.turn(TICK_S)
            asking, self.answered = self.answered, []
            for one in asking:
                self._ping(one)
            if self.senders and time.monotonic() > due:
                due = time.monotonic() + 0.1
                for one in sent:
                    one.close()
                sent = [one for each in self.senders for one in self._two(*each)]

    def _two(self, netns: str, source: str, address: str, port: int) -> Iterator[socket.socket]:
        for protocol in KINDS:
            with contextlib.suppress(OSError):
                yield self._begin(netns, source, protocol, address, port)

    @staticmethod
    def _stdin() -> bytes | None:
        """What there is; nothing yet is None, and the end is empty."""
        try:
            return os.read(0, 1 << 20)
        except BlockingIOError:
            return None

    def _begin(self, netns: str, source: str, protocol: str, address: str, port: int) -> socket.socket:
        one = made(netns, address, KINDS[protocol])
        try:
            one.bind((source, 0))
            if protocol == "TCP":  # no TIME_WAIT: thousands of these use up the ports
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(BlockingIOError):
                one.connect((address, port))
            if protocol == "UDP":
                one.send(b"ping")
        except OSError:
            one.close()
            raise
        return one

    def _listen(self, netns: str, address: str, port: int) -> None:
        for protocol, kind in KINDS.items():
            one = made(netns, address, kind)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in address:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address, port))
            if protocol == "TCP":
                one.listen(1024)
            self._on(one, partial(self._accept if protocol == "TCP" else _echo_datagrams, one))

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            one.settimeout(0)
            self._on(one, partial(self._echo, one))

    def _echo(self, one: socket.socket) -> None:
        try:
            if data := one.recv(4096):
                one.send(data)
                return
        except OSError:
            pass
        self._off(one)

    def _ping(self, one: socket.socket) -> None:
        if one.fileno() >= 0:
            self._unless_lost(one, lambda: one.send(b"ping"))

    def _trip(self, one: socket.socket) -> None:
        if self._unless_lost(one, lambda: one.recv(4096)):
            self.trips += 1
            self.answered.append(one)

    def _unless_lost(self, one: socket.socket, what: Callable[[], Any]) -> Any:
        """What it returns, which is nothing where the held connection has ended: that is kept."""
        try:
            if done := what():
                return done
            self.lost.append("closed by its server")
        except OSError as error:
            self.lost.append(str(error))
        self._off(one)
        return None

    def _on(self, one: socket.socket, what: Callable[[], Any], events: int = selectors.EVENT_READ) -> None:
        self.loop.register(one, events, what)

    def _off(self, one: socket.socket) -> None:
        self.loop.unregister(one)
        one.close()


def _end(one: socket.socket, *, udp: bool) -> str:
    """How a flow's socket that has something to say ended."""
    error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        return os.strerror(error)
    if udp:
        try:
            one.recv(64)
        except OSError as failed:
            return str(failed)
    return "passed"


def _echo_datagrams(one: socket.socket) -> None:
    while True:
        try:
            data, sender = one.recvfrom(2048)
            one.sendto(data, sender)
        except OSError:
            return


def _count(tap: socket.socket, counts: Counter[str]) -> None:
    """Packets that came in, by source."""
    while True:
        try:
            packet, (_, _, kind, *_) = tap.recvfrom(64)
        except OSError:
            return
        if kind == socket.PACKET_OUTGOING or not packet:
            continue
        source = packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]
        if len(source) in {4, 16}:
            counts[str(ipaddress.ip_address(source))] += 1


if __name__ == "__main__":
    Wire().run()
