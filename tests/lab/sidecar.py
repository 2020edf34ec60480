"""A service mesh's proxy in a pod, as far as the network sees it. Run as a script.

To it the pod's own rules redirect what the pod sends. Over TCP it says for whom a connection was meant, over UDP who
it is.
"""

import socket
import struct
import threading

PORT = 15001
ORIGINAL_DST = 80  # SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST, below linux/netfilter_ipv4 and linux/netfilter_ipv6
NAME = "the sidecar"
# the table of the pod's network namespace; datagrams for a Service's port alone, as a mesh has for DNS
RULES = f"""
table inet sidecar {{
    chain output {{
        type nat hook output priority -100
        meta l4proto tcp redirect to :{PORT}
        udp dport 80 redirect to :{PORT}
    }}
}}
"""


def main() -> None:
    """Serve both families."""
    for family, loopback in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):  # what is redirected goes there
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind((loopback, PORT))
        threading.Thread(target=serve_datagrams, args=(datagrams,), daemon=True).start()
    listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall("{} {}\n".format(*original(connection)).encode())


def original(connection: socket.socket) -> tuple[str, int]:
    """Whom the client asked for."""
    if connection.getsockname()[0].startswith("::ffff:"):
        found = connection.getsockopt(socket.IPPROTO_IP, ORIGINAL_DST, 16)
        port, address = struct.unpack_from("!2xH4s", found)
        return socket.inet_ntop(socket.AF_INET, address), port
    found = connection.getsockopt(socket.IPPROTO_IPV6, ORIGINAL_DST, 28)
    port, address = struct.unpack_from("!2xH4x16s", found)
    return socket.inet_ntop(socket.AF_INET6, address), port


def serve_datagrams(datagrams: socket.socket) -> None:
    """Answer every datagram."""
    while True:
        _, client = datagrams.recvfrom(65536)
        datagrams.sendto(NAME.encode(), client)


if __name__ == "__main__":
    main()
