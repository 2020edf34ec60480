"""What is asked of rtnetlink: devices, addresses, neighbours, routes, rules and filters, each packed as a request."""

import socket
from dataclasses import dataclass

from agent.model.address import Address, Family, Network, family
from agent.netlink.rtnetlink import (
    ADDRESS,
    CLSACT,
    CLSACT_EGRESS,
    CLSACT_HANDLE,
    CLSACT_INGRESS,
    ETH_P_ALL,
    FR_ACT_TO_TBL,
    FRA_SRC,
    FRA_TABLE,
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    LINK,
    NDA_DST,
    NDA_LLADDR,
    NEIGHBOUR,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NUD_PERMANENT,
    NUMBER,
    ROUTE,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RT_TABLE_UNSPEC,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_NEWTFILTER,
    RTN_UNICAST,
    RTN_UNSPEC,
    RTNH_F_ONLINK,
    RTPROT_STATIC,
    RULE,
    TCA_BPF_FD,
    TCA_BPF_FLAG_ACT_DIRECT,
    TCA_BPF_FLAGS,
    TCA_BPF_NAME,
    TCA_KIND,
    TCA_OPTIONS,
    TRAFFIC,
    VETH_INFO_PEER,
    WITHOUT_STATISTICS,
    packed,
)
from maps.libbpf import TC_HANDLE, TC_PRIORITY

FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to ask for; *doing* and *whose* name it where it is refused."""

    kind: int
    flags: int
    body: bytes
    doing: str
    whose: object = ""  # made text only then

    def __str__(self) -> str:
        return f"{self.doing} {self.whose}".rstrip()


def get_link(*, name: str = "", index: int = 0) -> Request:
    """What the kernel knows of a device, by its name or its ifindex."""
    body = LINK.pack(0, 0, index, 0, 0) + WITHOUT_STATISTICS
    return Request(RTM_GETLINK, 0, body + _name(name) if name else body, "ask for a device")


def add_veth(  # noqa: PLR0913  both ends have what a device has
    name: str, mac: str, mtu: int, *, peer: str, peer_mac: str, netns: int, queues: int = 1
) -> Request:
    """A veth pair; the peer is born in the namespace behind the descriptor *netns*. Its *queues* it keeps for life."""
    number = NUMBER.pack(queues)
    several = packed(IFLA_NUM_TX_QUEUES, number) + packed(IFLA_NUM_RX_QUEUES, number) if queues > 1 else b""
    other = _blank(peer, peer_mac, mtu) + packed(IFLA_NET_NS_FD, NUMBER.pack(netns)) + several
    kind = packed(IFLA_INFO_KIND, b"veth\0") + packed(IFLA_INFO_DATA, packed(VETH_INFO_PEER, other))
    body = _blank(name, mac, mtu) + packed(IFLA_LINKINFO, kind) + several
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"add the veth pair {name}, {peer}")


def set_up(index: int, alias: str = "") -> Request:
    """A device set up, and what `ip link` shows as its alias."""
    shown = packed(IFLA_IFALIAS, alias.encode()) if alias else b""
    return Request(RTM_NEWLINK, 0, LINK.pack(0, 0, index, IFF_UP, IFF_UP) + shown, "set the device up")


def set_mtu(mtu: int, *, name: str = "", index: int = 0) -> Request:
    """The MTU of a device, by its name or its ifindex."""
    body = LINK.pack(0, 0, index, 0, 0) + (_name(name) if name else b"") + packed(IFLA_MTU, NUMBER.pack(mtu))
    return Request(RTM_NEWLINK, 0, body, f"set the MTU {mtu} of", name or f"device {index}")


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


def set_default_route(index: int, gateway: Address, table: int = 0) -> Request:
    """The way out, by a gateway that need not lie in a prefix of the device's; in a *table*, or in the main one."""
    protocol, scope = RTPROT_STATIC, RT_SCOPE_UNIVERSE
    there = RT_TABLE_UNSPEC if table else RT_TABLE_MAIN  # numbers above 255 stand in an attribute
    body = ROUTE.pack(_family(gateway), 0, 0, 0, there, protocol, scope, RTN_UNICAST, RTNH_F_ONLINK)
    body += packed(RTA_GATEWAY, gateway.packed) + packed(RTA_OIF, NUMBER.pack(index))
    if table:
        body += packed(RTA_TABLE, NUMBER.pack(table))
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, "set the default route by", gateway)


def set_route_onlink(destination: Network, index: int, gateway: Address, metric: int = 0) -> Request:
    """The main table's route to a prefix out of a device, by a gateway that need not lie in a prefix of it."""
    body = ROUTE.pack(
        _family(destination),
        destination.prefixlen,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        RT_SCOPE_UNIVERSE,
        RTN_UNICAST,
        RTNH_F_ONLINK,
    )
    if destination.prefixlen:
        body += packed(RTA_DST, destination.network_address.packed)
    body += packed(RTA_GATEWAY, gateway.packed) + packed(RTA_OIF, NUMBER.pack(index))
    body += packed(RTA_PRIORITY, NUMBER.pack(metric)) if metric else b""
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, "set the route to", destination)


def add_rule(source: Address, table: int) -> Request:
    """What is sent from this address goes by this table."""
    return Request(RTM_NEWRULE, NLM_F_CREATE, _rule(source, table), "add the rule for what is sent from", source)


def delete_rule(source: Address, table: int) -> Request:
    """One of the rules that say so removed."""
    return Request(RTM_DELRULE, 0, _rule(source, table), "remove the rule for what is sent from", source)


def _rule(source: Address, table: int) -> bytes:
    body = RULE.pack(_family(source), 0, len(source.packed) * 8, 0, RT_TABLE_UNSPEC, 0, 0, FR_ACT_TO_TBL, 0)
    return body + packed(FRA_SRC, source.packed) + packed(FRA_TABLE, NUMBER.pack(table))


def set_route(index: int, address: Address, protocol: int) -> Request:
    """The route to one address behind a device."""
    value = address.packed
    body = ROUTE.pack(
        _family(address), len(value) * 8, 0, 0, RT_TABLE_MAIN, protocol, _link_scope(address), RTN_UNICAST, 0
    )
    body += packed(RTA_DST, value) + packed(RTA_OIF, NUMBER.pack(index))
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, "set the route to", address)


def set_route_by_gateway(
    destination: Network, gateway: Address, source: Address | None, protocol: int, metric: int
) -> Request:
    """The route to a prefix by a gateway, which has to be on a link of the node's; *source* as by a device."""
    body = _route(destination, protocol, RT_SCOPE_UNIVERSE, metric) + packed(RTA_GATEWAY, gateway.packed)
    if source is not None:
        body += packed(RTA_PREFSRC, source.packed)
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, "set the route to", destination)


def set_route_by_device(
    destination: Network, index: int, source: Address | None, protocol: int, metric: int
) -> Request:
    """The route to a prefix straight out of a device; *source* is that of the node's own packets."""
    body = _route(destination, protocol, _link_scope(destination), metric) + packed(RTA_OIF, NUMBER.pack(index))
    if source is not None:
        body += packed(RTA_PREFSRC, source.packed)
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, "set the route to", destination)


def delete_route(
    destination: Network, protocol: int, metric: int, index: int = 0, gateway: Address | None = None
) -> Request:
    """A route of this protocol and metric removed, whatever its way.

    With *index*, only that out of this device; with a *gateway*, of several ways of one route only that by it.
    """
    body = _route(destination, protocol, RT_SCOPE_NOWHERE, metric, RTN_UNSPEC)  # also one that leads nowhere
    if index:
        body += packed(RTA_OIF, NUMBER.pack(index))
    if gateway is not None:
        body += packed(RTA_GATEWAY, gateway.packed)
    return Request(RTM_DELROUTE, 0, body, "remove the route to", destination)


def add_clsact(index: int) -> Request:
    """The place for filters on both sides of a device; EEXIST says that it is there."""
    body = TRAFFIC.pack(0, index, CLSACT_HANDLE, CLSACT, 0) + packed(TCA_KIND, b"clsact\0")
    return Request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, "add clsact")


def set_filter(index: int, program: int, name: str, *, ingress: bool) -> Request:
    """A program, by its descriptor, on one side of a device that has clsact; in place of the one that is there."""
    side = CLSACT_INGRESS if ingress else CLSACT_EGRESS
    info = TC_PRIORITY << 16 | socket.htons(ETH_P_ALL)
    options = packed(TCA_BPF_FD, NUMBER.pack(program)) + packed(TCA_BPF_NAME, name.encode() + b"\0")
    options += packed(TCA_BPF_FLAGS, NUMBER.pack(TCA_BPF_FLAG_ACT_DIRECT))
    body = TRAFFIC.pack(0, index, TC_HANDLE, side, info) + packed(TCA_KIND, b"bpf\0")
    body += packed(TCA_OPTIONS, options)
    return Request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, body, f"attach {name} to device {index}")


def _route(destination: Network, protocol: int, scope: int, metric: int, kind: int = RTN_UNICAST) -> bytes:
    """The header of a route in the main table, with its destination and metric."""
    length = destination.prefixlen
    body = ROUTE.pack(_family(destination), length, 0, 0, RT_TABLE_MAIN, protocol, scope, kind, 0)
    if length:
        body += packed(RTA_DST, destination.network_address.packed)
    return body + (packed(RTA_PRIORITY, NUMBER.pack(metric)) if metric else b"")


def _link_scope(destination: Address | Network) -> int:
    return RT_SCOPE_LINK if family(destination) is Family.IPV4 else RT_SCOPE_UNIVERSE


def _blank(name: str, mac: str, mtu: int) -> bytes:
    """A device that is to be made."""
    body = LINK.pack(0, 0, 0, 0, 0) + _name(name)
    return body + packed(IFLA_ADDRESS, _octets(mac)) + packed(IFLA_MTU, NUMBER.pack(mtu))


def _name(device: str) -> bytes:
    return packed(IFLA_IFNAME, device.encode() + b"\0")


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _family(address: Address | Network) -> int:
    return FAMILIES[family(address)]
