"""Routes to other nodes' pods: the kernel's are made equal to those wanted; only routes of ours are ever touched.

Ours carry a protocol number and a metric of our own; the routes to this node's pods have the number alone. What the
kernel has is listed once, and again when something was taken away; after that a change costs its own requests. They go
in small netlink batches, so that a pod that comes meanwhile does not wait for thousands of routes.
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import islice

from agent.errors import AgentError
from agent.model.address import Address, Network
from agent.netlink import requests
from agent.netlink.dump import Dump
from agent.netlink.requests import FAMILIES, Request
from agent.netlink.rtnetlink import (
    ROUTE,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    attribute,
    number,
)
from agent.netlink.socket import Socket

PROTOCOL = 89  # free in the kernel's and iproute2's rt_protos
METRIC = 89  # not the default, so that a replace never meets somebody else's route to the same pods
PIECE = 64  # requests of one batch: the kernel has them done within a millisecond
LISTED = 256  # routes of the kernel's that are read at once: as long
SHOWN = 3  # refusals that are told of; of more, their number
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
_ON_NO_LINK = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})  # of a gateway, IPv4's and IPv6's


@dataclass(frozen=True, slots=True)
class Way:
    """How a destination is reached: by a gateway, or straight out of a device."""

    gateway: Address | None = None
    ifindex: int = 0  # without a gateway
    source: Address | None = None  # of the node's own packets; None: the kernel's choice
    is_far: bool = field(default=False, compare=False)  # a gateway that the kernel may refuse as on no link of ours

    def __str__(self) -> str:
        return f"via {self.gateway}" if self.gateway is not None else f"by device {self.ifindex}"


@dataclass(frozen=True, slots=True)
class Change:
    """What to do with one destination: *way* None takes its route away."""

    destination: Network
    way: Way | None

    def request(self) -> Request:
        """What the kernel is asked for."""
        way = self.way
        if way is None:
            return requests.delete_route(self.destination, PROTOCOL, METRIC)
        if way.gateway is not None:
            return requests.set_route_by_gateway(self.destination, way.gateway, way.source, PROTOCOL, METRIC)
        return requests.set_route_by_device(self.destination, way.ifindex, way.source, PROTOCOL, METRIC)


def changes(wanted: Mapping[Network, Way], found: Mapping[Network, Way]) -> tuple[Change, ...]:
    """What makes *found* equal to *wanted*: removals first, so that a moved prefix never has two owners."""
    gone = [Change(d, None) for d in found if d not in wanted]
    new = [Change(d, way) for d, way in wanted.items() if found.get(d) != way]
    return (*gone, *new)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A change that the kernel refused, and when it is tried again."""

    change: Change
    error: int  # errno
    retry_at: float
    waited_s: float  # before that

    @property
    def is_left_to_others(self) -> bool:
        """Whether nobody promised that the gateway is on a link of ours, and it is on none."""
        way = self.change.way
        return way is not None and way.is_far and self.error in _ON_NO_LINK

    def __str__(self) -> str:
        return f"{self.change.destination} {self.change.way or 'not removed'}: {os.strerror(self.error)}"


class Routes:
    """Ours in the main table of the calling thread's network namespace."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """*clock* gives seconds."""
        self._clock = clock
        self._found: dict[Network, Way] | None = None  # what the kernel has of ours; None: to be listed
        self._refused: dict[Network, _Refusal] = {}

    def resync(self) -> None:
        """Somebody touched ours: list the kernel's at the next :meth:`apply`. What was refused waits for its time."""
        self._found = None

    def retry(self) -> None:
        """The node's devices changed: what was refused is tried at the next :meth:`apply` as for the first time."""
        self._refused.clear()

    def apply(self, wanted: Mapping[Network, Way]) -> Iterator[None]:
        """Make ours equal to *wanted*; yields after each batch. What is given up half way goes on with the next call.

        A gateway that is not on a link of the node's is refused by the kernel, which is told of unless the way is far:
        then the network between is to know the way. What was refused is tried again after a second, then later each
        time, up to half a minute.

        Raises:
            AgentError: the kernel refused some, now or before; the others are there.
        """
        found = self._found
        if found is None:
            found = {}
            for piece in _listed():
                found.update(piece)
                yield
            self._found = found
        for batch in self._due(changes(wanted, found)):
            self._write(batch, found)
            yield
        self._report()

    def found(self) -> dict[Network, Way]:
        """Our routes to other nodes, as the kernel lists them now."""
        return {destination: way for piece in _listed() for destination, way in piece.items()}

    def remove_all(self) -> tuple[str, ...]:
        """Take away every route of ours, pods' included; their destinations."""
        done = []
        with Dump() as dump, Socket() as kernel:
            for family in FAMILIES.values():
                for body in dump.routes(family, protocol=PROTOCOL):
                    destination, metric, index = (
                        destination_of(body),
                        _number(body, RTA_PRIORITY),
                        _number(body, RTA_OIF),
                    )
                    (error,) = kernel.attempt(requests.delete_route(destination, PROTOCOL, metric, index))
                    if error not in {0, errno.ESRCH}:  # it left with its device
                        raise OSError(error, f"remove the route to {destination}: {os.strerror(error)}")
                    done.append(str(destination))
        self._found = None
        return tuple(done)

    def _due(self, todo: Sequence[Change]) -> Iterator[tuple[Change, ...]]:
        """The changes to try now, in batches: without those whose refusal is too young."""
        kept = (self._refused.get(change.destination) for change in todo)
        self._refused = {r.change.destination: r for r, c in zip(kept, todo, strict=True) if r and r.change == c}
        now = self._clock()
        waiting = {d for d, refusal in self._refused.items() if refusal.retry_at > now}
        due = iter([change for change in todo if change.destination not in waiting])
        while batch := tuple(islice(due, PIECE)):
            yield batch

    def _write(self, batch: Sequence[Change], found: dict[Network, Way]) -> None:
        try:
            with Socket() as kernel:
                errors = kernel.attempt(*(change.request() for change in batch))
        except OSError as failure:  # nobody knows what was done
            self._found = None
            raise AgentError(f"routes not written: {failure}") from failure
        for change, error in zip(batch, errors, strict=True):
            if error and not (error == errno.ESRCH and change.way is None):  # it left with its device
                self._refuse(change, error)
                continue
            self._refused.pop(change.destination, None)
            if change.way is None:
                found.pop(change.destination, None)
            else:
                found[change.destination] = change.way

    def _refuse(self, change: Change, error: int) -> None:
        before = self._refused.get(change.destination)
        wait_s = min(before.waited_s * 2, LAST_RETRY_S) if before else FIRST_RETRY_S
        self._refused[change.destination] = _Refusal(change, error, self._clock() + wait_s, wait_s)

    def _report(self) -> None:
        """Tell of refusals.

        Raises:
            AgentError: there are some.
        """
        told = [refusal for refusal in self._refused.values() if not refusal.is_left_to_others]
        if told:
            first = "; ".join(map(str, told[:SHOWN]))
            raise AgentError(f"{len(told)} routes refused, first {first}")


def _listed() -> Iterator[dict[Network, Way]]:
    """Our routes to other nodes, in pieces."""
    with Dump() as dump:
        for family in FAMILIES.values():
            bodies = iter(dump.routes(family, protocol=PROTOCOL))
            while piece := tuple(islice(bodies, LISTED)):
                yield {destination_of(body): _way(body) for body in piece if _number(body, RTA_PRIORITY) == METRIC}


def _way(route: bytes) -> Way:
    gateway, source = attribute(route, ROUTE.size, RTA_GATEWAY), attribute(route, ROUTE.size, RTA_PREFSRC)
    own = ip_address(source) if source else None
    return Way(ip_address(gateway), 0, own) if gateway else Way(None, _number(route, RTA_OIF), own)


def destination_of(route: bytes) -> Network:
    """Where a route that the kernel listed leads."""
    family, length, *_ = ROUTE.unpack_from(route)
    address = attribute(route, ROUTE.size, RTA_DST)  # the kernel leaves out a default route's
    if family == socket.AF_INET:
        return IPv4Network((address or bytes(4), length))
    return IPv6Network((address or bytes(16), length))


def _number(route: bytes, kind: int) -> int:
    return number(attribute(route, ROUTE.size, kind))
