"""Calls in a network namespace of their own, which ends with the call."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


def in_new_netns(call: Callable[[], T]) -> T:
    """What *call* returns, run by a thread in a fresh namespace; the thread and the namespace end with it."""

    def run() -> T:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        return call()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()
