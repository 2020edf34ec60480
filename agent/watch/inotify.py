"""A folder's events by inotify(7); manifests.py hears from it which files to read again."""

import ctypes
import os
import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from types import TracebackType
from typing import Self

_HEAD = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, length of the name
_READ = 1 << 16


class Mask(IntFlag):
    """What happened.

    Source: linux/inotify.h.
    """

    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000


WATCHED = (
    Mask.CLOSE_WRITE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.CREATE
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event; *name* is empty where it is about the folder itself."""

    mask: Mask
    name: str


class Inotify:
    """Watches one folder. The file descriptor is its owner's to close."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "cannot watch (raise fs.inotify.max_user_instances)", str(folder))
        if libc.inotify_add_watch(self._fd, os.fsencode(folder), WATCHED) < 0:
            code = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(code, os.strerror(code), str(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    @property
    def fd(self) -> int:
        """What can be read when something happened."""
        return self._fd

    def wait(self, timeout_s: float, wake_fd: int) -> tuple[Event, ...]:
        """The events that have come, at the latest after *timeout_s* or when *wake_fd* can be read."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(wake_fd, select.POLLIN)
        if self._fd not in dict(poll.poll(timeout_s * 1000)):
            return ()
        return tuple(events(os.read(self._fd, _READ)))


def events(content: bytes) -> Iterator[Event]:
    """The events in what the kernel gave to one read."""
    at = 0
    while at < len(content):
        _, mask, _, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        yield Event(Mask(mask), os.fsdecode(content[at : at + length].rstrip(b"\0")))
        at += length
