"""One request at a time per container: a runtime that restarts may overlap itself. Other containers do not wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from agent.model.attachment import AttachmentKey


@dataclass(slots=True)
class _Turn:
    """A container's, while somebody is at it or waits."""

    lock: Lock = field(default_factory=Lock)
    users: int = 0


class InTurn:
    """The turns of one node's containers."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards them
        self._turns: dict[str, _Turn] = {}

    @contextmanager
    def of(self, key: AttachmentKey, *, waits: bool = True) -> Iterator[bool]:
        """Be alone at the container for the block; whether one is, where one does not wait."""
        container_id = key[0]
        with self._lock:
            turn = self._turns.setdefault(container_id, _Turn())
            turn.users += 1
        is_alone = False
        try:
            is_alone = turn.lock.acquire(blocking=waits)
            yield is_alone
        finally:
            if is_alone:
                turn.lock.release()
            with self._lock:
                turn.users -= 1
                if not turn.users:
                    del self._turns[container_id]
