"""IP addresses and families, as the model speaks of them."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from socket import AF_INET, inet_pton

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED = bytes(10) + b"\xff\xff"  # before IPv4 in ::ffff:0:0/96
ANY: Mapping[int, Network] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}  # by version
ADDRESS_BYTES = 16  # of an address as the maps hold it
_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")  # those that lead an octet


class Family(StrEnum):
    """An address family, in the words of EndpointSlice's ``addressType``."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


def family(address: Address | Network) -> Family:
    """The family of an address or a network."""
    return Family.IPV4 if address.version == 4 else Family.IPV6  # noqa: PLR2004


def is_in_any(address: Address, ranges: Iterable[Network]) -> bool:
    """Whether an address is of one of the ranges."""
    return any(address in network for network in ranges if network.version == address.version)


def is_within(network: Network, other: Network) -> bool:
    """Whether all of a network is of the other; by arithmetic, as there may be thousands."""
    if network.version != other.version or network.prefixlen < other.prefixlen:
        return False
    host_bits = other.max_prefixlen - other.prefixlen
    return int(network.network_address) >> host_bits == int(other.network_address) >> host_bits


def mapped(address: Address) -> IPv6Address:
    """The 128-bit form that the maps hold: IPv4 as ``::ffff:a.b.c.d`` (RFC 4291 2.5.5.2)."""
    if isinstance(address, IPv6Address):
        return address
    return IPv6Address(_MAPPED + address.packed)


def mapped_octets(address: Address) -> bytes:
    """The octets of :func:`mapped`."""
    return address.packed if isinstance(address, IPv6Address) else _MAPPED + address.packed


def unmapped(address: IPv6Address) -> Address:
    """The address as people write it; the inverse of :func:`mapped`."""
    return address.ipv4_mapped or address


def link_local(mac: bytes) -> IPv6Address:
    """The link-local address that follows from a MAC (modified EUI-64, RFC 4291 2.5.1)."""
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:])))


def parse_address(text: str) -> Address:
    """An address from an object's field; IPv4 octets are decimal, whatever zeros lead them.

    An IPv6 address in ``::ffff:0:0/96`` is refused: the maps hold IPv4 there.

    Raises:
        ValueError: *text* is no address, an IPv4-mapped one, or one with a zone.

    Source: Go's ParseIPSloppy, by which Kubernetes reads them (CVE-2021-29923).
    """
    if ":" not in text:
        decimal = _ZEROS.sub("", text)
        try:
            return IPv4Address(inet_pton(AF_INET, decimal))  # three times as fast as by its text
        except OSError:
            return IPv4Address(decimal)  # which says what is wrong
    address = IPv6Address(text)
    if address.ipv4_mapped is not None:
        raise ValueError(f"{text} is an IPv4-mapped address; write {address.ipv4_mapped}")
    if address.scope_id is not None:
        raise ValueError(f"{text} has a zone, which means nothing on another node")
    return address


def is_reachable(address: Address) -> bool:
    """Whether another node could send to it: unicast, no unspecified, loopback or link-local one, and no broadcast.

    By arithmetic, for :mod:`ipaddress` takes ten times as long, and a cluster has 100,000 endpoints.
    """
    number = int(address)
    if address.version == 4:  # noqa: PLR2004
        first = number >> 24
        is_special = first == 127 or 224 <= first < 240 or number >> 16 == 0xA9FE  # noqa: PLR2004
        return 0 < number < 0xFFFFFFFF and not is_special  # noqa: PLR2004
    return number > 1 and number >> 120 != 0xFF and number >> 118 != 0x3FA  # noqa: PLR2004


def is_peers(address: Address) -> bool:
    """Whether a BGP session may be with, or from, it: of IPv4 link-local ones too, as routers of clouds and at tunnels.

    IPv6's take an interface.
    """
    return is_reachable(address) or (address.version == 4 and address.is_link_local)  # noqa: PLR2004


def parse_network(text: str) -> Network:
    """A network from an object's field, host bits cut off; octets are decimal as well.

    Raises:
        ValueError: *text* is no network, one within IPv4-mapped addresses, or one with a zone.
    """
    address, slash, length = text.partition("/")
    if "%" in address:
        raise ValueError(f"{text} has a zone, which means nothing on another node")
    decimal = address if ":" in address else _ZEROS.sub("", address)
    network = ip_network(decimal + slash + length, strict=False)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{text} lies within IPv4-mapped addresses; write it as an IPv4 network")
    return network
