"""All that the kernel has of a kind, links or addresses or routes, as rtnetlink lists it: the bodies of its messages.

Who asks takes the fixed header and a few attributes from each. A full node has a thousand links, addresses and routes
of its pods; to decode them whole holds the interpreter for tenths of a second (docs/decisions/0021-dumps.md).
"""

import errno
import struct
from types import TracebackType
from typing import Self

from agent.netlink.rtnetlink import (
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    ROUTE,
    RT_TABLE_MAIN,
    RTM_GETROUTE,
    message,
    messages,
)
from agent.netlink.socket import Socket

ATTEMPTS = 5  # at a list that nothing changed meanwhile; after that, one that something did, as its notice tells soon

_ERROR = struct.Struct("=i")  # what struct nlmsgerr, and the end of a dump, begin with


class Dump:
    """Lists from one network namespace; used by one thread at a time."""

    def __init__(self, socket: Socket | None = None) -> None:
        """By a *socket*, which stays its owner's; None: by a new one, where the calling thread is now."""
        self._own = Socket() if socket is None else None
        self._socket = socket or self._own or Socket()
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own:
            self._own.close()

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

    def one(self, kind: int, body: bytes) -> bytes:
        """What a request of this type gets that asks for one thing; *body* as in :meth:`read`.

        Raises:
            OSError: there is no such thing, or as :meth:`read`.
        """
        self._sequence += 1
        self._socket.send(message(kind, NLM_F_REQUEST, self._sequence, body))
        ((answer, _, found), *_) = messages(self._socket.receive())
        if answer == NLMSG_ERROR:
            raise _failure(found)
        return found

    def routes(self, family: int, *, protocol: int = 0) -> list[bytes]:
        """The main table's routes of a family (``AF_*``), and of one protocol unless it is 0.

        Raises:
            OSError: as :meth:`read`.
        """
        try:
            found = self.read(RTM_GETROUTE, ROUTE.pack(family, 0, 0, 0, RT_TABLE_MAIN, protocol, 0, 0, 0))
        except OSError as error:
            if error.errno != errno.ENOENT:  # before its first route there is no table
                raise
            return []
        # a kernel or a socket that filters nothing gives all tables
        heads = ((ROUTE.unpack_from(body), body) for body in found)
        return [body for head, body in heads if head[4] == RT_TABLE_MAIN and protocol in {0, head[5]}]

    def _answer(self) -> tuple[list[bytes], bool]:
        """The whole answer, and whether nothing changed while it was given."""
        found: list[bytes] = []
        is_whole = True
        while True:
            for kind, flags, body in messages(self._socket.receive()):
                is_whole &= not flags & NLM_F_DUMP_INTR
                if kind in {NLMSG_DONE, NLMSG_ERROR}:
                    if any(_ERROR.unpack_from(body)):
                        raise _failure(body)
                    return found, is_whole
                found.append(body)


def _failure(body: bytes) -> OSError:
    """What the kernel says that it refused, or ended a dump for."""
    failed = -_ERROR.unpack_from(body)[0]
    return OSError(failed, f"netlink: {errno.errorcode.get(failed, failed)}")
