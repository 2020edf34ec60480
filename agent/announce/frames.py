"""What a node that takes an address over sends on the subnet, and what it asks when another may have.

Source: RFC 826, RFC 5227 (ARP announcements and probes), RFC 4861 4.3, 4.4 and 7.2.6 (unsolicited advertisements).
"""

import struct
from ipaddress import IPv4Address, IPv6Address

from agent.model.address import Address

BROADCAST, NOBODY = b"\xff" * 6, bytes(6)
REQUEST, REPLY = 1, 2
SOLICITATION, ADVERTISEMENT = 135, 136
OVERRIDE = 0x20000000
ALL_NODES = IPv6Address("ff02::1")


def claims(address: Address, mac: bytes) -> tuple[bytes, ...]:
    """Frames that tell everybody on the subnet that the address is at a MAC; hosts heed the one or the other."""
    if isinstance(address, IPv4Address):
        return tuple(_arp(operation, mac, address, NOBODY, address) for operation in (REQUEST, REPLY))
    message = struct.pack("!BBHI", ADVERTISEMENT, 0, 0, OVERRIDE) + address.packed + b"\x02\x01" + mac
    return (_neighbor(mac, address, ALL_NODES, message),)


def probe(address: Address, mac: bytes) -> bytes:
    """A frame that asks whether another host has the address, and claims nothing."""
    if isinstance(address, IPv4Address):
        return _arp(REQUEST, mac, IPv4Address(0), NOBODY, address)
    message = struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + address.packed
    return _neighbor(mac, IPv6Address(0), solicited(address), message)


def solicited(address: IPv6Address) -> IPv6Address:
    """The group in which neighbours are asked for an address (RFC 4291 2.7.1)."""
    return IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + address.packed[13:])


def _arp(operation: int, mac: bytes, sender: IPv4Address, target_mac: bytes, target: IPv4Address) -> bytes:
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    body = head + mac + sender.packed + target_mac + target.packed
    return BROADCAST + mac + b"\x08\x06" + body


def _neighbor(mac: bytes, source: IPv6Address, group: IPv6Address, message: bytes) -> bytes:
    pseudo = source.packed + group.packed + struct.pack("!II", len(message), 58)
    checksum = _sum(pseudo + message)
    whole = message[:2] + struct.pack("!H", checksum) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(whole), 58, 255) + source.packed + group.packed
    return b"\x33\x33" + group.packed[12:] + mac + b"\x86\xdd" + header + whole


def _sum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of octets."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
