"""What a pod's wire asks of netlink: devices, addresses, neighbours, routes and filters, each packed as a request."""

import socket
import struct

from agent.model.address import Address, Family, family
from agent.netlink.rtnetlink import (
    ADDRESS,
    IFLA_ADDRESS,
    IFLA_MTU,
    LINK,
    NDA_DST,
    NDA_LLADDR,
    NEIGHBOUR,
    ROUTE,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    TRAFFIC,
    packed,
)
from agent.netlink.socket import IFF_UP, Request, packed_name

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/veth.h, linux/if_addr.h, linux/neighbour.h
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_NET_NS_FD = 18, 20, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD = 1, 2, 0x02
NUD_PERMANENT = 0x80
RT_TABLE_MAIN, RTN_UNICAST, RTPROT_STATIC, RTNH_F_ONLINK = 254, 1, 4, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
# linux/pkt_sched.h, linux/pkt_cls.h, linux/if_ether.h
RTM_NEWQDISC, RTM_NEWTFILTER = 36, 44
CLSACT, CLSACT_HANDLE, CLSACT_INGRESS, CLSACT_EGRESS = 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2, 0xFFFFFFF3
TCA_KIND, TCA_OPTIONS, TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT = 1, 2, 6, 7, 8, 1
ETH_P_ALL = 0x0003
FILTER_HANDLE, FILTER_PRIORITY = 1, 1  # as maps/shim.c's
_NUMBER = struct.Struct("=I")
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


def add_veth(  # noqa: PLR0913  both ends have what a device has
    name: str, mac: str, mtu: int, *, peer: str, peer_mac: str, netns: int
) -> Request:
    """A veth pair; the peer is born in the namespace behind the descriptor *netns*."""
    other = _blank(peer, peer_mac, mtu) + packed(IFLA_NET_NS_FD, _NUMBER.pack(netns))
    kind = packed(IFLA_INFO_KIND, b"veth\0") + packed(IFLA_INFO_DATA, packed(VETH_INFO_PEER, other))
    body = _blank(name, mac, mtu) + packed(IFLA_LINKINFO, kind)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"add the veth pair {name}, {peer}")


def set_up(index: int, alias: str = "") -> Request:
    """A device set up, and what `ip link` shows as its alias."""
    shown = packed(IFLA_IFALIAS, alias.encode()) if alias else b""
    return Request(RTM_NEWLINK, 0, LINK.pack(0, 0, index, IFF_UP, IFF_UP) + shown, "set the device up")


def delete_link(index: int) -> Request:
    """A device removed; of a veth, both ends."""
    return Request(RTM_DELLINK, 0, LINK.pack(0, 0, index, 0, 0), "remove the device")


def add_address(index: int, address: Address) -> Request:
    """An address of its own length, used from now on: no other node can have it."""
    value, is_v6 = address.packed, family(address) is Family.IPV6
    body = ADDRESS.pack(_family(address), len(value) * 8, IFA_F_NODAD if is_v6 else 0, RT_SCOPE_UNIVERSE, index)
    body += packed(IFA_LOCAL, value) + packed(IFA_ADDRESS, value)
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, "add the address", address)


def set_neighbour(index: int, address: Address, mac: str) -> Request:
    """A neighbour that is known for good."""
    body = NEIGHBOUR.pack(_family(address), index, NUD_PERMANENT, 0, 0)
    body += packed(NDA_DST, address.packed) + packed(NDA_LLADDR, _octets(mac))
    return Request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body, "set the neighbour", address)


def set_default_route(index: int, gateway: Address) -> Request:
    """The way out, by a gateway that need not lie in a prefix of the device's."""
    protocol, scope = RTPROT_STATIC, RT_SCOPE_UNIVERSE
    body = ROUTE.pack(_family(gateway), 0, 0, 0, RT_TABLE_MAIN, protocol, scope, RTN_UNICAST, RTNH_F_ONLINK)
    body += packed(RTA_GATEWAY, gateway.packed) + packed(RTA_OIF, _NUMBER.pack(index))
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, "set the default route by", gateway)


def set_route(index: int, address: Address, protocol: int) -> Request:
    """The route to one address behind a device."""
    value = address.packed
    scope = RT_SCOPE_LINK if family(address) is Family.IPV4 else RT_SCOPE_UNIVERSE
    body = ROUTE.pack(_family(address), len(value) * 8, 0, 0, RT_TABLE_MAIN, protocol, scope, RTN_UNICAST, 0)
    body += packed(RTA_DST, value) + packed(RTA_OIF, _NUMBER.pack(index))
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, "set the route to", address)


def add_clsact(index: int) -> Request:
    """The place for filters on both sides of a device; EEXIST says that it is there."""
    body = TRAFFIC.pack(0, index, CLSACT_HANDLE, CLSACT, 0) + packed(TCA_KIND, b"clsact\0")
    return Request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, "add clsact")


def set_filter(index: int, program: int, name: str, *, ingress: bool) -> Request:
    """A program, by its descriptor, on one side of a device that has clsact; in place of the one that is there."""
    side = CLSACT_INGRESS if ingress else CLSACT_EGRESS
    info = FILTER_PRIORITY << 16 | socket.htons(ETH_P_ALL)
    options = packed(TCA_BPF_FD, _NUMBER.pack(program)) + packed(TCA_BPF_NAME, name.encode() + b"\0")
    options += packed(TCA_BPF_FLAGS, _NUMBER.pack(TCA_BPF_FLAG_ACT_DIRECT))
    body = TRAFFIC.pack(0, index, FILTER_HANDLE, side, info) + packed(TCA_KIND, b"bpf\0")
    body += packed(TCA_OPTIONS, options)
    return Request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, body, f"attach {name} to device {index}")


def _blank(name: str, mac: str, mtu: int) -> bytes:
    """A device that is to be made."""
    body = LINK.pack(0, 0, 0, 0, 0) + packed_name(name)
    return body + packed(IFLA_ADDRESS, _octets(mac)) + packed(IFLA_MTU, _NUMBER.pack(mtu))


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _family(address: Address) -> int:
    return _FAMILIES[family(address)]
