"""Network namespaces, entered by one thread and left again."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_libc = ctypes.PyDLL(None, use_errno=True)  # it takes microseconds: other threads may wait for it


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Run the calling thread in the network namespace at *path*; other threads stay where they are.

    A thread that cannot come back must not go on, so the process ends then.
    """
    target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with visiting(target, path):
            yield
    finally:
        os.close(target)


@contextmanager
def visiting(target: int, name: str) -> Iterator[None]:
    """As :func:`inside`, for a namespace by a descriptor; *name* is for the error."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(target, name)
        try:
            yield
        finally:
            try:
                _enter(home, "home")
            except OSError:
                os._exit(99)
    finally:
        os.close(home)


def _enter(fd: int, name: str) -> None:
    """Python 3.11 has no os.setns."""
    if _libc.setns(fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: cannot enter: {os.strerror(number)}")
