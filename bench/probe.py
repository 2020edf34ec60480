"""One pod asks others without end: each datagram begins a flow, and which of them arrive shows what policy decides.

Sockets in the pods' namespaces send and receive them; the times are those at which they were sent.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from selectors import EVENT_READ, DefaultSelector

from agent.netlink import netns

FIRST_PORT, PORTS = 1024, 60_000  # of the sender, one after the other: none comes again soon
EVERY_S = 0.0005
ARRIVES_S = 0.002  # a datagram that is not there by then is looked for later, too
STILL_S = 0.03  # what has not arrived for so long does not any more
STILL = 5  # datagrams, for this process too may have to wait
TIMEOUT_S = 30.0


@dataclass(slots=True)
class Probe:
    """Datagrams of the pod whose namespace the calling thread is in; the receivers' sockets are in theirs."""

    port: int
    receivers: DefaultSelector  # select() itself ends at descriptor 1023
    _numbers: Iterator[int] = field(default_factory=count)

    def until_passes(self, address: str) -> float:
        """The time at which the first datagram was sent that arrived."""
        for number, sent in self._sent(address):
            if number in self._arrived(ARRIVES_S):
                return sent
        raise SystemExit(f"{address}: nothing arrives")

    def until_stops(self, address: str) -> float:
        """The time at which the first datagram was sent after which none arrived, for a while.

        One that is lost on a way that is open does not count.
        """
        missing: deque[tuple[int, float]] = deque()
        for number, sent in self._sent(address):
            missing.append((number, sent))
            arrived = max(self._arrived(ARRIVES_S), default=-1)
            while missing and missing[0][0] <= arrived:
                missing.popleft()
            if len(missing) >= STILL and sent - missing[0][1] > STILL_S:
                return missing[0][1]
        raise SystemExit(f"{address}: datagrams go on to arrive")

    def passes(self, address: str) -> bool:
        """Whether one datagram arrives, now."""
        number, _ = next(self._sent(address))
        return number in self._arrived(STILL_S)

    def _sent(self, address: str) -> Iterator[tuple[int, float]]:
        """Numbers of datagrams, and when each was sent."""
        end = time.monotonic() + TIMEOUT_S
        while (now := time.monotonic()) < end:
            number = next(self._numbers)
            with socket.socket(type=socket.SOCK_DGRAM) as sender:
                sender.bind(("", FIRST_PORT + number % PORTS))
                sender.sendto(number.to_bytes(8), (address, self.port))
            yield number, now
            time.sleep(EVERY_S)

    def _arrived(self, wait_s: float) -> set[int]:
        """The numbers of those that are there, the first of which is waited for."""
        found: set[int] = set()
        while ready := self.receivers.select(0 if found else wait_s):
            found |= {int.from_bytes(os.read(key.fd, 16)) for key, _ in ready}
        return found


@contextmanager
def probe(port: int, sender: str, *receivers: str) -> Iterator[Probe]:
    """From a pod to others, by their namespaces' paths; the calling thread is in the sender's for the block."""
    sockets = [_listening(port, path) for path in receivers]
    try:
        with DefaultSelector() as there, netns.inside(sender):
            for one in sockets:
                there.register(one, EVENT_READ)
            yield Probe(port, there)
    finally:
        for one in sockets:
            one.close()


def _listening(port: int, path: str) -> socket.socket:
    with netns.inside(path):
        one = socket.socket(type=socket.SOCK_DGRAM)
        one.bind(("", port))
    return one
