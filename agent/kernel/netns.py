"""Network namespaces, entered by one thread and left again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from agent.kernel.syscalls import enter_netns


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
        enter_netns(target, name)
        try:
            yield
        finally:
            try:
                enter_netns(home, "home")
            except OSError:
                os._exit(99)
    finally:
        os.close(home)
