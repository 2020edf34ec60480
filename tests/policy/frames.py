"""The packets of a flow as octets: scapy takes longer to make one than the programs to judge a hundred."""

import struct
from dataclasses import dataclass

from maps import abi
from tests.policy.facts import Address, Flow

TO = abi.NODE_MAC
NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}
ICMP = {4: (1, 8, 0), 6: (58, 128, 129)}  # protocol, echo and its reply
SYN, ACK, PSH = 2, 16, 8


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a flow from a source port; *opens* begins a connection."""

    flow: Flow
    sport: int
    is_answer: bool = False
    opens: bool = False

    @property
    def source(self) -> Address:
        """Who sends."""
        return self.flow.destination if self.is_answer else self.flow.source

    @property
    def destination(self) -> Address:
        """Whom it is for."""
        return self.flow.source if self.is_answer else self.flow.destination

    def frame(self, mac: str) -> bytes:
        """The packet, sent under a MAC."""
        protocol, segment = self._segment()
        ethernet = TO + bytes.fromhex(mac.replace(":", ""))
        if self.source.version == 6:
            head = struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64)
            return ethernet + b"\x86\xdd" + head + self.source.packed + self.destination.packed + segment
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0x4000, 64, protocol, 0)
        head += self.source.packed + self.destination.packed
        return ethernet + b"\x08\x00" + head[:10] + struct.pack("!H", _sum(head)) + head[12:] + segment

    def _segment(self) -> tuple[int, bytes]:
        """What follows the IP header, and its protocol."""
        flow, version = self.flow, self.source.version
        if flow.protocol == "ICMP":
            number, asked, answered = ICMP[version]
            message = struct.pack("!BBHHH", answered if self.is_answer else asked, 0, 0, self.sport, 1)
            pseudo = self._pseudo(number, len(message)) if version == 6 else b""
            return number, message[:2] + struct.pack("!H", _sum(pseudo + message)) + message[4:]
        number, port = NUMBERS[flow.protocol], flow.port or 0
        ports = struct.pack("!HH", *((port, self.sport) if self.is_answer else (self.sport, port)))
        if flow.protocol == "SCTP":
            return number, ports + bytes(8) + struct.pack("!BBHI", 1 if self.opens else 4, 0, 8, 0)
        if flow.protocol == "UDP":
            return number, self._summed(number, ports + struct.pack("!HHI", 12, 0, 7), 6)
        flags = (SYN | ACK if self.is_answer else SYN) if self.opens else PSH | ACK
        return number, self._summed(number, ports + struct.pack("!IIBBHHH", 1000, 1, 5 << 4, flags, 1000, 0, 0), 16)

    def _summed(self, number: int, segment: bytes, at: int) -> bytes:
        found = _sum(self._pseudo(number, len(segment)) + segment) or 0xFFFF
        return segment[:at] + struct.pack("!H", found) + segment[at + 2 :]

    def _pseudo(self, number: int, length: int) -> bytes:
        return self.source.packed + self.destination.packed + struct.pack("!II", length, number)


def _sum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
