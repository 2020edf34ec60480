"""What is asked of rtnetlink about VFs: their settings on the PF, and their devices' way into a namespace and back.

pyroute2 0.9.7 writes a VLAN with its protocol in 14 octets, where kernels since the fix of CVE-2024-36017 want the
whole structure of 16; here each structure is as ``linux/if_link.h`` has it.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network
from typing import assert_never

from agent.compile.vf import Change, SetLinkState, SetMac, SetRate, SetSpoofCheck, SetTrust, SetVlan
from agent.model.address import Address, Network, family
from agent.model.vf import LinkState, VfNetdev, VfRoute, VfSettings, VlanProtocol
from agent.netlink.dump import Dump
from agent.netlink.requests import FAMILIES, Request
from agent.netlink.rtnetlink import (
    ADDRESS,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_EXT_MASK,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_XDP,
    LINK,
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
    RTEXT_FILTER_SKIP_STATS,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RTPROT_STATIC,
    WITHOUT_STATISTICS,
    attribute,
    attributes,
    number,
    packed,
    text,
)

# linux/if_link.h, linux/rtnetlink.h, linux/netlink.h
IFLA_VFINFO_LIST, IFLA_PROP_LIST, IFLA_ALT_IFNAME, IFLA_PARENT_DEV_NAME = 22, 52, 53, 56
VF_INFO, VF_VLAN_INFO = 1, 1
VF_MAC, VF_SPOOFCHK, VF_LINK_STATE, VF_RATE, VF_TRUST, VF_VLAN_LIST = 1, 4, 5, 6, 9, 12
RTEXT_FILTER_VF = 0x1
IFLA_XDP_FD, IFLA_XDP_FLAGS = 1, 3
XDP_GENERIC, XDP_NATIVE = 0x2, 0x4  # XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE
IFF_PROMISC, IFF_ALLMULTI = 0x100, 0x200  # linux/if.h
RTM_NEWLINKPROP, RTM_DELLINKPROP = 108, 109
NLA_F_NESTED = 0x8000
_MAC = struct.Struct("=I32s")  # struct ifla_vf_mac; an Ethernet address is its first six octets
_VLAN = struct.Struct("=IIIH2x")  # struct ifla_vf_vlan_info; the protocol in network order
_RATE = struct.Struct("=III")  # struct ifla_vf_rate
_SETTING = struct.Struct("=II")  # struct ifla_vf_spoofchk, ifla_vf_trust, ifla_vf_link_state
_UNTOLD = 0xFFFFFFFF  # of a driver that does not say
_PROTOCOLS = {VlanProtocol.C_TAG: 0x8100, VlanProtocol.S_TAG: 0x88A8}  # linux/if_ether.h
_STATES = {LinkState.AUTO: 0, LinkState.ENABLE: 1, LinkState.DISABLE: 2}
ETHERNET = 6  # octets
OCTETS: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}  # of an address
RouteKey = tuple[Network, int, int]  # destination, table, priority


def set_vf(pf: int, vf: int, change: Change) -> Request:
    """One attribute of a VF set, at the PF of this ifindex."""
    kind, value = _setting(vf, change)
    body = LINK.pack(0, 0, pf, 0, 0) + packed(IFLA_VFINFO_LIST, packed(VF_INFO, packed(kind, value)))
    return Request(RTM_NEWLINK, 0, body, f"set {change.field} of VF {vf} to {change}")


def vf_settings(dump: Dump, pf: int, vf: int) -> VfSettings | None:
    """What the PF of this ifindex keeps for a VF; None when it has no such VF.

    Raises:
        OSError: there is no such PF.
    """
    mask = packed(IFLA_EXT_MASK, NUMBER.pack(RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS))
    body = dump.one(RTM_GETLINK, LINK.pack(0, 0, pf, 0, 0) + mask)
    for kind, value in attributes(attribute(body, LINK.size, IFLA_VFINFO_LIST), 0):
        told = dict(attributes(value, 0))
        if kind == VF_INFO and VF_MAC in told and _MAC.unpack_from(told[VF_MAC])[0] == vf:
            return _settings(told)
    return None


def netdev_of(dump: Dump, address: str) -> VfNetdev | None:
    """The network device of a PCI function in the dump's namespace; None when it is in another, or has none.

    The kernel tells a device's parent since Linux 5.14, in every namespace, under whatever name the device has.
    """
    for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITHOUT_STATISTICS):
        if text(attribute(body, LINK.size, IFLA_PARENT_DEV_NAME)) == address:
            return _netdev(body)
    return None


def addresses_of(dump: Dump, index: int) -> tuple[str, ...]:
    """A device's addresses, but for those that mean something on its link alone."""
    found = []
    for body in dump.read(RTM_GETADDR, bytes(ADDRESS.size)):
        _, _, _, scope, device = ADDRESS.unpack_from(body)
        if device == index and scope == RT_SCOPE_UNIVERSE and (value := attribute(body, ADDRESS.size, IFA_ADDRESS)):
            found.append(str(ip_address(value)))
    return tuple(found)


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
    body = LINK.pack(0, 0, index, 0, 0) + packed(IFLA_IFNAME, name.encode() + b"\0")
    return Request(RTM_NEWLINK, 0, body, f"rename device {index} to {name}")


def move(index: int, netns: int, name: str) -> Request:
    """A device that is down into the namespace behind a descriptor, and under this name there."""
    body = LINK.pack(0, 0, index, 0, 0) + packed(IFLA_NET_NS_FD, NUMBER.pack(netns))
    body += packed(IFLA_IFNAME, name.encode() + b"\0")
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


def add_route(index: int, route: VfRoute) -> Request:
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


def routes_of_others(dump: Dump, index: int, kind: int) -> Iterator[RouteKey]:
    """The routes of a family (``AF_*``) that lead out of other devices than this, of all tables."""
    for body in dump.read(RTM_GETROUTE, ROUTE.pack(kind, 0, 0, 0, RT_TABLE_UNSPEC, 0, 0, 0, 0)):
        head = ROUTE.unpack_from(body)
        if head[0] == kind and number(attribute(body, ROUTE.size, RTA_OIF)) != index:
            destination = attribute(body, ROUTE.size, RTA_DST) or bytes(OCTETS[kind])
            table = number(attribute(body, ROUTE.size, RTA_TABLE)) or head[4]
            yield ip_network((destination, head[1])), table, number(attribute(body, ROUTE.size, RTA_PRIORITY))


def _setting(vf: int, change: Change) -> tuple[int, bytes]:
    match change:
        case SetVlan():
            info = _VLAN.pack(vf, change.vlan, change.qos, socket.htons(_PROTOCOLS[change.proto]))
            return VF_VLAN_LIST, packed(VF_VLAN_INFO, info)
        case SetMac():
            return VF_MAC, _MAC.pack(vf, bytes.fromhex(change.mac.replace(":", "")))
        case SetRate():
            return VF_RATE, _RATE.pack(vf, change.least, change.most)
        case SetSpoofCheck():
            return VF_SPOOFCHK, _SETTING.pack(vf, change.on)
        case SetTrust():
            return VF_TRUST, _SETTING.pack(vf, change.on)
        case SetLinkState():
            return VF_LINK_STATE, _SETTING.pack(vf, _STATES[change.state])
        case _:
            assert_never(change)


def _settings(told: dict[int, bytes]) -> VfSettings:
    vlan = attribute(told.get(VF_VLAN_LIST, b""), 0, VF_VLAN_INFO)
    _, tag, qos, proto = _VLAN.unpack(vlan.ljust(_VLAN.size, b"\0"))
    _, least, most = _RATE.unpack(told.get(VF_RATE, b"").ljust(_RATE.size, b"\0"))
    state = next((state for state, value in _STATES.items() if value == _flag(told, VF_LINK_STATE)), None)
    s_tag = socket.htons(_PROTOCOLS[VlanProtocol.S_TAG])
    return VfSettings(
        vlan=tag if vlan else None,
        vlan_qos=qos if vlan else None,
        vlan_proto=(VlanProtocol.S_TAG if proto == s_tag else VlanProtocol.C_TAG) if vlan else None,
        mac=_MAC.unpack_from(told[VF_MAC])[1][:ETHERNET].hex(":"),
        spoofchk=_switch(told, VF_SPOOFCHK),
        trust=_switch(told, VF_TRUST),
        link_state=state,
        min_tx_rate=least if VF_RATE in told else None,
        max_tx_rate=most if VF_RATE in told else None,
    )


def _netdev(body: bytes) -> VfNetdev:
    _, _, index, flags, _ = LINK.unpack_from(body)
    names = attribute(body, LINK.size, IFLA_PROP_LIST | NLA_F_NESTED)
    return VfNetdev(
        name=text(attribute(body, LINK.size, IFLA_IFNAME)),
        index=index,
        mac=attribute(body, LINK.size, IFLA_ADDRESS).hex(":"),
        mtu=number(attribute(body, LINK.size, IFLA_MTU)),
        altnames=tuple(text(value) for kind, value in attributes(names, 0) if kind == IFLA_ALT_IFNAME),
        is_up=bool(flags & IFF_UP),
    )


def _altname(kind: int, flags: int, index: int, name: str, verb: str) -> Request:
    value = packed(IFLA_PROP_LIST | NLA_F_NESTED, packed(IFLA_ALT_IFNAME, name.encode() + b"\0"))
    return Request(kind, flags, LINK.pack(0, 0, index, 0, 0) + value, f"{verb} device {index} the other name {name}")


def _flag(told: dict[int, bytes], kind: int) -> int:
    return int(_SETTING.unpack(told[kind])[1]) if kind in told else _UNTOLD


def _switch(told: dict[int, bytes], kind: int) -> bool | None:
    value = _flag(told, kind)
    return None if value == _UNTOLD else bool(value)


def _family(address: Address) -> int:
    return FAMILIES[family(address)]
