"""One request at a time per container or device: a runtime that restarts may overlap itself. Others do not wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock


@dataclass(slots=True)
class _Turn:
    """One's, while somebody is at it or waits."""

    lock: Lock = field(default_factory=Lock)
    users: int = 0


class InTurn:
    """The turns of one node's containers, or of its devices."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards them
        self._turns: dict[str, _Turn] = {}

    @contextmanager
    def of(self, name: str, *, waits: bool = True) -> Iterator[bool]:
        """Be alone at the one of this name for the block; whether one is, where one does not wait."""
        with self._lock:
            turn = self._turns.setdefault(name, _Turn())
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
                    del self._turns[name]
