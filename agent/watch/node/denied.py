"""Follows the file of ranges from which nothing is let in, by a thread of its own: 100,000 lines take a while to read.

A file that is not there, or cannot be read, changes nothing: what it last said holds, and that is a problem to be told.
"""

import os
from pathlib import Path

from agent.log import logger
from agent.model.denied import Denied
from agent.model.name import ObjectName, Problem
from agent.threads import Threads, Worker
from agent.watch.decode.denied import parse
from agent.watch.inotify import Inotify
from agent.watch.mirror import Mirror
from maps import abi

log = logger(__name__)

RECHECK_S = 30.0  # a link may lead to a folder that nobody watches, as one does in a ConfigMap's volume
SETTLE_S = 0.1  # of silence before the file is read

Mark = tuple[int, int, int, int]


class DeniedSource:
    """One file and its thread."""

    def __init__(self, path: Path, mirror: Mirror, threads: Threads) -> None:
        self._path = path
        self._mirror = mirror
        self._denied = Denied()
        self._read: Mark | None = None  # of the file as it was last read
        self._is_told = False
        self._worker = Worker(threads, "watch-denied", self._run)

    def start(self) -> None:
        """Begin to watch."""
        self._worker.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._worker.is_stopping:
            try:
                with Inotify(self._path.parent) as inotify:
                    self._follow(inotify)
            except OSError:  # the folder is not there
                self._look()
                self._worker.pause(RECHECK_S)

    def _follow(self, inotify: Inotify) -> None:
        while not self._worker.is_stopping and self._path.parent.is_dir():
            self._look()
            events = inotify.wait(RECHECK_S, self._worker.wake)
            while events and not self._worker.is_stopping:
                events = inotify.wait(SETTLE_S, self._worker.wake)

    def _look(self) -> None:
        """Read the file if it is another than before."""
        try:
            with self._path.open("rb") as file:
                mark = _mark(os.fstat(file.fileno()))
                if mark == self._read:
                    return
                text = file.read().decode(errors="replace")
        except OSError as error:
            if self._read is not None or not self._is_told:
                text = f"cannot be read: {error.strerror}; what it said before holds"
                self._tell((Problem("File", ObjectName("", str(self._path)), "", text),))
            self._read = None
            return
        self._read = mark
        with self._worker.busy():
            self._denied, problems = parse(text, str(self._path))
        self._tell(problems)

    def _tell(self, problems: tuple[Problem, ...]) -> None:
        self._is_told = True
        ranges = len(self._denied.values) // abi.DeniedPrefix.SIZE
        log.info("ranges to deny", file=self._path, ranges=ranges, problems=len(problems))
        self._mirror.set_denied(self._denied, problems)


def _mark(stat: os.stat_result) -> Mark:
    """What differs when a file was written to, or is another."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
