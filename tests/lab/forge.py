"""Datagrams under somebody else's address, encapsulated as nodes do, and who hears them. Run as a script.

forge.py send MODE TO COUNT HEARS PORT SOURCE...   sends TO, as MODE encapsulates, a datagram for HEARS from each SOURCE
forge.py tagged DEVICE COUNT                       sends frames with a VLAN tag by a device
forge.py arp DEVICE COUNT                          asks by ARP from as many made-up addresses
forge.py say TO PORT WORD                          sends a datagram as it is
forge.py hear PORT                                 prints what datagrams to PORT say, until one says "end"
"""

import socket
import struct
import sys
from collections.abc import Callable

NODE_MAC, OTHER_MAC = bytes.fromhex("eeeeeeeeeeee"), bytes.fromhex("020000000099")
BROADCAST = b"\xff" * 6
PORTS = {"vxlan": 8472, "geneve": 6081}
HEADERS = {"vxlan": bytes.fromhex("0800000000000100"), "geneve": bytes.fromhex("0000655800000100")}
ARP = struct.Struct("!HHBBH6s4s6s4s")
GATEWAY = socket.inet_aton("169.254.1.1")


def main() -> None:
    """Do what is asked."""
    match sys.argv[1:]:
        case ["send", mode, to, count, hears, port, *sources]:
            send(mode, to, int(count), [datagram(source, hears, int(port)) for source in sources])
        case ["tagged", device, count]:
            frames(device, lambda _: b"\x81\0\0\5\x08\0" + bytes(64), int(count))
        case ["arp", device, count]:
            arp(device, int(count))
        case ["say", to, port, word]:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as saying:
                saying.sendto(word.encode(), (to, int(port)))
        case ["hear", port]:
            hear(int(port))


def send(mode: str, to: str, count: int, datagrams: list[bytes]) -> None:
    """By a datagram socket where the encapsulation has UDP, which takes no privilege."""
    kind = (socket.SOCK_RAW, socket.IPPROTO_IPIP) if mode == "ipip" else (socket.SOCK_DGRAM, 0)
    with socket.socket(socket.AF_INET, *kind) as forging:
        for inner in datagrams * count:
            ethernet = NODE_MAC + OTHER_MAC + b"\x08\0" + inner
            forging.sendto(inner if mode == "ipip" else HEADERS[mode] + ethernet, (to, PORTS.get(mode, 0)))


def datagram(source: str, to: str, port: int) -> bytes:
    """An IPv4 packet that says "forged"."""
    said = b"forged from " + source.encode()
    udp = struct.pack("!HHHH", 4000, port, 8 + len(said), 0) + said
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
    head += socket.inet_aton(source) + socket.inet_aton(to)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:] + udp


def arp(device: str, count: int) -> None:
    """Who has 169.254.1.1? tell 10.244.200.x, each time another."""
    senders = (socket.inet_aton(f"10.244.{200 + (n >> 8)}.{n & 255}") for n in range(count))
    frames(
        device,
        lambda mac: b"\x08\x06" + ARP.pack(1, 0x0800, 6, 4, 1, mac, next(senders), bytes(6), GATEWAY),
        count,
    )


def frames(device: str, rest: Callable[[bytes], bytes], count: int) -> None:
    """Broadcast frames; *rest* says what follows the addresses, given the device's own."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((device, 0))
        mac: bytes = raw.getsockname()[4]
        for _ in range(count):
            raw.send(BROADCAST + mac + rest(mac))


def hear(port: int) -> None:
    """Print what comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hearing:
        hearing.bind(("0.0.0.0", port))
        print("hearing", flush=True)
        while (word := hearing.recv(1 << 16)) != b"end":
            print(word.decode(), flush=True)


if __name__ == "__main__":
    main()
