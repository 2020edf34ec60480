"""A pod's network namespace, opened and checked, with netlink sockets there and here, in C (maps/shim_netns.c)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from maps._libbpf import ffi, lib


class Refusal(IntEnum):
    """Why a path leads to no pod's namespace; all but the second and third have an error of the kernel's."""

    NO_PATH = lib.SHIM_NO_PATH
    NO_NETNS = lib.SHIM_NO_NETNS
    OWN_NETNS = lib.SHIM_OWN_NETNS
    NOT_ENTERED = lib.SHIM_NOT_ENTERED
    NO_RESOURCES = lib.SHIM_NO_RESOURCES  # for the sockets


class NetnsRefused(Exception):  # noqa: N818  the name says what happened
    """What stands in the way, and the kernel's error."""

    def __init__(self, refusal: Refusal, errno: int) -> None:
        super().__init__(refusal, errno)
        self.refusal, self.errno = refusal, errno


@contextmanager
def opened(path: str, *, may_be_own: bool) -> Iterator[Any]:
    """A ``struct shim_netns``, whose descriptors are open for the block.

    Raises:
        NetnsRefused: nothing was touched.
    """
    netns = ffi.new("struct shim_netns *")
    refusal = lib.shim_netns_open(os.fsencode(path), may_be_own, netns)
    if refusal:
        raise NetnsRefused(Refusal(refusal), ffi.errno)
    try:
        yield netns
    finally:
        lib.shim_netns_close(netns)
