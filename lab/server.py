"""A server for pods of the lab: over TCP and UDP, IPv4 and IPv6, it answers with its pod's name. Run as a script.

Over TCP it greets with the name and answers every line with the name and the line; over UDP every datagram.
"""

import os
import socket
import sys
import threading

NAME = os.environ.get("POD_NAME", "?").encode()
BACKLOG = 1024


def main() -> None:
    """Serve on the port that is given."""
    address = ("::", int(sys.argv[1]))
    listener = socket.create_server(address, family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagrams.bind(address)
    threading.Thread(target=serve_datagrams, args=(datagrams,), daemon=True).start()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def serve(connection: socket.socket) -> None:
    """Greet, then answer until the client leaves."""
    with connection:
        try:
            connection.sendall(NAME + b"\n")
            for line in connection.makefile("rb"):
                connection.sendall(NAME + b" " + line)
        except OSError:
            return


def serve_datagrams(datagrams: socket.socket) -> None:
    """Answer every datagram."""
    while True:
        _, client = datagrams.recvfrom(65536)
        datagrams.sendto(NAME, client)


if __name__ == "__main__":
    main()
