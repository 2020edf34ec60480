"""Netlink sockets: the one way by which the agent opens them, asks, and hears a list or a notice."""

import errno
import os
import socket
import struct
from typing import Self

from agent.netlink.batch import Link, Messages, run_batch
from agent.netlink.requests import Request, get_link
from maps.netlink import End, attempt

READ = 1 << 18  # octets of one read: a device with all the other names that it can have is told in 67 thousand
SO_RCVBUFFORCE, ROOM = 33, 1 << 22  # linux/socket.h; octets of notices that may wait: those of a thousand pods
SOL_NETLINK, NETLINK_GET_STRICT_CHK = 270, 12  # linux/netlink.h: what a list is asked for is looked at, and filters it
WAIT = struct.pack("=qq", 30, 0)  # struct timeval; the kernel answers within the write, but for a broken one


class Socket:
    """A netlink socket of the network namespace in which it was made; used by one thread at a time."""

    def __init__(self, fd: int = -1, *, groups: int = 0, protocol: int = socket.NETLINK_ROUTE) -> None:
        """One by its descriptor, which stays its owner's; -1: a new one, where the calling thread is now.

        A new one is of *protocol* (``NETLINK_*``). It hears the notices of *groups*, and does not wait for them.
        """
        self._socket = None if fd >= 0 else _new_socket(groups, protocol)
        self.fd = self._socket.fileno() if self._socket else fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Be done with it."""
        if self._socket:
            self._socket.close()

    def ask(self, *requests: Request) -> tuple[Link, ...]:
        """Have all requests done in their order; the links that were asked for.

        The kernel goes on behind a request that it refuses. So what must not happen without another is asked for later.

        Raises:
            Refused: the first refusal, after all were tried.
        """
        return run_batch((self.messages(*requests),))

    def attempt(self, *requests: Request) -> tuple[int, ...]:
        """Have requests done that stand each for itself; for each 0, or the errno with which it was refused.

        Raises:
            OSError: the socket failed.
        """
        return attempt(self.messages(*requests).part())

    def messages(self, *requests: Request, end: End = End.NOBODY) -> Messages:
        """Requests as a part of a batch; for *end* a device without number (0) stands in them."""
        return Messages(self.fd, requests, end)

    def find(self, *, name: str = "", index: int = 0) -> Link | None:
        """The device of this name, or of this ifindex; None when there is none."""
        try:
            return self.ask(get_link(name=name, index=index))[0]
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None

    def send(self, content: bytes) -> None:
        """Write messages."""
        os.write(self.fd, content)

    def receive(self) -> bytes:
        """The messages of one read.

        Raises:
            BlockingIOError: there are none, or the kernel stays silent.
            OSError: notices were lost (ENOBUFS), a message has more than a read (EMSGSIZE), or the socket failed.
        """
        content = os.read(self.fd, READ)
        if len(content) == READ:  # the kernel throws away what has no room
            raise OSError(errno.EMSGSIZE, f"netlink: a message of {READ} octets or more")
        return content


def _new_socket(groups: int, protocol: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    if groups:
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        made.bind((0, groups))
        made.setblocking(False)  # noqa: FBT003  the standard library's signature
    else:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, WAIT)
        made.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    return made
