"""Parts: what of the node is no map (programs on devices, routes, the tunnel, MTUs), each brought to what is wanted.

A part that fails is tried again by itself, each time later, and neither hides nor stops the others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agent.compile.desired import Desired
from agent.log import logger
from agent.reconcile.backoff import Backoff
from agent.reconcile.status import PartStatus
from maps.apply import AnyTable

log = logger(__name__)


class Part(Protocol):
    """One part; called by one thread at a time: what comes before the maps by their own, the rest by that of pieces."""

    @property
    def name(self) -> str:
        """What it is called in status, metrics and logs."""

    @property
    def is_before_maps(self) -> bool:
        """Whether its turn is before that of the maps, whose records will name it, or after."""

    @property
    def is_vital(self) -> bool:
        """Whether traffic should not be trusted to a node without it."""

    @property
    def is_watched(self) -> bool:
        """Whether netlink's notices of what went may concern it."""

    def wanted(self, desired: Desired) -> object:
        """What it should be, comparable with ``==``; None: nothing is known of that yet."""

    def apply(self, wanted: Any, /) -> Iterator[None]:
        """Make the kernel equal to *wanted*, from a :meth:`wanted`, in pieces of a few milliseconds.

        Raises:
            AgentError, MapsError, OSError: what could not be done; the rest of it is.
        """

    def resync(self) -> None:
        """Trust nothing of what the kernel was last seen to have."""


class Deferred(Protocol):
    """What no pod needs to wait for, and would cost those that come at the time: done when none does."""

    @property
    def is_left(self) -> bool:
        """Whether there is something to do."""

    def piece(self) -> None:
        """Do a piece of it.

        Raises:
            AgentError, MapsError: the kernel refused; it is not tried again before the next resync.
        """


@dataclass(frozen=True, slots=True)
class Dataplane:
    """What the reconcile loop works on."""

    tables: Mapping[str, AnyTable]  # all of the agent's maps
    parts: Sequence[Part]
    deferred: Deferred


class _Kept:
    """A part, and how it fares."""

    def __init__(self, part: Part, clock: Callable[[], int]) -> None:
        self.part = part
        self.backoff = Backoff(clock)
        self.done: object = None  # what it was last brought to
        self.tried: object = None  # what it was last asked for
        self.error: Exception | None = None
        self.failures = 0

    def is_due(self, wanted: object) -> bool:
        if wanted is None or (self.error is None and _is_same(self.done, wanted)):
            return False
        return self.error is None or not _is_same(self.tried, wanted) or self.backoff.is_due

    def run(self, wanted: object) -> Iterator[None]:
        """Apply; what stands in the way is kept."""
        self.done, self.tried = None, wanted
        try:
            yield from self.part.apply(wanted)
        except Exception as error:  # noqa: BLE001  whatever it is, the other parts may well succeed
            self._failed(error)
        else:
            self.done, self.error = wanted, None
            self.backoff.succeeded()

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        log.error("part of the node is not as it should be; tried again", part=self.part.name, why=error)
        self.error = error
        self.backoff.failed()


def _is_same(one: object, other: object) -> bool:
    """By identity where that tells: to compare thousands of routes takes a millisecond."""
    return one is other or one == other


class Parts:
    """All parts of a node."""

    def __init__(self, parts: Sequence[Part], clock: Callable[[], int]) -> None:
        self._kept = tuple(_Kept(part, clock) for part in parts)

    def run(self, desired: Callable[[], Desired], *, before_maps: bool) -> Iterator[None]:
        """Bring the parts whose turn it is to the newest Desired; yields after each piece."""
        for kept in self._kept:
            if kept.part.is_before_maps is before_maps:
                wanted = kept.part.wanted(desired())
                if kept.is_due(wanted):
                    yield from kept.run(wanted)

    def resync(self, *, watched: bool = False) -> None:
        """Compare with the kernel in the next round; with *watched* only what netlink's notices may concern."""
        for kept in self._kept:
            if kept.part.is_watched or not watched:
                kept.done = kept.tried = None  # also what waits after a failure: something else of it may be gone
                kept.part.resync()

    @property
    def retry_at_ns(self) -> int | None:
        """When the first that failed is to be tried again."""
        return min((k.backoff.at_ns for k in self._kept if k.backoff.at_ns is not None), default=None)

    @property
    def status(self) -> tuple[PartStatus, ...]:
        """How each fares."""
        return tuple(PartStatus(k.part.name, str(k.error or ""), k.failures) for k in self._kept)

    def errors(self, *, vital: bool) -> tuple[Exception, ...]:
        """What stands in the way of parts without which the node is not ready, or of the others."""
        return tuple(k.error for k in self._kept if k.error is not None and k.part.is_vital is vital)
