"""All that the kernel has of a kind, links or addresses or routes, as rtnetlink lists it: the bodies of its messages.

Serves ``watch.local`` and ``kernel.wires``, which take fixed headers and a few attributes from them. A full node has a
thousand links, addresses and routes of its pods; to decode them whole holds the interpreter for tenths of a second
(docs/decisions/0021-dumps.md).
"""

import errno
import socket
import struct
from types import TracebackType
from typing import Self

from agent.netlink.rtnetlink import READ, message, messages

# linux/netlink.h
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
ATTEMPTS = 5  # at a list that nothing changed meanwhile; after that, one that something did, as its notice tells soon
WAIT = struct.pack("=qq", 5, 0)  # struct timeval; the kernel answers at once

_ERROR = struct.Struct("=i")  # what struct nlmsgerr, and the end of a dump, begin with


class Dump:
    """A netlink socket of the network namespace it was made in; one thread's."""

    def __init__(self, kernel: socket.socket | None = None) -> None:
        """*kernel* is whom a test asks instead."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = kernel or socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, WAIT)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def read(self, kind: int, body: bytes) -> list[bytes]:
        """The list that a request of this type gets; *body* is its fixed header, with attributes behind it.

        Raises:
            OSError: the kernel refused, or did not answer.
        """
        found: list[bytes] = []
        for _ in range(ATTEMPTS):
            self._sequence += 1
            self._socket.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, body))
            found, is_whole = self._answer()
            if is_whole:
                break
        return found

    def _answer(self) -> tuple[list[bytes], bool]:
        """The whole answer, and whether nothing changed while it was given."""
        found: list[bytes] = []
        is_whole = True
        while True:
            for kind, flags, body in messages(self._socket.recv(READ)):
                is_whole &= not flags & NLM_F_DUMP_INTR
                if kind in {NLMSG_DONE, NLMSG_ERROR}:
                    failed = -_ERROR.unpack_from(body)[0]
                    if failed:
                        raise OSError(failed, f"netlink: {errno.errorcode.get(failed, failed)}")
                    return found, is_whole
                found.append(body)
