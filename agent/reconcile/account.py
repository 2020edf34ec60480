"""The loop's account of its rounds: its status, and what its log says of them."""

from collections.abc import Sequence
from dataclasses import replace

from agent.compile.desired import Desired
from agent.log import logger
from agent.model.name import Problem
from agent.reconcile.round import Rounds
from agent.reconcile.status import Status

log = logger(__name__)


class Account:
    """The status, and how it becomes the next."""

    def __init__(self) -> None:
        self.status = Status()

    def written(self, wanted: Desired, began_ns: int, now_ns: int) -> bool:
        """Count a round after which maps and vital parts are right; whether it is the first with everything known."""
        old = self.status
        is_first = wanted.synced and not old.synced
        self.status = replace(
            old,
            synced=wanted.synced or old.synced,
            last_sync_ns=now_ns,
            duration_ns=now_ns - began_ns,
            first_duration_ns=now_ns - began_ns if is_first else old.first_duration_ns,
            syncs=old.syncs + 1,
        )
        if is_first:
            log.info("first sync done", owners=len(wanted.owners), took_ms=(now_ns - began_ns) // 1_000_000)
        return is_first

    def judge(self, rounds: Rounds, errors: Sequence[Exception]) -> None:
        """Note how a round left the node; *errors* are what is left to do, the gravest first."""
        problems = rounds.desired.problems
        _tell(self.status.problems, problems)
        self.status = replace(
            self.status,
            revision=rounds.revision,
            services=len(rounds.desired.services.records),
            problems=problems,
            parts=rounds.parts.status,
        )
        if errors:
            self.failed(errors[0])
        else:
            self.status = replace(self.status, error="")

    def failed(self, error: Exception) -> None:
        """Note that something is left to do, which is tried again."""
        text = str(error) or type(error).__name__
        log.error("not everything is in the kernel; trying again", error=text)
        self.status = replace(self.status, failures=self.status.failures + 1, error=text)

    def drifted(self, records: int) -> None:
        """Count records that someone else had changed, and that were put right."""
        if records:
            log.warning("records were changed by someone else; put right", records=records)
        self.status = replace(self.status, drift=self.status.drift + records)


def _tell(old: tuple[Problem, ...], new: tuple[Problem, ...]) -> None:
    """Log each problem once, when it comes."""
    if new is old:
        return
    known = set(old)
    for problem in new:
        if problem not in known:
            log.warning("object cannot be used as it stands", problem=problem)
