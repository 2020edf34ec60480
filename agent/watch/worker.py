"""The thread of a source that waits on file descriptors, and the way to wake and end it."""

import os
import select
from collections.abc import Callable
from threading import Thread


class Worker:
    """A thread, and a pipe whose reading end it waits on beside its own descriptors."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.is_stopping = False
        self._thread = Thread(target=run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, in the network namespace of the calling thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread, which looks at :attr:`is_stopping` whenever it wakes."""
        self.is_stopping = True
        os.write(self._waker, b"\0")
        self._thread.join(timeout_s)
        if not self._thread.is_alive():  # else it may still wait on the pipe
            os.close(self.wake)
            os.close(self._waker)

    def pause(self, seconds: float) -> None:
        """Sleep, as the worker's own thread, but not beyond :meth:`stop`."""
        select.select([self.wake], [], [], seconds)
