"""Watches this node itself: devices, addresses, default routes, queues, ports in use; the Local part of the Cluster.

A notification is only the sign to look again: what counts is the next dump, so an overrun loses nothing. Those about
pods' own devices are passed over by their fixed headers, for a dump per pod would be dear on a full node.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface
from pathlib import Path

from agent.compile.bgp.bird import OWN_PROTOCOL
from agent.log import logger
from agent.model.address import Address, Network
from agent.model.attachment import is_veth_name
from agent.model.local import Device, FarGateway, Local
from agent.model.ports import port_ranges
from agent.netlink.cookie import netns_cookie
from agent.netlink.dump import Dump
from agent.netlink.rtnetlink import (
    ADDRESS,
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    IFA_ADDRESS,
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_SECONDARY,
    IFA_F_TENTATIVE,
    IFA_FLAGS,
    IFA_LOCAL,
    IFF_LOOPBACK,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    LINK,
    RT_SCOPE_UNIVERSE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTPROT_BIRD,
    WITHOUT_STATISTICS,
    attribute,
    number,
    text,
)
from agent.netlink.ways_out import by_gateways, default_route_devices, main_routes
from agent.threads import Threads, Worker
from agent.watch.mirror import Mirror
from agent.watch.node.masquerade import MasqueradeFile
from agent.watch.node.notices import NodeNotices
from agent.watch.node.qdisc import paced, qdiscs

log = logger(__name__)

SETTLE_S = 0.02  # of silence before a dump
SETTLE_ROUNDS = 10
RECHECK_S = 30.0  # the sysctls tell nobody when they change
RETRY_S = 1.0
VRF = "vrf"  # has devices of its own as a bond has, but what comes in by them stays theirs

_UNFIT = IFA_F_SECONDARY | IFA_F_DEPRECATED | IFA_F_TENTATIVE  # for what begins now


@dataclass(frozen=True, slots=True)
class _Link:
    """What a link's message says of it."""

    ifindex: int
    name: str
    kind: int  # ARPHRD_*
    flags: int
    mtu: int
    mac: bytes
    made_as: str  # kind of what is no hardware
    master: int


@dataclass(slots=True)
class _Addresses:
    """Those of a device."""

    subnets: dict[Address, Network] = field(default_factory=dict)  # each one's
    sources: list[Address] = field(default_factory=list)


class LocalSource:
    """The node's own state, followed by one thread that lives in the node's network namespace."""

    def __init__(
        self, mirror: Mirror, masquerade: MasqueradeFile, threads: Threads, proc: Path = Path("/proc")
    ) -> None:
        self._mirror = mirror
        self._masquerade = masquerade
        self._sysctls = proc / "sys/net"
        self._worker = Worker(threads, "watch-local", self._run)

    def start(self) -> None:
        """Begin to watch, in the network namespace of the calling thread."""
        self._worker.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._worker.is_stopping:
            try:
                with NodeNotices() as notices, Dump() as dump:
                    self._follow(notices, dump)
            except OSError as error:
                log.warning("netlink failed; tried again", why=error)
                self._worker.pause(RETRY_S)

    def _follow(self, notices: NodeNotices, dump: Dump) -> None:
        while not self._worker.is_stopping:
            with self._worker.busy():
                self._mirror.set_local(replace(read(dump, self._sysctls), not_masqueraded=self._masquerade.read()))
            self._wait(notices)

    def _wait(self, notices: NodeNotices) -> None:
        """Until something changed that the dump would show, and no more comes for the moment."""
        is_due = notices.wait(min(RECHECK_S, self._masquerade.resync_s), self._worker.wake)
        for _ in range(SETTLE_ROUNDS):
            if self._worker.is_stopping or not is_due or not notices.wait(SETTLE_S, self._worker.wake):
                return


def read(dump: Dump, sysctls: Path) -> Local:
    """What this network namespace has right now."""
    routes = main_routes(dump)
    devices = tuple(_devices(dump, routes, sysctls))
    return Local(
        devices=devices,
        far_gateways=tuple(_far_gateways(devices, routes)),
        netns_cookie=netns_cookie(),
        has_ipv6=(sysctls / "ipv6/conf/all").exists(),
        port_range=_port_range((sysctls / "ipv4/ip_local_port_range").read_text()),
        reserved_ports=port_ranges((sysctls / "ipv4/ip_local_reserved_ports").read_text()),
    )


def _port_range(text: str) -> tuple[int, int]:
    low, high = text.split()
    return int(low), int(high)


def _far_gateways(devices: Iterable[Device], routes: Iterable[bytes]) -> Iterator[FarGateway]:
    """A link-local gateway of IPv6's is on its device's subnet."""
    known = {one.ifindex: one for one in devices}
    for way in by_gateways(routes, (RTPROT_BIRD, OWN_PROTOCOL)):
        device = known.get(way.ifindex)
        if device is not None and not any(way.gateway in one for one in device.networks):
            yield FarGateway(way.network, way.gateway, device.name)


def _devices(dump: Dump, routes: Iterable[bytes], sysctls: Path) -> Iterator[Device]:
    """Devices that are no pod's, by ifindex; loopback with the addresses that others can reach."""
    links = {link.ifindex: link for link in _links(dump)}
    addresses = _addresses(dump, links)
    routed = set(default_route_devices(routes))
    in_time = paced(qdisc for qdisc in qdiscs(dump) if qdisc.ifindex in links)
    for index in sorted(links):
        own = addresses[index]
        yield Device(
            ifindex=index,
            name=links[index].name,
            addresses=tuple(sorted(own.subnets, key=lambda a: (a.version, a))),
            sources=tuple(own.sources),
            networks=tuple(sorted(set(own.subnets.values()), key=lambda n: (n.version, n))),
            mtu=links[index].mtu,
            default_route=index in routed,
            is_paced=index in in_time,
            is_up=bool(links[index].flags & IFF_UP),
            has_ipv6=not _is_without_ipv6(sysctls / "ipv6/conf" / links[index].name),
            kind=links[index].made_as,
            is_bridge=links[index].made_as == "bridge",
            master=links[index].master,
            has_ethernet=links[index].kind in {ARPHRD_ETHER, ARPHRD_LOOPBACK},
            mac=links[index].mac,
            loopback=bool(links[index].flags & IFF_LOOPBACK),
        )


def _is_without_ipv6(device: Path) -> bool:
    try:
        return (device / "disable_ipv6").read_text().strip() == "1"
    except OSError:  # it left meanwhile, or the kernel has no IPv6, which is told of the kernel
        return False


def _links(dump: Dump) -> Iterator[_Link]:
    """The links that are no pod's."""
    for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS):
        name = text(attribute(body, LINK.size, IFLA_IFNAME))
        if not is_veth_name(name):
            _, kind, index, flags, _ = LINK.unpack_from(body)
            info = attribute(body, LINK.size, IFLA_LINKINFO)
            made_as, port_of = (text(attribute(info, 0, which)) for which in (IFLA_INFO_KIND, IFLA_INFO_SLAVE_KIND))
            mtu, master = (number(attribute(body, LINK.size, which)) for which in (IFLA_MTU, IFLA_MASTER))
            mac = bytes(attribute(body, LINK.size, IFLA_ADDRESS)) if kind == ARPHRD_ETHER else b""
            if port_of == VRF:
                master = 0
            yield _Link(index, name, kind, flags, mtu, mac, made_as, master)


def _addresses(dump: Dump, wanted: Iterable[int]) -> dict[int, _Addresses]:
    """The addresses of each device."""
    found = {index: _Addresses() for index in wanted}
    for body in dump.read(RTM_GETADDR, bytes(ADDRESS.size)):
        _, length, flags, scope, index = ADDRESS.unpack_from(body)
        if index not in found:
            continue
        # on a point-to-point device IFA_ADDRESS is the peer's
        peer, own = (attribute(body, ADDRESS.size, kind) for kind in (IFA_ADDRESS, IFA_LOCAL))
        flags = number(attribute(body, ADDRESS.size, IFA_FLAGS)) or flags
        if not (own or peer) or flags & IFA_F_DADFAILED:
            continue
        address = ip_address(own or peer)
        if not address.is_loopback:
            # the peer's, where there is one: that is whom the link reaches
            found[index].subnets[address] = ip_interface((peer or own, length)).network
            if scope == RT_SCOPE_UNIVERSE and not flags & _UNFIT:
                found[index].sources.append(address)
    return found
