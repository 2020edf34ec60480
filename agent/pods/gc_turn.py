"""Whoever adds to a network or deletes there, or has its plugins collect what nobody needs: never both at once.

What a GC is not told of it takes away, and an attachment that is being made may be such.

Source: CNI specification 1.1.0, section 3 ("Lifecycle & Ordering", exception).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition


class GcRunning(Exception):  # noqa: N818  the name says what happened
    """It was not this one's turn in time."""


class GcTurn:
    """The turns at the networks of one node, by their names. Deadlines are of the monotonic clock.

    An ADD waits for a GC that runs, and not for one that waits itself: a plugin that hangs would have all wait.
    """

    def __init__(self) -> None:
        self._changed = Condition()  # guards what follows
        self._changing: dict[str, int] = {}  # how many add or delete
        self._collecting: set[str] = set()

    @contextmanager
    def to_change(self, network: str, deadline: float) -> Iterator[None]:
        """While one adds or deletes, beside others that do.

        Raises:
            GcRunning: a GC goes on.
        """
        with self._changed:
            self._await(lambda: network not in self._collecting, deadline, f"a GC of network {network} goes on")
            self._changing[network] = self._changing.get(network, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._changing[network] -= 1
                if not self._changing[network]:
                    del self._changing[network]
                self._changed.notify_all()

    @contextmanager
    def to_collect(self, network: str, deadline: float) -> Iterator[None]:
        """While a GC runs, alone.

        Raises:
            GcRunning: somebody adds or deletes all the time, or another GC goes on.
        """

        def is_free() -> bool:
            return network not in self._changing and network not in self._collecting

        with self._changed:
            self._await(is_free, deadline, f"network {network} is being changed")
            self._collecting.add(network)
        try:
            yield
        finally:
            with self._changed:
                self._collecting.remove(network)
                self._changed.notify_all()

    def _await(self, is_free: Callable[[], bool], deadline: float, why: str) -> None:
        if not self._changed.wait_for(is_free, max(0.0, deadline - time.monotonic())):
            raise GcRunning(f"{why}; try again")
