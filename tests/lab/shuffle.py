"""Sends datagrams and echoes in fragments of its own, in any order; the kernel puts together what comes back. A script.

shuffle.py serve PORT ORDER             UDP: the client's address as a line, and all that came; in fragments. Says
                                        "ready" when it can be asked
shuffle.py ask KIND ADDRESS PORT BYTES ORDER PIECE    prints how the server sees us, if all came back unharmed

KIND is udp or echo, ORDER is reversed or shuffled, PIECE the octets of a fragment behind its headers, a multiple of 8.
"""

import random
import socket
import struct
import sys
import threading
import time

TIMEOUT_S = 15.0
PIECE = 1200  # of what the server sends
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_HDRINCL = 8, 49, 50, 36
# request, reply, protocol
ECHO: dict[int, tuple[int, int, int]] = {
    socket.AF_INET: (8, 0, socket.IPPROTO_ICMP),
    socket.AF_INET6: (128, 129, socket.IPPROTO_ICMPV6),
}


def main() -> None:
    """Run the server or the client, as the arguments say."""
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), sys.argv[3])
    else:
        kind, address, port, size, order, piece = sys.argv[2:]
        talk = talk_udp if kind == "udp" else talk_echo
        data = random.Random(0).randbytes(int(size))  # noqa: S311  no secret
        sys.stdout.write(talk(address, int(port), data, order, int(piece)))


def serve(port: int, order: str) -> None:
    """Serve both families until somebody ends the process."""
    ipv4, ipv6 = asked(socket.AF_INET, port), asked(socket.AF_INET6, port)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Thread(target=answer, args=(ipv6, order), daemon=True).start()
    answer(ipv4, order)


def asked(family: int, port: int) -> socket.socket:
    """A UDP socket that reports the address to which each datagram came."""
    made = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    return made


def answer(at: socket.socket, order: str) -> None:
    """Send every datagram back, behind the client's address, from the address it came to."""
    while True:
        data, ((_, _, info), *_), _, client = at.recvmsg(1 << 16, 256)
        own = socket.inet_ntop(at.family, info[8:12] if at.family == socket.AF_INET else info[:16])
        back = client[0].encode() + b"\n" + data
        port = at.getsockname()[1]
        send(own, client[0], socket.IPPROTO_UDP, udp(own, client[0], port, client[1], back), order)


def talk_udp(address: str, port: int, data: bytes, order: str, piece: int) -> str:
    """One datagram, and the answer."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as asking:
        asking.settimeout(TIMEOUT_S)
        asking.connect((address, port))  # an answer from anybody else is none
        own, sport = asking.getsockname()[:2]
        send(own, address, socket.IPPROTO_UDP, udp(own, address, sport, port, data), order, piece)
        client, _, back = asking.recv(1 << 16).partition(b"\n")
    return checked(client, back, data)


def talk_echo(address: str, ident: int, data: bytes, order: str, piece: int) -> str:
    """One echo request, and the answer, which nothing but the kernel gives."""
    family = _family(address)
    request, reply, protocol = ECHO[family]
    with socket.socket(family, socket.SOCK_RAW, protocol) as asking:
        asking.settimeout(TIMEOUT_S)
        asking.connect((address, 0))
        own = asking.getsockname()[0]
        head = struct.pack("!BBHHH", request, 0, 0, ident, 1)
        pseudo = b"" if family == socket.AF_INET else _pseudo(own, address, protocol, len(head + data))
        message = head[:2] + struct.pack("!H", _sum(pseudo + head + data)) + head[4:] + data
        send(own, address, protocol, message, order, piece)
        while True:
            came = asking.recv(1 << 16)
            came = came[20:] if family == socket.AF_INET else came
            if came[0] == reply and came[4:8] == struct.pack("!HH", ident, 1):
                return checked(own.encode(), came[8:], data)


def udp(src: str, dst: str, sport: int, dport: int, data: bytes) -> bytes:
    """A UDP header and what follows it."""
    length = 8 + len(data)
    head = struct.pack("!HHHH", sport, dport, length, 0)
    check = _sum(_pseudo(src, dst, socket.IPPROTO_UDP, length) + head + data) or 0xFFFF
    return head[:6] + struct.pack("!H", check) + data


def send(src: str, dst: str, protocol: int, payload: bytes, order: str, piece: int = PIECE) -> None:
    """The payload in fragments, the last one first or in no order at all."""
    packets = fragments(src, dst, protocol, payload, piece)
    packets.reverse()
    if order == "shuffled":
        random.Random(len(payload)).shuffle(packets)  # noqa: S311  no secret
    family = _family(dst)
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        if family == socket.AF_INET6:
            raw.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        for packet in packets:
            raw.sendto(packet, (dst, 0))


def fragments(src: str, dst: str, protocol: int, payload: bytes, octets: int) -> list[bytes]:
    """Whole IP packets; the kernel fills in IPv4's checksum."""
    family = _family(dst)
    # none comes again within a minute: of another datagram, whose ports its fragments would be taken to have
    ident = (time.monotonic_ns() >> 20) % 0xFFFF + 1
    made = []
    for at in range(0, len(payload), octets):
        piece = payload[at : at + octets]
        more = at + octets < len(payload)
        ends = socket.inet_pton(family, src) + socket.inet_pton(family, dst)
        if family == socket.AF_INET:
            offset = at // 8 | (0x2000 if more else 0)
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(piece), ident, offset, 64, protocol, 0) + ends
        else:
            extra = struct.pack("!BBHI", protocol, 0, at | more, ident)
            head = struct.pack("!IHBB", 6 << 28, 8 + len(piece), 44, 64) + ends + extra
        made.append(head + piece)
    return made


def checked(client: bytes, back: bytes, data: bytes) -> str:
    """How the server sees us.

    Raises:
        ConnectionAbortedError: what came back is not what was sent.
    """
    if back != data:
        raise ConnectionAbortedError(f"{len(data)} bytes went, {len(back)} or others came back")
    return client.decode()


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _pseudo(src: str, dst: str, protocol: int, length: int) -> bytes:
    family = _family(src)
    return socket.inet_pton(family, src) + socket.inet_pton(family, dst) + struct.pack("!II", length, protocol)


def _sum(octets: bytes) -> int:
    """The checksum field of RFC 1071."""
    padded = octets + b"\0" * (len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


if __name__ == "__main__":
    main()
