"""Network namespaces: opened with netlink sockets there and here, entered by one thread and left again, or made."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

from agent.errors import AgentError
from agent.netlink.socket import Socket
from maps.netns import NetnsRefused, Refusal, opened

_CLONE_NEWNET = 0x40000000
_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}  # of the agent or the node, which says nothing of a namespace
_libc = ctypes.PyDLL(None, use_errno=True)  # it takes microseconds: other threads may wait for it
_slow_libc = ctypes.CDLL(None, use_errno=True)  # what waits for rtnl may take longer: other threads go on
_OWN = "/proc/thread-self/ns/net"


class NoSuchNetns(AgentError):  # noqa: N818  the name says what is wrong
    """A path leads to no network namespace, or to the caller's own."""


@dataclass(frozen=True, slots=True)
class NetnsHandle:
    """A pod's namespace, open, with a netlink socket there and one on the node, the calling thread's namespace."""

    node: Socket
    pod: Socket
    fd: int  # of the pod's: the path may change its meaning, the descriptor does not
    cookie: int  # the pod's namespace's
    without_ipv6: bool  # as devices are born there


@contextmanager
def open_netns(path: str, *, may_be_host: bool) -> Iterator[NetnsHandle]:
    """The namespace behind *path*; open for the block.

    Raises:
        NoSuchNetns: nothing was touched.
        OSError: there is no socket to be had.
    """
    try:
        with opened(path, may_be_own=may_be_host) as at:
            yield NetnsHandle(Socket(at.node), Socket(at.pod), at.netns, at.cookie, bool(at.without_ipv6))
    except NetnsRefused as refused:
        raise _meant(path, refused) from None


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Run the calling thread in the network namespace at *path*; other threads stay where they are.

    A thread that cannot come back must not go on, so the process ends then.
    """
    home, target = (os.open(each, os.O_RDONLY | os.O_CLOEXEC) for each in (_OWN, path))
    try:
        _enter(target, path)
        try:
            yield
        finally:
            _come_back(home)
    finally:
        os.close(home)
        os.close(target)


@contextmanager
def anonymous() -> Iterator[str]:
    """A new network namespace that has no name, for the block: its path leads there for this process alone.

    It ends with the block, or with the process, and with it what is in it; the kernel does so a moment later.

    Raises:
        OSError: there is none to be had.
    """
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _slow_libc.unshare(_CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot make a network namespace: {os.strerror(number)}")
        try:
            made = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _come_back(home)
    finally:
        os.close(home)
    try:
        yield f"/proc/self/fd/{made}"
    finally:
        os.close(made)


def _come_back(home: int) -> None:
    try:
        _enter(home, "home")
    except OSError:
        os._exit(99)


def _enter(fd: int, name: str) -> None:
    """Python 3.11 has no os.setns."""
    if _libc.setns(fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: cannot enter: {os.strerror(number)}")


def _meant(path: str, refused: NetnsRefused) -> Exception:
    text = os.strerror(refused.errno)
    if refused.errno in _SHORT and refused.refusal in {Refusal.NO_PATH, Refusal.NOT_ENTERED}:
        return OSError(refused.errno, f"{path}: {text}")
    match refused.refusal:
        case Refusal.NO_PATH:
            return NoSuchNetns(f"{path}: {text}")
        case Refusal.NO_NETNS:
            return NoSuchNetns(f"{path}: is no network namespace")
        case Refusal.OWN_NETNS:
            return NoSuchNetns(f"{path}: is the node's own network namespace")
        case Refusal.NOT_ENTERED:
            return NoSuchNetns(f"{path}: cannot enter: {text}")
        case Refusal.NO_RESOURCES:
            return OSError(refused.errno, f"{path}: {text}")
        case _:
            assert_never(refused.refusal)
