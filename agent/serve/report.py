"""The agent's report on itself, in a file that outlives it: ``dpctl status`` shows it, also when the agent is dead."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.log import logger
from agent.reconcile.status import Status
from agent.serve import report_file

log = logger(__name__)

FILE = "status.json"  # in --run-dir
LEAST_S = 1.0  # between two writes


@dataclass(frozen=True, slots=True)
class Report:
    """What the file holds; who reads it may be of another build, so that any part may be missing."""

    pin_root: str = ""  # the agent's
    at_s: float = 0.0  # when it was written, seconds of the epoch
    status: Status = field(default_factory=Status)
    waits_for: tuple[str, ...] = ()  # what has not been listed yet, and why


class Reporter:
    """Writes the file when there is something new, and not too often."""

    def __init__(self, run_dir: Path, pin_root: Path, clock: Callable[[], float] = time.time) -> None:
        self._run_dir = run_dir
        self._pin_root = str(pin_root)
        self._clock = clock
        self._reported: tuple[Status, tuple[str, ...]] | None = None
        self._at_s = 0.0

    def report(self, status: Status, waits_for: tuple[str, ...] = (), *, now: bool = False) -> None:
        """Write *status* to the file: at once if *now*, else as soon as the last write is long enough ago.

        Called again and again; a file that cannot be written is logged.
        """
        at_s = self._clock()
        reported = (status, waits_for)
        if reported == self._reported or not (now or abs(at_s - self._at_s) >= LEAST_S):
            return
        self._reported, self._at_s = reported, at_s
        content = msgspec.json.encode(Report(self._pin_root, at_s, status, waits_for))
        try:
            report_file.write(self._run_dir, FILE, content)
        except OSError as error:
            log.warning("status cannot be written; dpctl status shows an older one, or none", why=error)


def read(run_dir: Path) -> Report | None:
    """An agent's last report; None where there is none that can be read.

    Raises:
        PermissionError: this user may not look.
    """
    return report_file.read(run_dir, FILE, Report)
