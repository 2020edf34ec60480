"""The one owner of the agent's threads, so that none ends or hangs in silence: /livez asks it.

A thread that serves for the agent's life is made here. One that raises, or returns though nobody ended it, is logged
with its name and makes the agent unfit to live; so does one that is busy with one thing for too long.
"""

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread

from agent.log import logger

log = logger(__name__)

STUCK_S = 120.0  # busy with one thing: the first sync of the largest cluster takes a few seconds


class AgentThread:
    """A thread that must live until it is ended."""

    def __init__(self, name: str, run: Callable[[], None], stuck_s: float, clock: Callable[[], float]) -> None:
        self.name = name
        self.is_ending = False
        self._run = run
        self._stuck_s = stuck_s
        self._clock = clock
        self._busy_since: float | None = None
        self._failure = ""
        self._thread = Thread(target=self._guarded, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin, in the network namespace of the calling thread."""
        self._thread.start()

    def end(self) -> None:
        """It may return from now on; who wakes it is the caller's affair."""
        self.is_ending = True

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for its end; a daemon, so that one that does not end keeps nobody."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """What happens within is one piece of work, which must not last for ever; for the thread itself."""
        self._busy_since = self._clock()
        try:
            yield
        finally:
            self._busy_since = None

    def progressed(self) -> None:
        """What it is busy with came a step further; for the thread itself."""
        self._busy_since = self._clock()

    def trouble(self) -> str:
        """Why the agent cannot go on with this thread; empty while it can."""
        if self._failure:
            return f"thread {self.name} {self._failure}"
        since = self._busy_since
        busy_s = self._clock() - since if since is not None else 0.0
        return f"thread {self.name} is busy with one thing for {busy_s:.0f} s" if busy_s > self._stuck_s else ""

    def _guarded(self) -> None:
        try:
            self._run()
        # whatever it is: a thread that dies in silence is worse than any error
        except BaseException as error:
            self._failure = f"died of {type(error).__name__}: {error}"
            log.exception("thread died", thread=self.name)
        else:
            if not self.is_ending:
                self._failure = "ended, though nobody ended it"
                log.error("thread ended, though nobody ended it", thread=self.name)


class Threads:
    """All that run."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._threads: list[AgentThread] = []

    def make(self, name: str, run: Callable[[], None], stuck_s: float = STUCK_S) -> AgentThread:
        """A thread that is watched over from its start on."""
        thread = AgentThread(name, run, stuck_s, self._clock)
        with self._lock:
            self._threads.append(thread)
        return thread

    def forget(self, thread: AgentThread) -> None:
        """Watch no more over a thread that was ended, for what it served is no longer wanted."""
        with self._lock:
            self._threads.remove(thread)

    def trouble(self) -> str:
        """Which threads are dead or stuck; empty while all is well."""
        with self._lock:
            threads = tuple(self._threads)
        return "; ".join(text for thread in threads if (text := thread.trouble()))


class Worker:
    """A thread of a source that waits on file descriptors, with the pipe that wakes and ends it."""

    def __init__(self, threads: Threads, name: str, run: Callable[[], None]) -> None:
        self.wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # to wait on beside one's own, and its end
        self._thread = threads.make(name, run)
        self.busy = self._thread.busy

    @property
    def is_stopping(self) -> bool:
        """Whether the thread, which looks whenever it wakes, is to return."""
        return self._thread.is_ending

    def start(self) -> None:
        """Begin, in the network namespace of the calling thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._thread.end()
        os.write(self._waker, b"\0")
        self._thread.join(timeout_s)
        if not self._thread.is_alive:  # else it may still wait on the pipe
            os.close(self.wake)
            os.close(self._waker)

    def rouse(self) -> None:
        """Make the wake descriptor readable, from any thread, so that the worker looks what it is to do."""
        with suppress(BlockingIOError):  # full: it will look
            os.write(self._waker, b"\0")

    def look(self) -> None:
        """Take what :meth:`rouse` wrote, as the worker's own thread, before it looks what it is to do."""
        with suppress(BlockingIOError):
            os.read(self.wake, 4096)

    def wait(self, *descriptors: int, timeout_s: float | None = None) -> None:
        """Until one of the descriptors can be read, as the worker's own thread, but not beyond :meth:`stop`."""
        poll = select.poll()  # select() takes none above 1,023
        for descriptor in (self.wake, *descriptors):
            poll.register(descriptor, select.POLLIN)
        poll.poll(None if timeout_s is None else timeout_s * 1000)

    def pause(self, seconds: float) -> None:
        """Sleep, as the worker's own thread, but not beyond :meth:`stop`."""
        self.wait(timeout_s=seconds)
