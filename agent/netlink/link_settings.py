"""What can be set of any network device beside its address, MTU and names, as rtnetlink tells it and is asked for it.

``ethtool`` has what its driver can do (offloads, rings, channels): not here.
"""

import struct
from collections.abc import Iterator

from agent.model.netdev import LinkSettings
from agent.netlink.requests import Request
from agent.netlink.rtnetlink import (
    IFF_NOARP,
    IFLA_IFALIAS,
    LINK,
    NUMBER,
    RTM_NEWLINK,
    attributes,
    exact,
    number,
    octets,
    packed,
)

# linux/if.h; what `ip link set` can change, but for up and down
IFF_DEBUG, IFF_NOTRAILERS, IFF_PROMISC, IFF_ALLMULTI, IFF_MULTICAST = 0x4, 0x20, 0x100, 0x200, 0x1000
IFF_PORTSEL, IFF_AUTOMEDIA, IFF_DYNAMIC = 0x2000, 0x4000, 0x8000
FLAGS = IFF_DEBUG | IFF_NOTRAILERS | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI | IFF_MULTICAST
FLAGS |= IFF_PORTSEL | IFF_AUTOMEDIA | IFF_DYNAMIC
# linux/if_link.h
IFLA_BROADCAST, IFLA_TXQLEN, IFLA_LINKMODE, IFLA_GROUP = 2, 13, 17, 27
IFLA_GSO_MAX_SEGS, IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE = 40, 41, 58
IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE = 63, 64
_OCTET = struct.Struct("=B")
# with how each is packed. The kernel sets the sizes for IPv4 together with the others, so these stand behind them
_NUMBERS = {
    "link_mode": (IFLA_LINKMODE, _OCTET),
    "group": (IFLA_GROUP, NUMBER),
    "tx_queue": (IFLA_TXQLEN, NUMBER),
    "gso_max_segs": (IFLA_GSO_MAX_SEGS, NUMBER),
    "gso_max_size": (IFLA_GSO_MAX_SIZE, NUMBER),
    "gro_max_size": (IFLA_GRO_MAX_SIZE, NUMBER),
    "gso_ipv4_max_size": (IFLA_GSO_IPV4_MAX_SIZE, NUMBER),
    "gro_ipv4_max_size": (IFLA_GRO_IPV4_MAX_SIZE, NUMBER),
}
_FOLLOW = {"gso_ipv4_max_size": "gso_max_size", "gro_ipv4_max_size": "gro_max_size"}


def settings_told(body: bytes) -> LinkSettings:
    """Those of the device that a message of rtnetlink is about."""
    told = dict(attributes(body, LINK.size))
    return LinkSettings(
        flags=LINK.unpack_from(body)[3] & FLAGS,
        alias=exact(told.get(IFLA_IFALIAS, b"")),
        broadcast=told.get(IFLA_BROADCAST, b"").hex(":"),
        **{name: number(told[kind]) for name, (kind, _) in _NUMBERS.items() if kind in told},
    )


def set_settings(index: int, now: LinkSettings, was: LinkSettings) -> Iterator[Request]:
    """What makes those of a device what they were; each by itself, as a driver or a kernel may refuse it."""
    if now.flags != was.flags:
        body = LINK.pack(0, 0, index, was.flags, FLAGS)
        yield Request(RTM_NEWLINK, 0, body, f"set the flags of device {index} to {was.flags:#x}")
    if now.alias != was.alias:
        yield _set(index, "alias", IFLA_IFALIAS, octets(was.alias)[:-1])
    if now.broadcast != was.broadcast:
        yield _set(index, "broadcast", IFLA_BROADCAST, bytes.fromhex(was.broadcast.replace(":", "")))
    changed = set[str]()
    for name, (kind, packing) in _NUMBERS.items():
        wanted = getattr(was, name)
        if wanted is not None and (getattr(now, name) != wanted or _FOLLOW.get(name) in changed):
            changed.add(name)
            yield _set(index, name, kind, packing.pack(wanted))


def _set(index: int, name: str, kind: int, value: bytes) -> Request:
    return Request(RTM_NEWLINK, 0, LINK.pack(0, 0, index, 0, 0) + packed(kind, value), f"set {name} of device {index}")
