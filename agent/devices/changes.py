"""What tells that something about devices has changed: the kernel's events, links' notices, the kubelet's folder.

They say only that it is time to look; what is so is read.

Sources: netlink(7), NETLINK_KOBJECT_UEVENT; inotify(7).
"""

import contextlib
import os
import select
import socket
from pathlib import Path

from agent.netlink.rtnetlink import RTMGRP_LINK
from agent.watch.inotify import Inotify

NETLINK_KOBJECT_UEVENT = 15  # linux/netlink.h
KERNEL = 1  # its events' group
GATHER_S = 0.1  # a driver that is bound is a dozen events
READ = 1 << 16


class Changes:
    """Waits for the next one; used by one thread."""

    def __init__(self, folder: Path) -> None:
        """*folder* is the kubelet's, which may not be there yet."""
        self._folder = folder
        self._kubelet: Inotify | None = None
        self._watched: tuple[int, int] | None = None
        self._sockets = [_heard(NETLINK_KOBJECT_UEVENT, KERNEL), _heard(socket.NETLINK_ROUTE, RTMGRP_LINK)]

    def close(self) -> None:
        """Hear no more."""
        for each in self._sockets:
            each.close()
        self._forget()

    def wait(self, wake_fd: int, timeout_s: float) -> None:
        """Return a moment after a change, when *wake_fd* can be read, or when the time is over."""
        self._follow_kubelet()
        poll = select.poll()
        for fd in (wake_fd, *self._fds()):
            poll.register(fd, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return
        only_wake = select.poll()
        only_wake.register(wake_fd, select.POLLIN)
        only_wake.poll(GATHER_S * 1000)
        for fd in self._fds():
            with contextlib.suppress(OSError):  # nothing there, or more than there was room for
                while os.read(fd, READ):
                    pass

    def _fds(self) -> tuple[int, ...]:
        return (*(each.fileno() for each in self._sockets), *((self._kubelet.fd,) if self._kubelet else ()))

    def _follow_kubelet(self) -> None:
        """Watch the folder that is there now: one that was made again is another."""
        try:
            found = self._folder.stat()
        except OSError:
            self._forget()
            return
        if self._kubelet is None or self._watched != (found.st_dev, found.st_ino):
            self._forget()
            with contextlib.suppress(OSError):  # gone again
                self._kubelet, self._watched = Inotify(self._folder), (found.st_dev, found.st_ino)

    def _forget(self) -> None:
        if self._kubelet is not None:
            self._kubelet.__exit__(None, None, None)
            self._kubelet = None


def _heard(protocol: int, group: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    made.bind((0, group))
    return made
