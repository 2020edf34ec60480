"""What tests of the MTU ask of sockets: the size that a SYN promises, and the path MTU a kernel believes in. A script.

heard.py promised PORT                     prints, a line for each SYN to PORT that arrives, its maximum segment size
heard.py connect ADDRESS PORT              opens a connection and closes it
heard.py believe ADDRESS PORT BYTES MTU    sends datagrams that must not be divided until the kernel believes in MTU;
                                           prints what it believes then, or in the end
"""

import contextlib
import errno
import socket
import struct
import sys
import time

IP_MTU_DISCOVER, IP_MTU, IP_PMTUDISC_DO = 10, 14, 2
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24
WITHIN_S = 3.0
ETH_P_ALL = 3
SYN, ACK = 2, 16
MSS = 2  # TCP option


def main() -> None:
    """Do what is asked."""
    match sys.argv[1:]:
        case ["promised", port]:
            promised(int(port))
        case ["connect", address, port]:
            socket.create_connection((address, int(port)), timeout=WITHIN_S).close()
        case ["believe", address, port, size, mtu]:
            sys.stdout.write(str(believe(address, int(port), int(size), int(mtu))))


def promised(port: int) -> None:
    """Listen on every device."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)) as tap:
        print("listening", flush=True)
        while True:
            octets, origin = tap.recvfrom(1 << 16)
            tcp = octets[20:] if octets[0] >> 4 == 4 else octets[40:]
            if origin[2] == socket.PACKET_OUTGOING or octets[9 if octets[0] >> 4 == 4 else 6] != socket.IPPROTO_TCP:
                continue
            if struct.unpack_from("!H", tcp, 2)[0] == port and tcp[13] & (SYN | ACK) == SYN:
                print(option(tcp[20 : (tcp[12] >> 4) * 4], MSS), flush=True)


def option(options: bytes, kind: int) -> int:
    """The value of a TCP option of two octets; 0: it is not there."""
    at = 0
    while at < len(options) and options[at]:
        if options[at] == kind:
            return int(struct.unpack_from("!H", options, at + 2)[0])
        at += 1 if options[at] == 1 else options[at + 1]
    return 0


def believe(address: str, port: int, size: int, mtu: int) -> int:
    """Send until the kernel refuses to, or time is up."""
    six = ":" in address
    level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(level, IPV6_MTU_DISCOVER if six else IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        asking.connect((address, port))
        deadline = time.monotonic() + WITHIN_S
        while (found := asking.getsockopt(level, IPV6_MTU if six else IP_MTU)) != mtu and time.monotonic() < deadline:
            try:
                asking.send(bytes(size))
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
            time.sleep(0.02)
        with contextlib.suppress(OSError):  # what was told of those sent before
            asking.send(b"")
    return found


if __name__ == "__main__":
    main()
