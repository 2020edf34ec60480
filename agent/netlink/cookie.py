"""The number of a network namespace, by which programs, agent and dpctl know whose sockets and devices are meant."""

import socket
import sys

SO_NETNS_COOKIE = 71  # since Linux 5.14


def netns_cookie(of: socket.socket | None = None) -> int:
    """The cookie of a socket's network namespace, or of the calling thread's, as bpf_get_netns_cookie() tells it.

    None is given twice.
    """
    if of is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            return netns_cookie(probe)
    return int.from_bytes(of.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
