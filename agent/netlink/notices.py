"""Notices of rtnetlink, as they come: the sign to look at what changed, never the news itself.

A pod that comes or goes is a dozen notices, so they are waited for together. What the kernel or a read had no room for
is one notice more, :data:`NLMSG_OVERRUN`: anything may have changed.
"""

import errno
import select
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from agent.netlink.rtnetlink import NLMSG_OVERRUN, messages
from agent.netlink.socket import Socket

Notice = tuple[int, int, bytes]  # type, flags, body


class Notices:
    """A socket that hears of some groups (``RTMGRP_*``) in the network namespace it was made in."""

    def __init__(self, groups: int) -> None:
        self._socket = Socket(groups=groups)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def wait(self, wake_fd: int, *, timeout_s: float | None = None, gather_s: float = 0.0) -> bool:
        """Whether there are notices, with those of *gather_s* more; False after *timeout_s* and when woken."""
        if self._socket.fd not in _readable(timeout_s, self._socket.fd, wake_fd):
            return False
        _readable(gather_s, wake_fd)
        return True

    def read(self) -> Iterator[Notice]:
        """All that are there; does not wait.

        Raises:
            OSError: the socket failed.
        """
        while True:
            try:
                content = self._socket.receive()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in {errno.ENOBUFS, errno.EMSGSIZE}:
                    raise
                yield NLMSG_OVERRUN, 0, b""
            else:
                yield from messages(content)


def _readable(timeout_s: float | None, *descriptors: int) -> frozenset[int]:
    """Those that can be read, as soon as one can; select() takes none above 1,023."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return frozenset(descriptor for descriptor, _ in poll.poll(None if timeout_s is None else timeout_s * 1000))
