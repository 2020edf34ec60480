"""Requests that found no agent and need no answer: DEL and GC, which the shim leaves as files in ``cni-intents``.

They are applied when the agent starts, before it serves, and while it runs: a shim whose agent hung leaves them too.
Whatever was attached after one was written is spared, for its author could not know of it.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from agent.cni.error import Code
from agent.cni.frame import request_of
from agent.cni.request import AFTERWARDS, ASKED_AT, AT_START, LATE
from agent.log import logger

log = logger(__name__)

INTENTS = "cni-intents"
DRAFT_NS = 60_000_000_000  # a draft, whose name begins with a dot, is older only if its writer died
RETRY_S = 10.0
COARSE_NS = 1_000_000_000  # a file's time is that of the last tick, and the clock may have been set a little

Answer = Callable[[Mapping[str, str], bytes], tuple[int, bytes]]


class Intents:
    """The folder; used by one thread at a time."""

    def __init__(self, run_dir: Path, answer: Answer, clock: Callable[[], float] = time.monotonic) -> None:
        """*clock* gives seconds."""
        self._folder = run_dir / INTENTS
        self._answer = answer
        self._clock = clock
        self._later: dict[Path, float] = {}  # those that could not be done, and when they are tried again

    def take_in(self, *, is_first: bool = False) -> None:
        """Apply what lies there, oldest first. What cannot be done now stays, and is tried again after a while.

        *is_first*: others wait until it has ended.
        """
        now = time.time_ns()
        for path, written_ns in _oldest_first(self._folder):
            if path.name.startswith(".") and now - written_ns < DRAFT_NS:
                continue  # its writer is at it
            try:
                self._apply(path, written_ns, AT_START if is_first else AFTERWARDS)
            except OSError as error:  # its shim found us after all, and took it back
                log.info("CNI request of an absent agent: file is gone", file=path.name, error=error)

    def _apply(self, path: Path, written_ns: int, late: str) -> None:
        request = None if path.name.startswith(".") else request_of(path.read_bytes())
        if request is not None:
            if path in self._later and self._clock() < self._later[path]:
                return
            environment, stdin = request
            more = {ASKED_AT: str(_asked_at_ns(environment, written_ns)), LATE: late}
            code, output = self._answer({**environment, **more}, stdin)
            log.info("CNI request of an absent agent applied", file=path.name, code=code, answer=output.decode())
            if code == Code.TRY_LATER:
                self._later[path] = self._clock() + RETRY_S
                return
        self._later.pop(path, None)
        path.unlink()


def _asked_at_ns(environment: Mapping[str, str], written_ns: int) -> int:
    """When it was asked, by CLOCK_BOOTTIME: as the shim says, if the file is not older, as after a reboot."""
    by_file = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - (time.time_ns() - written_ns)
    with suppress(KeyError, ValueError):
        said = int(environment[ASKED_AT])
        if said < by_file + COARSE_NS:
            return said
    return by_file


def _oldest_first(directory: Path) -> Iterator[tuple[Path, int]]:
    """The files, and when each was written; one that is renamed or removed meanwhile is passed over alone."""
    found = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(directory):
            with suppress(FileNotFoundError):
                found.append((entry.stat().st_mtime_ns, entry.path))
    return ((Path(path), written_ns) for written_ns, path in sorted(found))
