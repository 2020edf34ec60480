"""What is asked of rtnetlink about a network device's way into a pod's namespace and home, and what it has there."""

import socket
import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network

from agent.model.address import Address, Network, family
from agent.model.netdev import Netdev, NetdevRoute, printable
from agent.netlink.dump import Dump
from agent.netlink.link_settings import IFF_ALLMULTI, IFF_PROMISC, settings_told
from agent.netlink.requests import FAMILIES, Request
from agent.netlink.rtnetlink import (
    ADDRESS,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_XDP,
    LINK,
    NETNSA_FD,
    NETNSA_NSID,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NUMBER,
    ROUTE,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RT_TABLE_UNSPEC,
    RTA_DST,
    RTA_GATEWAY,
    RTA_METRICS,
    RTA_OIF,
    RTA_PRIORITY,
    RTA_TABLE,
    RTAX_ADVMSS,
    RTAX_MTU,
    RTGEN,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNSID,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RTPROT_STATIC,
    WITHOUT_STATISTICS,
    attribute,
    attributes,
    exact,
    number,
    octets,
    packed,
    text,
)

# linux/if_link.h, linux/rtnetlink.h, linux/netlink.h
IFLA_NEW_IFINDEX, IFLA_PROP_LIST, IFLA_ALT_IFNAME, IFLA_PARENT_DEV_NAME = 49, 52, 53, 56
IFLA_XDP_FD, IFLA_XDP_FLAGS = 1, 3
XDP_GENERIC, XDP_NATIVE = 0x2, 0x4  # XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE
RTM_NEWLINKPROP, RTM_DELLINKPROP = 108, 109
NLA_F_NESTED = 0x8000
OCTETS: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}  # of an address
RouteKey = tuple[Network, int, int]  # destination, table, priority


def netdev_of(dump: Dump, address: str) -> Netdev | None:
    """The network device of a PCI function in the dump's namespace; None when it is in another, or has none.

    The kernel tells a device's parent since Linux 5.14, in every namespace, under whatever name the device has.
    """
    for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS):
        if text(attribute(body, LINK.size, IFLA_PARENT_DEV_NAME)) == address:
            return netdev_told(body)
    return None


def netdevs(dump: Dump) -> Iterator[Netdev]:
    """All devices of a namespace."""
    yield from map(netdev_told, dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS))


def netns_number(dump: Dump, fd: int) -> bytes:
    """The number by which the dump's namespace knows that behind a descriptor, as ``IFLA_LINK_NETNSID`` has it.

    It has one since a device was asked for that leads there.
    """
    return attribute(dump.one(RTM_GETNSID, RTGEN.pack(0) + packed(NETNSA_FD, NUMBER.pack(fd))), RTGEN.size, NETNSA_NSID)


def device_addresses(dump: Dump) -> Mapping[int, tuple[str, ...]]:
    """The addresses of each device that has some, by its number, but for those that mean something on a link alone."""
    found: dict[int, list[str]] = {}
    for body in dump.read(RTM_GETADDR, bytes(ADDRESS.size)):
        _, _, _, scope, device = ADDRESS.unpack_from(body)
        if scope == RT_SCOPE_UNIVERSE and (value := attribute(body, ADDRESS.size, IFA_ADDRESS)):
            found.setdefault(device, []).append(str(ip_address(value)))
    return {device: tuple(those) for device, those in found.items()}


def name_of(dump: Dump, index: int) -> str:
    """The name of the device of this ifindex.

    Raises:
        OSError: there is none.
    """
    return text(attribute(dump.one(RTM_GETLINK, LINK.pack(0, 0, index, 0, 0)), LINK.size, IFLA_IFNAME))


def link_index(dump: Dump, name: str) -> tuple[int, int] | None:
    """The ifindex and MTU of a device; None when there is none of that name."""
    for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS):
        if text(attribute(body, LINK.size, IFLA_IFNAME)) == name:
            return LINK.unpack_from(body)[2], number(attribute(body, LINK.size, IFLA_MTU))
    return None


def set_down(index: int) -> Request:
    """A device set down."""
    return Request(RTM_NEWLINK, 0, LINK.pack(0, 0, index, 0, IFF_UP), "set the device down")


def set_attentive(index: int) -> Request:
    """A device takes what is sent to it, and nothing else."""
    body = LINK.pack(0, 0, index, 0, IFF_PROMISC | IFF_ALLMULTI)
    return Request(RTM_NEWLINK, 0, body, f"have device {index} take its own packets alone")


def detach_xdp(index: int, mode: int) -> Request:
    """No XDP program that was attached by netlink, in this mode; none is none already."""
    chosen = packed(IFLA_XDP_FD, struct.pack("=i", -1)) + packed(IFLA_XDP_FLAGS, NUMBER.pack(mode))
    body = LINK.pack(0, 0, index, 0, 0) + packed(IFLA_XDP | NLA_F_NESTED, chosen)
    return Request(RTM_NEWLINK, 0, body, f"have no XDP program on device {index}")


def rename(index: int, name: str) -> Request:
    """A device that is down gets another name."""
    body = LINK.pack(0, 0, index, 0, 0) + packed(IFLA_IFNAME, octets(name))
    return Request(RTM_NEWLINK, 0, body, f"rename device {index} to {printable(name)}")


def move(index: int, netns: int, name: str, new_index: int = 0) -> Request:
    """A device that is down into the namespace behind a descriptor, under this name there, and this number if any."""
    body = LINK.pack(0, 0, index, 0, 0) + packed(IFLA_NET_NS_FD, NUMBER.pack(netns))
    body += packed(IFLA_IFNAME, octets(name))
    body += packed(IFLA_NEW_IFINDEX, NUMBER.pack(new_index)) if new_index else b""
    return Request(RTM_NEWLINK, 0, body, f"move device {index} to another network namespace")


def set_mac(index: int, mac: str) -> Request:
    """A device's own address."""
    body = LINK.pack(0, 0, index, 0, 0) + packed(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    return Request(RTM_NEWLINK, 0, body, f"set the MAC address {mac} of device {index}")


def add_altname(index: int, name: str) -> Request:
    """Another name by which a device can be found."""
    return _altname(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL, index, name, "give")


def delete_altname(index: int, name: str) -> Request:
    """Such a name taken away."""
    return _altname(RTM_DELLINKPROP, 0, index, name, "take")


def add_interface_address(index: int, given: IPv4Interface | IPv6Interface) -> Request:
    """An address with its subnet; that it is nobody else's is IPAM's business."""
    value, flags = given.ip.packed, IFA_F_NODAD if given.version == 6 else 0  # noqa: PLR2004
    body = ADDRESS.pack(_family(given.ip), given.network.prefixlen, flags, RT_SCOPE_UNIVERSE, index)
    body += packed(IFA_LOCAL, value) + packed(IFA_ADDRESS, value)
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, "add the address", given)


def add_route(index: int, route: NetdevRoute) -> Request:
    """A route out of a device, by a gateway or to what is on its link."""
    destination, scope = route.destination, route.scope
    if scope is None:
        is_on_link = not route.gateway and destination.version == 4  # noqa: PLR2004
        scope = RT_SCOPE_LINK if is_on_link else RT_SCOPE_UNIVERSE
    kind, length = _family(destination.network_address), destination.prefixlen
    body = ROUTE.pack(kind, length, 0, 0, RT_TABLE_UNSPEC, RTPROT_STATIC, scope, RTN_UNICAST, 0)
    if length:
        body += packed(RTA_DST, destination.network_address.packed)
    if route.gateway:
        body += packed(RTA_GATEWAY, route.gateway.packed)
    body += packed(RTA_OIF, NUMBER.pack(index)) + packed(RTA_TABLE, NUMBER.pack(route.table or RT_TABLE_MAIN))
    if route.priority:
        body += packed(RTA_PRIORITY, NUMBER.pack(route.priority))
    metrics = ((RTAX_MTU, route.mtu), (RTAX_ADVMSS, route.advmss))
    if chosen := b"".join(packed(which, NUMBER.pack(value)) for which, value in metrics if value):
        body += packed(RTA_METRICS, chosen)
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, "set the route to", destination)


def routes_of(dump: Dump, kind: int) -> Iterator[tuple[RouteKey, int]]:
    """The routes of a family (``AF_*``), of all tables, and the device of each; 0: of a route of several ways."""
    for body in dump.read(RTM_GETROUTE, ROUTE.pack(kind, 0, 0, 0, RT_TABLE_UNSPEC, 0, 0, 0, 0)):
        head = ROUTE.unpack_from(body)
        if head[0] == kind:
            destination = attribute(body, ROUTE.size, RTA_DST) or bytes(OCTETS[kind])
            table = number(attribute(body, ROUTE.size, RTA_TABLE)) or head[4]
            key = ip_network((destination, head[1])), table, number(attribute(body, ROUTE.size, RTA_PRIORITY))
            yield key, number(attribute(body, ROUTE.size, RTA_OIF))


def routes_of_others(dump: Dump, index: int, kind: int) -> Iterator[RouteKey]:
    """Those that lead out of other devices than this."""
    yield from (key for key, device in routes_of(dump, kind) if device != index)


def netdev_told(body: bytes) -> Netdev:
    """What the kernel tells of a device."""
    _, _, index, flags, _ = LINK.unpack_from(body)
    names = attribute(body, LINK.size, IFLA_PROP_LIST | NLA_F_NESTED)
    return Netdev(
        name=exact(attribute(body, LINK.size, IFLA_IFNAME)),
        index=index,
        mac=attribute(body, LINK.size, IFLA_ADDRESS).hex(":"),
        mtu=number(attribute(body, LINK.size, IFLA_MTU)),
        altnames=tuple(exact(value) for kind, value in attributes(names, 0) if kind == IFLA_ALT_IFNAME),
        is_up=bool(flags & IFF_UP),
        settings=settings_told(body),
    )


def _altname(kind: int, flags: int, index: int, name: str, verb: str) -> Request:
    value = packed(IFLA_PROP_LIST | NLA_F_NESTED, packed(IFLA_ALT_IFNAME, octets(name)))
    doing = f"{verb} device {index} the other name {printable(name)}"
    return Request(kind, flags, LINK.pack(0, 0, index, 0, 0) + value, doing)


def _family(address: Address) -> int:
    return FAMILIES[family(address)]
