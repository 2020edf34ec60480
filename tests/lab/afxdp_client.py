"""A client by the kernel's sockets for the AF_XDP tests. Run as a script.

afxdp_client.py LETTER COUNT ADDRESS PORT   sends datagrams of that letter, one after the other's answer; prints how
                                            many came back. With COUNT "segments" it sends SEGMENTS in one piece
afxdp_client.py big 1 ADDRESS PORT          sends two small ones, then one of LARGE octets without hearing an answer
afxdp_client.py ? 1 ADDRESS PORT            prints what the application has seen
"""

import socket
import sys

PATIENCE_S, SHORT_S = 10.0, 0.05
SEGMENT, SEGMENTS, LARGE = 1000, 20, 1400
UDP_SEGMENT = 103  # linux/udp.h


def main(letter: str, count: str, address: str, port: str) -> None:
    """Ask."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((address, int(port)))
        asking.settimeout(SHORT_S if letter == "d" else PATIENCE_S)
        if letter == "?":
            asking.send(b"?")
            sys.stdout.write(asking.recv(1 << 16).decode())
            return
        if letter == "big":
            for _ in range(2):  # by then the flow is an established one
                heard(asking, send(asking, "b"))
            send(asking, "b" * LARGE)
            return
        back = 0
        if count == "segments":
            asking.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
            asking.send(letter.encode() * SEGMENT * SEGMENTS)
            back = sum(heard(asking, letter * SEGMENT) for _ in range(SEGMENTS))
        else:
            for number in range(int(count)):
                back += heard(asking, send(asking, letter * (1 + number % 1400)))
        sys.stdout.write(str(back))


def send(asking: socket.socket, text: str) -> str:
    """Ask with a text, which is the answer, too."""
    asking.send(text.encode())
    return text


def heard(asking: socket.socket, text: str) -> bool:
    """Whether the answer comes."""
    try:
        return asking.recv(1 << 16) == text.encode()
    except (TimeoutError, ConnectionRefusedError):
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
