"""The loop's account of its rounds: its status, and what its log says of them, each thing once."""

from dataclasses import replace

from agent.log import logger
from agent.model.name import Problem
from agent.reconcile.status import Status
from agent.reconcile.sync import Sync

log = logger(__name__)


class Account:
    """The status, and how it becomes the next."""

    def __init__(self) -> None:
        self.status = Status()

    def written(self, sync: Sync, began_ns: int, now_ns: int) -> bool:
        """Maps and hooks of this node are right; whether it is the first time, with everything known."""
        old, compiled = self.status, sync.compiled
        is_first = sync.cluster.synced and not old.synced
        problems = compiled.problems if compiled is not None else ()
        _tell(old.problems, problems)
        self.status = replace(
            old,
            synced=sync.cluster.synced or old.synced,
            last_sync_ns=now_ns,
            duration_ns=now_ns - began_ns,
            first_duration_ns=now_ns - began_ns if is_first else old.first_duration_ns,
            syncs=old.syncs + 1,
            generation=sync.generation,
            services=len(compiled.services) if compiled is not None else 0,
            problems=problems,
        )
        if is_first:
            log.info("first sync done", services=self.status.services, took_ms=(now_ns - began_ns) // 1_000_000)
        return is_first

    def succeeded(self) -> None:
        """Nothing is left to do."""
        self.status = replace(self.status, error="")

    def failed(self, error: Exception) -> None:
        """Something is left to do, and tried again."""
        text = str(error) or type(error).__name__
        if text != self.status.error:
            log.error("not everything is in the kernel; trying again", error=text)
        self.status = replace(self.status, failures=self.status.failures + 1, error=text)

    def drifted(self, records: int) -> None:
        """So many were put right that somebody else had changed."""
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
