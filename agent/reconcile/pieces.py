"""The thread of pieces: what a round does of the node's devices, which may wait for whoever has the kernel's rtnl lock.

Others on a node hold it for seconds at a time (a thousand interfaces that go, a driver that starts anew). The reconcile
thread hands over one piece at a time, and writes maps meanwhile: a policy waits for no device.
"""

from collections.abc import Callable
from threading import Condition

from agent.threads import Threads


class Pieces:
    """One piece at a time, on a thread of its own; *wake* is the condition that its owner waits on."""

    def __init__(self, wake: Condition, threads: Threads) -> None:
        self._wake = wake
        self._piece: Callable[[], object] | None = None  # until it has ended
        self._result: object = None
        self._error: Exception | None = None
        self._thread = threads.make("pieces", self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End when the piece that is under way has ended; called without the condition."""
        with self._wake:
            self._thread.end()
            self._wake.notify_all()
        self._thread.join()

    def begin(self, piece: Callable[[], object]) -> None:
        """Have a piece done, when one that nobody waits for any more has ended."""
        with self._wake:
            self._wake.wait_for(lambda: self.is_done)
            self._piece = piece
            self._wake.notify_all()

    @property
    def is_done(self) -> bool:
        """Whether no piece is under way; asked under the condition."""
        return self._piece is None

    def result(self) -> object:
        """What the latest piece returned, or raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._piece is not None or self._thread.is_ending)
                piece = self._piece
            if piece is None:
                return
            result, error = self._do(piece)
            with self._wake:
                self._piece, self._result, self._error = None, result, error
                self._wake.notify_all()

    def _do(self, piece: Callable[[], object]) -> tuple[object, Exception | None]:
        try:
            with self._thread.busy():
                return piece(), None
        except Exception as error:  # noqa: BLE001  it is the owner's, who asked for the piece
            return None, error
