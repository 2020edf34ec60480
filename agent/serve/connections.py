"""The connections that the HTTP server has open: few, and none for long.

Anybody on the node may open hundreds and say nothing, or a byte a second: that must cost neither descriptors, which CNI
needs, nor the kubelet its probe. So a connection too many takes the place of the one that lasts longest; one whose
request has come is spared for a moment. An honest caller on loopback is answered in milliseconds.
"""

import contextlib
import time
from collections.abc import Callable
from socket import SHUT_RDWR, socket
from threading import Lock

MOST = 16  # connections at once
WHOLE_S = 5.0  # for a connection, from accept to its end
SPARED_S = 2.0  # a connection whose request has come counts as so much younger


class Connections:
    """Which are open, since when."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._since: dict[socket, float] = {}

    def admit(self, connection: socket) -> None:
        """Count it; where there are too many, end the one that lasts longest."""
        with self._lock:
            while len(self._since) >= MOST:
                self._end(min(self._since, key=self._since.__getitem__))
            self._since[connection] = self._clock()

    def answering(self, connection: socket) -> None:
        """Its request has come."""
        with self._lock:
            if connection in self._since:
                self._since[connection] += SPARED_S

    def gone(self, connection: socket) -> None:
        """It is closed by whoever served it."""
        with self._lock:
            self._since.pop(connection, None)

    def end_overdue(self) -> None:
        """End those that last too long, however busy."""
        with self._lock:
            now = self._clock()
            for connection in [one for one, since in self._since.items() if now - since >= WHOLE_S]:
                self._end(connection)

    def _end(self, connection: socket) -> None:
        """Wake its thread, which closes it."""
        del self._since[connection]
        with contextlib.suppress(OSError):
            connection.shutdown(SHUT_RDWR)
