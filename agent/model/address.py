"""IP addresses and families, as the model speaks of them."""

import re
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")  # those that lead an octet


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
    """An address from an object's field; IPv4 octets are decimal, whatever zeros lead them.

    An IPv6 address in ``::ffff:0:0/96`` is refused: the maps hold IPv4 there.

    Raises:
        ValueError: *text* is no address, an IPv4-mapped one, or one with a zone.

    Source: Go's ParseIPSloppy, by which Kubernetes reads them (CVE-2021-29923).
    """
    address = ip_address(_decimal(text))
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            raise ValueError(f"{text} is an IPv4-mapped address; write {address.ipv4_mapped}")
        if address.scope_id is not None:
            raise ValueError(f"{text} has a zone, which means nothing on another node")
    return address


def parse_network(text: str) -> Network:
    """A network from an object's field, host bits cut off; octets are decimal as well.

    Raises:
        ValueError: *text* is no network, or one within IPv4-mapped addresses.
    """
    network = ip_network(_decimal(text), strict=False)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{text} lies within IPv4-mapped addresses; write it as an IPv4 network")
    return network


def _decimal(text: str) -> str:
    address, slash, length = text.partition("/")
    return text if ":" in text else _ZEROS.sub("", address) + slash + length
