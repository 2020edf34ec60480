"""A pod's network namespace, by its path: opened, judged, with sockets there and on the node; entered by a thread."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import assert_never

from agent.netlink import netns as namespace
from agent.netlink.socket import Socket
from agent.pods.errors import NetnsUnusable
from maps.place import PlaceRefused, Refusal, entered


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
        NetnsUnusable: nothing was touched.
        OSError: there is no socket to be had.
    """
    try:
        with entered(path, may_be_own=may_be_host) as at:
            yield NetnsHandle(Socket(at.node), Socket(at.pod), at.netns, at.cookie, bool(at.without_ipv6))
    except PlaceRefused as refused:
        raise _meant(path, refused) from None


@contextmanager
def inside(fd: int) -> Iterator[None]:
    """The calling thread is there for the block.

    Raises:
        NetnsUnusable: the kernel does not let it in.
    """
    with ExitStack() as visit:
        try:
            visit.enter_context(namespace.visiting(fd, "the network namespace"))
        except OSError as error:
            raise NetnsUnusable(str(error)) from error
        yield


def _meant(path: str, refused: PlaceRefused) -> Exception:
    text = os.strerror(refused.errno)
    match refused.refusal:
        case Refusal.NO_PATH:
            return NetnsUnusable(f"{path}: {text}")
        case Refusal.NO_NETNS:
            return NetnsUnusable(f"{path}: is no network namespace")
        case Refusal.OWN_NETNS:
            return NetnsUnusable(f"{path}: is the node's own network namespace")
        case Refusal.NOT_ENTERED:
            return NetnsUnusable(f"{path}: cannot enter: {text}")
        case Refusal.NO_RESOURCES:
            return OSError(refused.errno, f"{path}: {text}")
        case _:
            assert_never(refused.refusal)
