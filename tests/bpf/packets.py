"""Packets that are made of other packets: answers, and ICMP errors that quote them."""

import socket
import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.bpf.datapath import GATEWAY_MAC, OTHER, OTHER6, POD, POD6, POD_MAC, VIP, VIP6

# type and code, by the family's protocol number
UNREACHABLE = {4: (3, 3), 6: (1, 4)}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}


def ip_of(packet: Packet) -> Packet:
    """The IP header, of either family."""
    ip: Packet = packet[IPv6] if IPv6 in packet else packet[IP]
    return ip


def addresses(packet: Packet) -> tuple[str, str]:
    """Source and destination, of either family."""
    ip = ip_of(packet)
    return ip.src, ip.dst


def ports(packet: Packet) -> tuple[int, int]:
    """Source and destination port."""
    l4 = packet[TCP] if TCP in packet else packet[UDP]
    return l4.sport, l4.dport


# pod, service and backend
FAMILIES = [pytest.param(POD, VIP, OTHER, id="IPv4"), pytest.param(POD6, VIP6, OTHER6, id="IPv6")]


def answer(packet: Packet, mac: str, flags: str = "SA") -> Packet:
    """The other end's answer to a packet that it was handed; *flags* are TCP's."""
    back = packet.copy()
    ip = ip_of(back)
    ip.src, ip.dst = ip.dst, ip.src
    l4 = back[TCP] if TCP in back else back[UDP]
    l4.sport, l4.dport = l4.dport, l4.sport
    back.src, back.dst = mac, GATEWAY_MAC
    if TCP in back:
        back[TCP].flags = flags
    for layer in (ip, l4):
        layer.fields.pop("chksum", None)
    return Ether(bytes(back))


def icmp_error(
    about: Packet, kind: dict[int, tuple[int, int]], src: str, *, mac: str = POD_MAC, octets: int = 1232, ttl: int = 64
) -> Packet:
    """The error that *src* sends to a packet's sender; it quotes so many octets behind the quoted IP header."""
    ip = ip_of(about)
    version = 6 if IPv6 in about else 4
    quoted = bytes(ip)[: (40 if version == 6 else 20) + octets]
    type_, code = kind[version]
    message = struct.pack("!BBHI", type_, code, 0, 1400) + quoted
    whole: Packet
    if version == 4:
        whole = IP(src=src, dst=ip.src, proto=1, ttl=ttl) / Raw(_with_sum(message, b""))
    else:
        whole = IPv6(src=src, dst=ip.src, nh=58, hlim=ttl) / Raw(_with_sum(message, _pseudo(src, ip.src, len(message))))
    return Ether(bytes(Ether(src=mac, dst=GATEWAY_MAC) / whole))


def quoted_by(packet: Packet) -> Packet:
    """The packet that an ICMP error quotes, as if it stood alone."""
    offset = 8 + (40 if IPv6 in packet else 20)
    octets = bytes(ip_of(packet))[offset:]
    return (IPv6 if IPv6 in packet else IP)(octets)


def icmp_sum_holds(packet: Packet) -> bool:
    """Whether the outer checksums of an ICMP message are right, whatever it quotes."""
    octets = bytes(ip_of(packet))
    if IPv6 in packet:
        message = octets[40:]
        return _fold(_pseudo(packet[IPv6].src, packet[IPv6].dst, len(message)) + message) == 0xFFFF
    return _fold(octets[:20]) == 0xFFFF and _fold(octets[20:]) == 0xFFFF and ICMP in packet


def _pseudo(src: str, dst: str, length: int) -> bytes:
    return (
        socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst) + struct.pack("!II", length, 58)
    )


def _with_sum(message: bytes, pseudo: bytes) -> bytes:
    return message[:2] + struct.pack("!H", 0xFFFF - _fold(pseudo + message)) + message[4:]


def _fold(octets: bytes) -> int:
    """The one's complement sum of 16-bit words (RFC 1071)."""
    padded = octets + b"\0" * (len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
