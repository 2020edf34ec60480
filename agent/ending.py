"""SIGTERM and SIGINT: the agent ends soon, whatever its main thread is at.

A start may load programs, wait for a compiler or for credentials, and what ends may wait for a server. Python hears of
a signal between two steps of its main thread; a thread of its own hears of it at once, and leaves when time is over.
Whatever the agent was at, the next one finishes or undoes it.
"""

import os
import signal
from threading import Event, Thread

from agent.log import logger

log = logger(__name__)

LEAVE_S = 1.5  # from the signal to the end at the latest
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """What a signal sets off. The main thread makes it early: a container's first process hears no signal before."""

    def __init__(self, leave_s: float = LEAVE_S) -> None:
        self.asked = Event()  # somebody wants the agent to end
        self._leave_s = leave_s
        self._is_running = False
        self._done = Event()
        self._heard, heard = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(heard, False)
        signal.set_wakeup_fd(heard)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: self._ask())
        Thread(target=self._watch, name="ending", daemon=True).start()

    def running(self) -> None:
        """The start is over: from now on who is asked to end looks at :attr:`asked`, and goes in order."""
        self._is_running = True

    def done(self) -> None:
        """All has ended."""
        self._done.set()

    def _ask(self) -> None:
        self.asked.set()
        if not self._is_running:
            log.info("agent ends before it runs; services and pods go on")
            raise SystemExit(0)

    def _watch(self) -> None:
        while os.read(self._heard, 1)[0] not in _SIGNALS:
            pass
        if not self._done.wait(self._leave_s):
            log.warning("agent ends at once: something takes longer", waited_s=self._leave_s)
            os._exit(0)
