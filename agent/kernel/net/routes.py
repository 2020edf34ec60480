"""Routes to other nodes' pods: the kernel's are made equal to those wanted; only routes of ours are ever touched.

Ours carry a protocol number and a metric of our own; the routes to this node's pods have the number alone.
"""

import errno
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from agent.log import logger
from agent.model.address import Address, Network
from agent.netlink.rtnetlink import RT_SCOPE_LINK, RT_SCOPE_NOWHERE, RT_TABLE_MAIN

log = logger(__name__)

PROTOCOL = 89  # free in the kernel's and iproute2's rt_protos
METRIC = 89  # not the default, so that a replace never meets somebody else's route to the same pods
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Way:
    """How a destination is reached: by a gateway, or straight out of a device."""

    gateway: Address | None = None
    ifindex: int = 0  # without a gateway
    source: Address | None = None  # without a gateway, of the node's own packets; None: the kernel's choice


@dataclass(frozen=True, slots=True)
class Change:
    """What to do with one destination: *way* None takes its route away."""

    destination: Network
    way: Way | None


def changes(wanted: Mapping[Network, Way], found: Mapping[Network, Way]) -> tuple[Change, ...]:
    """What makes *found* equal to *wanted*: removals first, so that a moved prefix never has two owners."""
    gone = [Change(d, None) for d in found if d not in wanted]
    new = [Change(d, way) for d, way in wanted.items() if found.get(d) != way]
    return (*gone, *new)


class Routes:
    """The main table of one network namespace, by a netlink socket that stays open."""

    def __init__(self, netlink: Any) -> None:
        self._netlink = netlink
        self._refused: dict[Network, str] = {}

    def sync(self, wanted: Mapping[Network, Way]) -> dict[Network, str]:
        """Make ours equal to *wanted*; what the kernel refused, by destination, with its reason.

        A gateway that is not on a link of ours is refused by the kernel: such a node needs encapsulation.
        """
        refused: dict[Network, str] = {}
        for change in changes(wanted, self.found()):
            try:
                self._apply(change)
            except _netlink_error() as error:
                refused[change.destination] = str(error)
        for destination, reason in refused.items():
            if self._refused.get(destination) != reason:
                way = wanted.get(destination)
                log.warning("route refused", destination=destination, via=way and way.gateway, reason=reason)
        self._refused = refused
        return refused

    def found(self) -> dict[Network, Way]:
        """Our routes to other nodes."""
        return {_destination(route): _way(route) for route in self._ours() if route.get_attr("RTA_PRIORITY") == METRIC}

    def remove_all(self) -> tuple[str, ...]:
        """Take away every route of ours, pods' included; their destinations."""
        done = []
        for route in self._ours():
            destination = _destination(route)
            metric = route.get_attr("RTA_PRIORITY") or 0
            self._delete(destination, metric, oif=route.get_attr("RTA_OIF"))
            done.append(str(destination))
        return tuple(done)

    def _ours(self) -> Iterable[Any]:
        for family in _FAMILIES:
            answer = self._netlink.get_routes(family=family, proto=PROTOCOL, table=RT_TABLE_MAIN)
            yield from (route for route in tuple(answer) if route["proto"] == PROTOCOL)

    def _apply(self, change: Change) -> None:
        if change.way is None:
            self._delete(change.destination, METRIC)
            return
        spec: dict[str, object] = {"dst": str(change.destination), "proto": PROTOCOL, "table": RT_TABLE_MAIN}
        if change.way.gateway is not None:
            spec["gateway"] = str(change.way.gateway)
        else:
            spec |= {"oif": change.way.ifindex, "scope": RT_SCOPE_LINK if change.destination.version == 4 else 0}  # noqa: PLR2004
        if change.way.source is not None:
            spec["prefsrc"] = str(change.way.source)
        self._netlink.route("replace", priority=METRIC, **spec)

    def _delete(self, destination: Network, metric: int, **more: object) -> None:
        # any scope: a pod's own route has that of its link
        spec = {"dst": str(destination), "proto": PROTOCOL, "table": RT_TABLE_MAIN, "scope": RT_SCOPE_NOWHERE, **more}
        _unless_gone(lambda: self._netlink.route("del", priority=metric, **spec))


def _way(route: Any) -> Way:
    gateway, source = route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_PREFSRC")
    if gateway is not None:
        return Way(ip_address(gateway))
    return Way(None, route.get_attr("RTA_OIF") or 0, ip_address(source) if source is not None else None)


def _destination(route: Any) -> Network:
    destination = route.get_attr("RTA_DST")
    if destination is None:  # the kernel leaves out a default route's
        destination = IPv4Address(0) if route["family"] == socket.AF_INET else IPv6Address(0)
    return ip_network(f"{destination}/{route['dst_len']}")


def _unless_gone(delete: Callable[[], object]) -> None:
    try:
        delete()
    except _netlink_error() as error:
        if error.code != errno.ESRCH:  # it left with its device
            raise


def _netlink_error() -> Any:  # imported late: it costs 0.2 s
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    return NetlinkError
