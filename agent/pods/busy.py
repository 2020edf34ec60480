"""Containers that a request of the runtime is at, from its first step to its last: nobody else changes them then."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from agent.model.attachment import AttachmentKey


class Busy:
    """The containers of one node; safe to use from several threads."""

    def __init__(self) -> None:
        self._requests = Counter[AttachmentKey]()  # of which a runtime may have several at a time
        self._lock = Lock()

    @contextmanager
    def at(self, key: AttachmentKey) -> Iterator[None]:
        """A request is at this one."""
        with self._lock:
            self._requests[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._requests[key] -= 1
                if not self._requests[key]:
                    del self._requests[key]

    def has(self, key: AttachmentKey) -> bool:
        """Whether one is."""
        return self._requests[key] > 0
