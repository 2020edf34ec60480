"""Shows the maximum segment size that SYNs carry, and the path MTU that a kernel has learned. Run as a script.

path_mtu.py mss PORT                     prints, a line for each SYN to PORT that arrives, its maximum segment size
path_mtu.py connect ADDRESS PORT         opens a connection and closes it
path_mtu.py mtu ADDRESS PORT BYTES MTU   sends datagrams that must not be fragmented until the kernel's path MTU is MTU,
                                         or time is up; prints the path MTU
"""

import contextlib
import errno
import socket
import struct
import sys
import time

IP_MTU_DISCOVER, IP_MTU, IP_PMTUDISC_DO = 10, 14, 2
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24
WITHIN_S = 20.0
ETH_P_ALL = 3
SYN, ACK = 2, 16
MSS = 2  # TCP option


def main() -> None:
    """Run the command that the arguments name."""
    match sys.argv[1:]:
        case ["mss", port]:
            print_mss(int(port))
        case ["connect", address, port]:
            socket.create_connection((address, int(port)), timeout=WITHIN_S).close()
        case ["mtu", address, port, size, mtu]:
            sys.stdout.write(str(path_mtu(address, int(port), int(size), int(mtu))))


def print_mss(port: int) -> None:
    """Listen on every device, and print the maximum segment size of each SYN to the port."""
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


def path_mtu(address: str, port: int, size: int, mtu: int) -> int:
    """Send until the kernel's path MTU to *address* is *mtu*, or time is up; the path MTU at the end."""
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
        with contextlib.suppress(OSError):  # the errors of datagrams sent before
            asking.send(b"")
    return found


if __name__ == "__main__":
    main()
