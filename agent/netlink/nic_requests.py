"""What is asked of rtnetlink about devices of the node that pods have a part in, and about those above them."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv6Address, ip_address

from agent.model.address import Address
from agent.model.netdev import Netdev
from agent.model.nic import IpvlanMode, MacvlanMode, Nic, NicKind, NicSpec
from agent.netlink.dump import Dump
from agent.netlink.netdev_requests import IFLA_PARENT_DEV_NAME, device_addresses, netdev_told, netns_number
from agent.netlink.requests import Request
from agent.netlink.rtnetlink import (
    ADDRESS,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    IFF_LOOPBACK,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    LINK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NUMBER,
    RT_SCOPE_LINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    WITHOUT_STATISTICS,
    attribute,
    exact,
    number,
    packed,
    text,
)
from agent.netlink.ways_out import default_route_devices, main_routes

# linux/if_link.h
IFLA_PERM_ADDRESS = 54
_MACVLAN_MODE, _MACVLAN_BC_QUEUE_LEN, _IPVLAN_MODE, _VLAN_ID = 1, 7, 1, 1  # IFLA_MACVLAN_*, IFLA_IPVLAN_*, IFLA_VLAN_*
_MACVLAN = {MacvlanMode.PRIVATE: 1, MacvlanMode.VEPA: 2, MacvlanMode.BRIDGE: 4, MacvlanMode.PASSTHRU: 8}
_IPVLAN = {IpvlanMode.L2: 0, IpvlanMode.L3: 1}
_IPVLAN_WORDS = {0: "l2", 1: "l3", 2: "l3s"}
_SHORT = struct.Struct("=H")
AF_INET6 = 10


def nics(dump: Dump) -> tuple[Nic, ...]:
    """The devices of a namespace, in the order of their numbers.

    Raises:
        OSError: the kernel did not answer.
    """
    ways_out = frozenset(default_route_devices(main_routes(dump)))
    links = dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS)
    names = {_index(body): text(attribute(body, LINK.size, IFLA_IFNAME)) for body in links}
    above, modes = dict[int, list[str]](), dict[int, str]()
    for body in links:
        for kind in _below(body):
            below = number(attribute(body, LINK.size, kind))
            above.setdefault(below, []).append(names[_index(body)])
            modes.update({below: mode} if (mode := _ipvlan_mode(body)) else {})
        if master := attribute(body, LINK.size, IFLA_MASTER):  # a port is below what it is a port of
            above.setdefault(_index(body), []).append(names.get(number(master), ""))
    own = device_addresses(dump)
    those = (_nic(body, above.get(_index(body), ()), own, ways_out) for body in links)
    return tuple(replace(one, ipvlan_mode=modes.get(one.netdev.index, "")) for one in those)


def add_above(spec: NicSpec, below: Nic, *, netns: int, name: str, mtu: int) -> Request:
    """A device above one of the node's, born down in the namespace behind the descriptor *netns*."""
    mac = packed(IFLA_ADDRESS, bytes.fromhex(spec.mac.replace(":", ""))) if spec.mac else b""
    kind = packed(IFLA_INFO_KIND, spec.kind.encode() + b"\0") + packed(IFLA_INFO_DATA, _data(spec))
    body = LINK.pack(0, 0, 0, 0, 0) + packed(IFLA_IFNAME, name.encode() + b"\0")
    body += packed(IFLA_LINK, NUMBER.pack(below.netdev.index)) + packed(IFLA_MTU, NUMBER.pack(mtu)) + mac
    body += packed(IFLA_NET_NS_FD, NUMBER.pack(netns)) + packed(IFLA_LINKINFO, kind)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"add the {spec.kind} above {below.netdev.name}")


def kind_of(dump: Dump, index: int) -> str:
    """As what a device was made, as macvlan; empty: hardware, or there is none of this number."""
    for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS):
        if _index(body) == index:
            return _kind(body)
    return ""


def moved_at(dump: Dump, index: int, made_as: str, below: int) -> Netdev | None:
    """The device of this number, if it was made as that, above the device *below* of another namespace.

    Whoever may make one like it must be allowed to change that other namespace.
    """
    for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS):
        if _index(body) != index or _kind(body) != made_as:
            continue
        is_elsewhere = bool(attribute(body, LINK.size, IFLA_LINK_NETNSID))
        if number(attribute(body, LINK.size, IFLA_LINK)) == below and is_elsewhere == bool(below):
            return netdev_told(body)
    return None


def ipvlan_mode_of(dump: Dump, index: int) -> str:
    """The mode of the device of this number; empty: it is no ipvlan, or there is none."""
    links = dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS)
    return next((_ipvlan_mode(body) for body in links if _index(body) == index), "")


def set_ipvlan_mode(index: int, mode: IpvlanMode) -> Request:
    """The mode of an ipvlan, and of all others above the same device."""
    data = packed(IFLA_INFO_DATA, packed(_IPVLAN_MODE, _SHORT.pack(_IPVLAN[mode])))
    kind = packed(IFLA_INFO_KIND, NicKind.IPVLAN.encode() + b"\0") + data
    return Request(RTM_NEWLINK, 0, LINK.pack(0, 0, index, 0, 0) + packed(IFLA_LINKINFO, kind), "set the mode", mode)


def netdev_at(dump: Dump, index: int) -> Netdev | None:
    """The device of this number; None when there is none."""
    for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS):
        if _index(body) == index:
            return netdev_told(body)
    return None


def links_above(dump: Dump, index: int, netns: int = -1) -> tuple[int, ...]:
    """What is made above a device, as macvlan, beside it or in the namespace behind the descriptor *netns*."""
    links = dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS)
    place = netns_number(dump, netns) if netns >= 0 else b""
    those = (body for body in links if attribute(body, LINK.size, IFLA_LINK_NETNSID) == place)
    return tuple(
        _index(body)
        for body in those
        if number(attribute(body, LINK.size, IFLA_LINK)) == index and _kind(body) != "veth"  # whose other end it is
    )


def hardware_of(dump: Dump, parent: str, permanent_mac: str) -> Netdev | None:
    """The device of this hardware, whatever its name is by now; None when it is in another namespace.

    One PCI function may have several devices, which their permanent addresses tell apart.
    """
    for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS):
        is_its = permanent_mac in {"", attribute(body, LINK.size, IFLA_PERM_ADDRESS).hex(":")}
        if is_its and text(attribute(body, LINK.size, IFLA_PARENT_DEV_NAME)) == parent:
            return netdev_told(body)
    return None


def netdev_named(dump: Dump, name: str) -> Netdev | None:
    """The device of this name; None when there is none."""
    for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS):
        if exact(attribute(body, LINK.size, IFLA_IFNAME)) == name:
            return netdev_told(body)
    return None


def addresses_at(dump: Dump, index: int) -> frozenset[Address]:
    """The addresses of the device of this number, those for its link alone too."""
    bodies = (body for body in dump.read(RTM_GETADDR, bytes(ADDRESS.size)) if ADDRESS.unpack_from(body)[4] == index)
    values = (attribute(body, ADDRESS.size, IFA_LOCAL) or attribute(body, ADDRESS.size, IFA_ADDRESS) for body in bodies)
    return frozenset(ip_address(value) for value in values if value)


def add_link_local(index: int, address: IPv6Address) -> Request:
    """An address for the link alone, in place of the kernel's own."""
    body = ADDRESS.pack(AF_INET6, 64, IFA_F_NODAD, RT_SCOPE_LINK, index)
    body += packed(IFA_LOCAL, address.packed) + packed(IFA_ADDRESS, address.packed)
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, "add the address", address)


def _below(body: bytes) -> Iterator[int]:
    """The attribute that names what a device is above, unless that is in another namespace."""
    is_here = attribute(body, LINK.size, IFLA_LINK) and not attribute(body, LINK.size, IFLA_LINK_NETNSID)
    if is_here and _kind(body) != "veth":  # whose other end is beside it
        yield IFLA_LINK


def _nic(body: bytes, above: Iterable[str], own: Mapping[int, tuple[str, ...]], ways_out: frozenset[int]) -> Nic:
    index = _index(body)
    return Nic(
        netdev=netdev_told(body),
        parent=text(attribute(body, LINK.size, IFLA_PARENT_DEV_NAME)),
        permanent_mac=attribute(body, LINK.size, IFLA_PERM_ADDRESS).hex(":"),
        made_as=_kind(body),
        below=number(attribute(body, LINK.size, IFLA_LINK)),
        is_loopback=bool(LINK.unpack_from(body)[3] & IFF_LOOPBACK),
        above=tuple(sorted(above)),
        node_addresses=own.get(index, ()),
        is_way_out=index in ways_out,
    )


def _data(spec: NicSpec) -> bytes:
    match spec.kind:
        case NicKind.MACVLAN:
            queue = spec.broadcast_queue
            more = packed(_MACVLAN_BC_QUEUE_LEN, NUMBER.pack(queue)) if queue is not None else b""
            return packed(_MACVLAN_MODE, NUMBER.pack(_MACVLAN[spec.macvlan_mode])) + more
        case NicKind.IPVLAN:
            return packed(_IPVLAN_MODE, _SHORT.pack(_IPVLAN[spec.ipvlan_mode]))
        case NicKind.VLAN:
            return packed(_VLAN_ID, _SHORT.pack(spec.vlan))
        case NicKind.HOST_DEVICE:
            raise AssertionError(spec.kind)


def _kind(body: bytes) -> str:
    return text(attribute(attribute(body, LINK.size, IFLA_LINKINFO), 0, IFLA_INFO_KIND))


def _ipvlan_mode(body: bytes) -> str:
    if _kind(body) != NicKind.IPVLAN:
        return ""
    value = attribute(attribute(attribute(body, LINK.size, IFLA_LINKINFO), 0, IFLA_INFO_DATA), 0, _IPVLAN_MODE)
    return _IPVLAN_WORDS.get(_SHORT.unpack(value)[0], "") if value else ""


def _index(body: bytes) -> int:
    return int(LINK.unpack_from(body)[2])
