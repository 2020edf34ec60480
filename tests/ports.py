"""Ports of this machine that no other test is given meanwhile."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held() -> Iterator[int]:
    """A port of TCP that nobody has in either family, and that the kernel gives to nobody.

    Who says SO_REUSEADDR may listen there: the socket that has it does not.
    """
    with socket.socket(socket.AF_INET6) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("::", 0))
        yield int(holder.getsockname()[1])
