"""The number of a network namespace, by which programs, agent and dpctl know whose sockets and devices are meant."""

import socket
import sys

SO_NETNS_COOKIE = 71  # since Linux 5.14


def netns_cookie() -> int:
    """The cookie of the calling thread's network namespace, as bpf_get_netns_cookie() tells it; none is given twice."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
