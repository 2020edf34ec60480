"""Watches this node itself: devices, addresses, default routes, queues, ports in use; the Local part of the Cluster.

A notification is only the sign to look again: what counts is the next dump, so an overrun loses nothing. Those about
pods' own devices are passed over by their fixed headers, for a dump per pod would be dear on a full node.
"""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from agent.cookie import netns_cookie
from agent.log import logger
from agent.model.address import Address, Network
from agent.model.local import Device, Local
from agent.watch.masquerade import MasqueradeFile
from agent.watch.mirror import Mirror
from agent.watch.qdisc import paced, qdiscs
from agent.watch.rtnl import POD_PREFIX, Notices
from agent.watch.worker import Worker

log = logger(__name__)

SETTLE_S = 0.02  # of silence before a dump
SETTLE_ROUNDS = 10
RECHECK_S = 30.0  # the sysctls tell nobody when they change
RETRY_S = 1.0

IFF_LOOPBACK = 0x8
IFA_F_DADFAILED = 0x8


class LocalSource:
    """The node's own state, followed by one thread that lives in the node's network namespace."""

    def __init__(self, mirror: Mirror, masquerade: MasqueradeFile, proc: Path = Path("/proc")) -> None:
        self._mirror = mirror
        self._masquerade = masquerade
        self._sysctls = proc / "sys/net/ipv4"
        self._worker = Worker("watch-local", self._run)

    def start(self) -> None:
        """Begin to watch, in the network namespace of the calling thread."""
        self._worker.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._worker.is_stopping:
            try:
                with Notices() as notices, IPRoute() as ipr:
                    self._follow(notices, ipr)
            except (OSError, NetlinkError) as error:
                log.warning("netlink failed; tried again", why=error)
                self._worker.pause(RETRY_S)

    def _follow(self, notices: Notices, ipr: IPRoute) -> None:
        while not self._worker.is_stopping:
            self._mirror.set_local(replace(read(ipr, self._sysctls), not_masqueraded=self._masquerade.read()))
            self._wait(notices)

    def _wait(self, notices: Notices) -> None:
        """Until something changed that the dump would show, and no more comes for the moment."""
        is_due = notices.wait(min(RECHECK_S, self._masquerade.resync_s), self._worker.wake)
        for _ in range(SETTLE_ROUNDS):
            if self._worker.is_stopping or not is_due or not notices.wait(SETTLE_S, self._worker.wake):
                return


def read(ipr: IPRoute, sysctls: Path) -> Local:
    """What this network namespace has right now."""
    return Local(
        devices=tuple(_devices(ipr)),
        netns_cookie=netns_cookie(),
        port_range=_port_range((sysctls / "ip_local_port_range").read_text()),
        reserved_ports=port_ranges((sysctls / "ip_local_reserved_ports").read_text()),
    )


def port_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """The ranges of ip_local_reserved_ports, as ``8080,9148-9150``; a lone port is a range of one."""
    return tuple(
        (int(low), int(high or low))
        for part in text.split(",")
        if part.strip()
        for low, _, high in [part.partition("-")]
    )


def _port_range(text: str) -> tuple[int, int]:
    low, high = text.split()
    return int(low), int(high)


def _devices(ipr: IPRoute) -> Iterator[Device]:
    """Devices that are no pod's, by ifindex; loopback with the addresses that others can reach."""
    links = {link["index"]: link for link in ipr.get_links() if not _name(link).startswith(POD_PREFIX)}
    addresses = _addresses(ipr, links)
    routed = set(_default_route_devices(ipr))
    in_time = paced(qdiscs(ipr))
    for index in sorted(links):
        own = addresses.get(index, {})
        yield Device(
            ifindex=index,
            name=_name(links[index]),
            addresses=tuple(sorted(own, key=lambda a: (a.version, a))),
            networks=tuple(sorted(set(own.values()), key=lambda n: (n.version, n))),
            mtu=links[index].get_attr("IFLA_MTU") or 0,
            default_route=index in routed,
            is_paced=index in in_time,
            loopback=bool(links[index]["flags"] & IFF_LOOPBACK),
        )


def _addresses(ipr: IPRoute, wanted: Iterable[int]) -> dict[int, dict[Address, Network]]:
    """The addresses of each device, and the subnet that each is on."""
    found: dict[int, dict[Address, Network]] = {index: {} for index in wanted}
    for message in ipr.get_addr():
        # on a point-to-point device IFA_ADDRESS is the peer's
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        flags = message.get_attr("IFA_FLAGS") or message["flags"]
        if text is None or message["index"] not in found or flags & IFA_F_DADFAILED:
            continue
        address = ip_address(text)
        if not address.is_loopback:
            # the peer's, where there is one: that is whom the link reaches
            peer = message.get_attr("IFA_ADDRESS") or text
            found[message["index"]][address] = ip_interface(f"{peer}/{message['prefixlen']}").network
    return found


def _default_route_devices(ipr: IPRoute) -> Iterator[int]:
    """The output devices of all default routes of the main table, those of a multipath route too."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for route in ipr.get_default_routes(family=family):
            output = route.get_attr("RTA_OIF")
            if output is not None:
                yield output
            for hop in route.get_attr("RTA_MULTIPATH") or ():
                yield hop["oif"]


def _name(link: object) -> str:
    return str(link.get_attr("IFLA_IFNAME") or "")  # type: ignore[attr-defined]  # pyroute2 has no types
