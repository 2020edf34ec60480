"""A pod's wire to its node: the veth pair, its addresses, routes and neighbours, made and unmade by netlink.

Serves ADD, DEL and CHECK; knows nothing of CNI. The pod's end is born in the pod's namespace under its final
name, so nothing is renamed or moved. A thread visits the pod's namespace by setns and comes back: no fork. ADD writes
to netlink three times, with many requests each: the pair, the pod's side, the node's side.

The node's end comes up last, when its programs are on it: before that, no packet of the pod's gets anywhere.

Every pod sees one neighbour, the node, under the same link-local addresses and MAC, both written down for good:
no ARP, no duplicate address detection, nothing to wait for.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from threading import Lock
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from agent.cookie import netns_cookie
from agent.kernel import netns as namespace
from agent.kernel import requests
from agent.kernel.netlink import Knob, Link, Request, Socket, get_link, run
from agent.kernel.sysctl import PROC
from agent.kernel.wires import side
from agent.model.address import Address
from agent.model.local import Attachment
from agent.serve.attachments import HOST_DEVICE, digest, host_device
from agent.values import LEAST_MTU

HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY4 = IPv4Address("169.254.1.1")
GATEWAY6 = IPv6Address("fe80::ecee:eeff:feee:eeee")  # what HOST_MAC gives by EUI-64
DEFAULT_MTU = 1500  # of a node without uplink
CARRIER_S = 5
LOOPBACK = 1  # lo's ifindex in every namespace
_V4, _V6 = 2, 10  # AF_INET, AF_INET6
_ALIAS = "sluiceway"
_NS_GET_NSTYPE, _CLONE_NEWNET = 0xB703, 0x40000000  # linux/nsfs.h, linux/sched.h
BeforeUp = tuple[tuple[Knob, ...], tuple[Request, ...]]  # sysctls, and requests by which programs are attached
_GONE = frozenset({errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL})


class NetnsUnusable(Exception):  # noqa: N818  the name says what is wrong
    """The network namespace is gone, is none, or is the node's own."""


class InterfaceTaken(Exception):  # noqa: N818  as above
    """The pod's namespace has an interface of that name."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The wire to make."""

    container_id: str
    interface: str
    netns: str  # path
    may_be_host: bool
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    mac: str = ""  # empty: follows from the attachment


@dataclass(frozen=True, slots=True)
class Wire:
    """The wire that was made."""

    host_device: str
    ifindex: int
    mac: str  # of the pod's end
    mtu: int
    netns_cookie: int


class PodLinks:
    """Makes and removes wires between the calling thread's namespace, the node's, and pods'."""

    def __init__(
        self, ways_out: Callable[[], Iterable[int]], before_up: Callable[[str, int], BeforeUp], fixed_mtu: int = 0
    ) -> None:
        """*ways_out* gives the MTUs of the ways out: uplinks, and the tunnel, whose MTU leaves room for what it adds.

        *before_up* tells by a host end's name and ifindex what is done to it before it comes up.

        A *fixed_mtu* other than 0 is the pods' MTU, whatever the devices'.
        """
        self._ways_out = ways_out
        self._before_up = before_up
        # the kernel makes one device at a time: more threads only wait for it, and for the interpreter
        self._turn = Lock()
        self._fixed_mtu = fixed_mtu

    def create(self, wish: Wish) -> Wire:
        """Make the wire, whole or not at all.

        Raises:
            NetnsUnusable: nothing was touched.
            InterfaceTaken: nothing is left.
            OSError, MapsError: the kernel refused a step; nothing is left.
        """
        name = host_device(wish.container_id, wish.interface)
        with self._turn, _open(wish.netns, may_be_host=wish.may_be_host) as pod, Socket() as node:
            mtu = self._mtu()
            link = _make_pair(node, name, wish, pod, mtu)
            try:
                with _inside(pod):
                    inner = _configure_pod(wish, link.peer)
                with inner:
                    self._bring_up(node, inner, link, wish)
                    cookie = inner.cookie
            except BaseException:
                _remove(node, name)
                raise
        return Wire(name, link.index, _pod_mac(wish), mtu, cookie)

    def remove(self, name: str) -> bool:
        """Remove the wire with this host end; its routes, neighbours and the pod's end go with it."""
        with Socket() as node:
            return _remove(node, name)

    def ours(self) -> frozenset[str]:
        """The host ends that are on the node."""
        with IPRoute() as node:
            return frozenset(
                name for link in node.link("dump") if _is_ours(link.get("address"), name := link.get("ifname"))
            )

    def is_alive(self, attachment: Attachment) -> bool:
        """Whether the pod's namespace is the one ADD saw and the node's end is there."""
        try:
            with _open(attachment.netns, may_be_host=True) as pod, _inside(pod):
                if netns_cookie() != attachment.netns_cookie:
                    return False
        except NetnsUnusable:
            return False
        return self.is_there(attachment)

    def is_there(self, attachment: Attachment) -> bool:
        """Whether the node's end is there; it lives as long as the pod's, and that as long as the pod's namespace."""
        with Socket() as node:
            link = node.find(name=attachment.host_device)
            return link is not None and link.index == attachment.ifindex

    def faults(self, attachment: Attachment) -> tuple[str, ...]:
        """What is not as ADD left it; empty when all is well."""
        if not self.is_alive(attachment):
            return (f"{attachment.host_device} or the namespace {attachment.netns} is gone",)
        wanted = frozenset(attachment.addresses)
        with _open(attachment.netns, may_be_host=True) as pod, _inside(pod), IPRoute() as ip:
            link = next(iter(_links(ip, ifname=attachment.interface)), None)
            present = _addresses(ip, link["index"]) if link else frozenset()
            defaults = {str(r.get("gateway")) for f in (_V4, _V6) for r in ip.get_default_routes(family=f)}
        with IPRoute() as node:
            routed = {
                str(route.get("dst"))
                for f in (_V4, _V6)
                for route in node.route("dump", family=f, oif=attachment.ifindex)
            }
        faults = [f"{a} is not on {attachment.interface}" for a in sorted(wanted - present, key=str)]
        faults += [f"the pod has no default route via {g}" for g in map(_gateway, wanted) if str(g) not in defaults]
        faults += [f"the node has no route to {a}" for a in sorted(map(str, wanted)) if a not in routed]
        return tuple(faults)

    def _mtu(self) -> int:
        """The smallest MTU of the ways out; one that changes meanwhile reaches the pod afterwards."""
        return self._fixed_mtu or max(min(self._ways_out(), default=DEFAULT_MTU), LEAST_MTU)

    def _bring_up(self, node: Socket, inner: Socket, link: Link, wish: Wish) -> None:
        """The node's end: programs and sysctls, then up, with routes and neighbours; until packets pass."""
        name = host_device(wish.container_id, wish.interface)
        knobs, guards = self._before_up(name, link.index)
        wanted = [requests.set_up(link.index, f"{_ALIAS} {wish.container_id}"[:255])]
        wanted += [*side(link.index, _pod_mac(wish), _wanted(wish)), get_link(index=link.index)]
        first = (node.asking(*guards),) if guards else ()
        ends = run((*knobs, *first, node.asking(*wanted), inner.asking(get_link(index=link.peer))))
        for netlink, end in zip((node, inner), ends, strict=True):
            _await_carrier(netlink, end)


def _make_pair(node: Socket, name: str, wish: Wish, pod: int, mtu: int) -> Link:
    """The node's end of a new pair. Its name may be taken by what an agent left that died within ADD."""
    pair = requests.add_veth(name, HOST_MAC, mtu, peer=wish.interface, peer_mac=_pod_mac(wish), netns=pod)
    for is_again in (False, True):
        try:
            return node.ask(pair, get_link(name=name))[0]
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            if is_again or not _remove(node, name):
                raise InterfaceTaken(f"{wish.interface} exists already in {wish.netns}") from error
    raise AssertionError


def _configure_pod(wish: Wish, index: int) -> Socket:
    """Give the pod's end its addresses and its way out, from within its namespace; a socket there."""
    if wish.ipv6 and _read_sysctl(switch := f"ipv6/conf/{wish.interface}/disable_ipv6") != "0":
        (PROC / switch).write_text("0")  # it takes the lock of all network devices
    wanted = [requests.set_up(LOOPBACK), requests.set_up(index)]
    for address in _wanted(wish):
        gateway = _gateway(address)
        wanted += [
            requests.add_address(index, address),
            requests.set_neighbour(index, gateway, HOST_MAC),
            requests.set_default_route(index, gateway),
        ]
    ip = Socket()
    try:
        ip.ask(*wanted)
    except BaseException:
        ip.close()
        raise
    return ip


def _await_carrier(netlink: Socket, end: Link) -> None:
    """Until packets pass: a device without queue drops them before the kernel has heard that the other end is up.

    Since Linux 6.8 to ask is enough; before, it hears within milliseconds, of itself.
    """
    deadline = time.monotonic() + CARRIER_S
    link: Link | None = end
    while link is not None and not link.is_operational:
        if time.monotonic() > deadline:
            raise OSError(errno.ENETDOWN, f"device {end.index} has no carrier {CARRIER_S} s after its peer is up")
        time.sleep(0.001)
        link = netlink.find(index=end.index)


def _wanted(wish: Wish) -> tuple[Address, ...]:
    return tuple(address for address in (wish.ipv4, wish.ipv6) if address is not None)


def _pod_mac(wish: Wish) -> str:
    """The pod's MAC, by its attachment unless told: 02 marks a locally administered unicast address (IEEE 802, 8.4)."""
    if wish.mac:
        return wish.mac
    octets = bytes.fromhex("02" + digest(wish.container_id, wish.interface)[-10:])
    return octets.hex(":")


def _gateway(address: Address) -> Address:
    return GATEWAY4 if isinstance(address, IPv4Address) else GATEWAY6


@contextmanager
def _open(path: str, *, may_be_host: bool) -> Iterator[int]:
    """A descriptor of the namespace: the path may change its meaning, the descriptor does not."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NetnsUnusable(f"{path}: {error.strerror}") from error
    try:
        own = os.stat("/proc/thread-self/ns/net")  # noqa: PTH116  a namespace's identity, not a file's
        found = os.fstat(fd)
        if found.st_dev != own.st_dev or fcntl.ioctl(fd, _NS_GET_NSTYPE) != _CLONE_NEWNET:
            raise NetnsUnusable(f"{path}: is no network namespace")
        if found.st_ino == own.st_ino and not may_be_host:
            raise NetnsUnusable(f"{path}: is the node's own network namespace")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _inside(fd: int) -> Iterator[None]:
    with ExitStack() as visit:
        try:
            visit.enter_context(namespace.visiting(fd, "the network namespace"))
        except OSError as error:
            raise NetnsUnusable(str(error)) from error
        yield


def _links(ip: IPRoute, **which: object) -> list[Any]:
    try:
        return list(ip.link("get", **which))
    except NetlinkError as error:
        if error.code in _GONE:
            return []
        raise


def _addresses(ip: IPRoute, index: int) -> frozenset[Address]:
    found: list[Address] = [IPv4Address(a.get("address")) for a in ip.addr("dump", family=_V4, index=index)]
    found += [IPv6Address(a.get("address")) for a in ip.addr("dump", family=_V6, index=index)]
    return frozenset(found)


def _remove(node: Socket, name: str) -> bool:
    """Whether the device was there; only ours is removed, whoever took the name."""
    link = node.find(name=name)
    if link is None or not _is_ours(link.mac, name):
        return False
    try:
        node.ask(requests.delete_link(link.index))
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise
    return True


def _is_ours(mac: object, name: object) -> bool:
    return bool(HOST_DEVICE.fullmatch(str(name))) and mac == HOST_MAC


def _read_sysctl(name: str) -> str:
    """A knob of the namespace the thread is in; "0" where a kernel without IPv6 lacks it."""
    try:
        fd = os.open(f"{PROC}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return "0"
    try:
        return os.read(fd, 16).decode().strip()
    finally:
        os.close(fd)
