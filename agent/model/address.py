"""IP addresses and families, as the model speaks of them."""

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Family(StrEnum):
    """An address family, in the words of EndpointSlice's ``addressType``."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


def family(address: Address | Network) -> Family:
    """The family of an address or a network."""
    return Family.IPV4 if address.version == 4 else Family.IPV6  # noqa: PLR2004


def mapped(address: Address) -> IPv6Address:
    """The 128-bit form that the maps hold: IPv4 as ``::ffff:a.b.c.d`` (RFC 4291 2.5.5.2)."""
    if isinstance(address, IPv6Address):
        return address
    return IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def unmapped(address: IPv6Address) -> Address:
    """The address as people write it; the inverse of :func:`mapped`."""
    return address.ipv4_mapped or address


def parse_address(text: str) -> Address:
    """An address from an object's field.

    An IPv6 address in ``::ffff:0:0/96`` is refused: the maps hold IPv4 there.

    Raises:
        ValueError: *text* is no address, or an IPv4-mapped one.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"{text} is an IPv4-mapped address; write {address.ipv4_mapped}")
    return address
