"""When the reconcile thread acts though nobody asks it to: rounds, resyncs, and what pods need not wait for."""

from collections.abc import Callable

from agent.reconcile.backoff import Backoff

RESYNC_NS = 180_000_000_000
GATHER_NS = 50_000_000  # a round waits so long after the last pod where pods alone came or went
LONGEST_GATHER_NS = 500_000_000  # but no longer than this after the first
QUIET_NS = 2_000_000_000  # after the last pod that came or went; then what they need not wait for is done


class Timetable:
    """The times that are ahead, by *clock*."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.backoff = Backoff(clock)  # of rounds that could not write the maps
        self._gather_until: int | None = None
        self._gather_at_most: int | None = None
        self._resync_at: int | None = None  # none before maps are adopted
        self._quiet_at: int | None = None

    def left_ns(self, parts_retry_at: int | None) -> int:
        """Until the first of them and of the parts' tries; nothing where there is none, as at the very start."""
        times = (self._resync_at, self.backoff.at_ns, self._quiet_at, self._gather_until, parts_retry_at)
        return min((at for at in times if at is not None), default=0) - self._clock()

    def is_round_due(self, parts_retry_at: int | None) -> bool:
        """Whether what failed is to be tried again, or pods have come and gone for long enough."""
        return self.backoff.is_due or self._is_past(self._gather_until) or self._is_past(parts_retry_at)

    @property
    def is_resync_due(self) -> bool:
        """Whether the maps are to be read back."""
        return self._is_past(self._resync_at)

    def gather(self) -> None:
        """A round is to come soon; one for all pods that come at once, and behind the last: they share its CPU."""
        now = self._clock()
        if self._gather_at_most is None:
            self._gather_at_most = now + LONGEST_GATHER_NS
        self._gather_until = min(now + GATHER_NS, self._gather_at_most)

    def begin_round(self) -> None:
        """All that was gathered is in it."""
        self._gather_until = self._gather_at_most = None

    def begin_resync(self) -> None:
        """The next is some minutes away."""
        self._resync_at = self._clock() + RESYNC_NS

    def disturb(self) -> None:
        """A pod comes or goes."""
        self._quiet_at = None

    def is_quiet(self, *, is_left: bool) -> bool:
        """Whether no pod has come or gone for a while, since there is something that they need not wait for."""
        if not is_left:
            self._quiet_at = None
        elif self._quiet_at is None:
            self._quiet_at = self._clock() + QUIET_NS
        else:
            return self._is_past(self._quiet_at)
        return False

    def _is_past(self, at: int | None) -> bool:
        return at is not None and self._clock() >= at
