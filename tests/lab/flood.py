"""A pod that begins flows without end, and has a connection meanwhile. Run as a script.

flood.py SERVICE PORT COUNT TO...   connects to SERVICE, sends COUNT datagrams to each TO, each from a port of its own,
                                    and prints how many were sent, and what the connection answers before and after
"""

import socket
import sys
from typing import BinaryIO

FIRST, NOBODYS = 10000, 9


def main() -> None:
    """Do what is asked."""
    service, port, count, *targets = sys.argv[1:]
    with socket.create_connection((service, int(port)), timeout=20) as kept, kept.makefile("rb") as answers:
        answers.readline()
        before = ask(kept, answers)
        sent = sum(send(to, FIRST + n) for to in targets for n in range(int(count)))
        print(sent, before, ask(kept, answers))


def ask(kept: socket.socket, answers: BinaryIO) -> str:
    """Who is at the other end."""
    kept.sendall(b"still there?\n")
    return answers.readline().split()[0].decode()


def send(to: str, port: int) -> int:
    """One datagram; 1: it left the socket."""
    with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.bind(("", port))
        try:
            sending.sendto(b"x", (to, NOBODYS))
        except OSError:
            return 0
    return 1


if __name__ == "__main__":
    main()
