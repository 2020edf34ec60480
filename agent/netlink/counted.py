"""Devices of a namespace with what has passed them, for whoever looks at it; and what a PF has counted of its VFs.

Source: linux/if_link.h, struct rtnl_link_stats64 and IFLA_VF_STATS.
"""

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from agent.netlink.dump import Dump
from agent.netlink.rtnetlink import (
    IFLA_ADDRESS,
    IFLA_EXT_MASK,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_STATS64,
    LINK,
    NUMBER,
    RTM_GETLINK,
    WITH_STATISTICS,
    attribute,
    attributes,
    number,
    packed,
    text,
)
from agent.netlink.vf_requests import IFLA_VFINFO_LIST, RTEXT_FILTER_VF, VF_INFO, VF_MAC

_COUNTERS = struct.Struct("=8Q")  # packets, octets, errors, dropped, each received and sent
VF_STATS = 8
_VF_COUNTERS = {0: "rx_packets", 1: "tx_packets", 2: "rx_octets", 3: "tx_octets", 7: "rx_dropped", 8: "tx_dropped"}


@dataclass(frozen=True, slots=True)
class CountedLink:
    """A device; counters since it was made."""

    index: int
    name: str
    mac: str
    mtu: int
    rx_packets: int
    tx_packets: int
    rx_octets: int
    tx_octets: int
    rx_dropped: int
    tx_dropped: int


@dataclass(frozen=True, slots=True)
class CountedVf:
    """A VF as its PF has counted it; all 0 where the PF's driver counts nothing."""

    rx_packets: int = 0
    tx_packets: int = 0
    rx_octets: int = 0
    tx_octets: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0


def counted_vfs(dump: Dump, pf: int) -> Mapping[int, CountedVf]:
    """The VFs of the PF of this ifindex, by their numbers.

    Raises:
        OSError: there is no such device.
    """
    mask = packed(IFLA_EXT_MASK, NUMBER.pack(RTEXT_FILTER_VF))
    body = dump.one(RTM_GETLINK, LINK.pack(0, 0, pf, 0, 0) + mask)
    found: dict[int, CountedVf] = {}
    for kind, value in attributes(attribute(body, LINK.size, IFLA_VFINFO_LIST), 0):
        told = dict(attributes(value, 0))
        if kind == VF_INFO and VF_MAC in told:  # struct ifla_vf_mac begins with the VF's number
            counters = attributes(told.get(VF_STATS, b""), 0)
            known = {_VF_COUNTERS[k]: int.from_bytes(v, sys.byteorder) for k, v in counters if k in _VF_COUNTERS}
            found[number(told[VF_MAC][: NUMBER.size])] = CountedVf(**known)
    return found


def counted_links(dump: Dump) -> tuple[CountedLink, ...]:
    """The devices of the namespace of *dump*, in the kernel's order.

    Raises:
        OSError: the kernel refuses.
    """
    return tuple(_link(body) for body in dump.read(RTM_GETLINK, bytes(LINK.size) + WITH_STATISTICS))


def _link(body: bytes) -> CountedLink:
    counters = attribute(body, LINK.size, IFLA_STATS64)
    rx, tx, rx_octets, tx_octets, _, _, rx_dropped, tx_dropped = (
        _COUNTERS.unpack_from(counters) if len(counters) >= _COUNTERS.size else (0,) * 8
    )
    return CountedLink(
        index=int(LINK.unpack_from(body)[2]),
        name=text(attribute(body, LINK.size, IFLA_IFNAME)),
        mac=attribute(body, LINK.size, IFLA_ADDRESS).hex(":"),
        mtu=number(attribute(body, LINK.size, IFLA_MTU)),
        rx_packets=rx,
        tx_packets=tx,
        rx_octets=rx_octets,
        tx_octets=tx_octets,
        rx_dropped=rx_dropped,
        tx_dropped=tx_dropped,
    )
