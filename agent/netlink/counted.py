"""Devices of a namespace with what has passed them, for whoever looks at it.

Source: linux/if_link.h, struct rtnl_link_stats64.
"""

import struct
from dataclasses import dataclass

from agent.netlink.dump import Dump
from agent.netlink.rtnetlink import (
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_STATS64,
    LINK,
    RTM_GETLINK,
    attribute,
    number,
    text,
)

_COUNTERS = struct.Struct("=8Q")  # packets, octets, errors, dropped, each received and sent


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


def counted_links(dump: Dump) -> tuple[CountedLink, ...]:
    """The devices of the namespace of *dump*, in the kernel's order.

    Raises:
        OSError: the kernel refuses.
    """
    return tuple(_link(body) for body in dump.read(RTM_GETLINK, bytes(LINK.size)))


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
