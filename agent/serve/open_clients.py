"""The clients of the health ports that are connected: few, none for long, and none in another's way.

These ports are open to whoever reaches the node. A client that opens many connections loses its own oldest; only where
many clients do is the oldest of all lost. An honest one is answered within a round trip.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from socket import socket

from agent.serve.connections import WHOLE_S

MOST = 128  # connections at once
MOST_OF_ONE = 16  # of one client
OTHERS = 64  # bits behind the prefix of an IPv6 client's network, in which it has any address it likes


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """An address and port to listen at; an IPv6 one is for IPv6 alone."""

    address: str
    port: int


@dataclass(eq=False, slots=True)
class Client:
    """One connection."""

    connection: socket
    site: Site
    who: str
    since: float
    came: bytearray = field(default_factory=bytearray)  # of its request


class OpenClients:
    """Who is connected, the oldest first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clients: dict[socket, Client] = {}
        self._counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._clients.values()))

    def admit(self, connection: socket, site: Site, address: str) -> tuple[Client, Client | None]:
        """A client that is new, and the one that has to go for it."""
        client = Client(connection, site, who(address), self._clock())
        victim = self._victim(client.who)
        self._clients[connection] = client
        self._counts[client.who] += 1
        return client, victim

    def gone(self, client: Client) -> None:
        """It is not connected any more."""
        if self._clients.pop(client.connection, None) is not None:
            self._counts[client.who] -= 1
            self._counts += Counter()  # those of nobody go

    def overdue(self) -> tuple[Client, ...]:
        """Those that last too long."""
        now = self._clock()
        return tuple(client for client in self if now - client.since >= WHOLE_S)

    def wait_s(self) -> float | None:
        """Until the next is overdue; None: there is none."""
        oldest = next(iter(self._clients.values()), None)
        return None if oldest is None else max(0.0, oldest.since + WHOLE_S - self._clock())

    def _victim(self, newcomer: str) -> Client | None:
        if self._counts[newcomer] >= MOST_OF_ONE:
            return next(client for client in self if client.who == newcomer)
        return next(iter(self)) if len(self._clients) >= MOST else None


def who(address: str) -> str:
    """One name for all addresses that a client may choose among."""
    parsed = ip_address(address.partition("%")[0])
    return str(IPv6Address(int(parsed) >> OTHERS << OTHERS)) if isinstance(parsed, IPv6Address) else str(parsed)
