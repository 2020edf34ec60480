"""When the reconcile thread acts though nobody asks it to: rounds, sweeps, and what pods need not wait for."""

from collections.abc import Callable

FIRST_RETRY_NS = 100_000_000
LAST_RETRY_NS = 30_000_000_000
SWEEP_NS = 180_000_000_000
GATHER_NS = 50_000_000  # a round waits so long after the last pod where pods alone came or went
LONGEST_GATHER_NS = 500_000_000  # but no longer than this after the first
QUIET_NS = 2_000_000_000  # after the last pod that came or went; then what they need not wait for is done


class Timetable:
    """The times that are ahead, by *clock*."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._retry_at: int | None = None
        self._streak = 0  # rounds that failed since the last that did not
        self._gather_until: int | None = None
        self._gather_at_most: int | None = None
        self._sweep_at: int | None = None  # none before maps are adopted
        self._settle_at: int | None = None

    @property
    def left_ns(self) -> int:
        """Until the first of them; nothing where there is none, as at the very start."""
        times = (self._sweep_at, self._retry_at, self._settle_at, self._gather_until)
        return min((at for at in times if at is not None), default=0) - self._clock()

    @property
    def is_round_due(self) -> bool:
        """Whether what failed is to be tried again, or pods have come and gone for long enough."""
        return self._is_past(self._retry_at) or self._is_past(self._gather_until)

    @property
    def is_sweep_due(self) -> bool:
        """Whether the maps are to be read back."""
        return self._is_past(self._sweep_at)

    def gather(self) -> None:
        """A round is to come soon; one for all pods that come at once, and behind the last: they share its CPU."""
        now = self._clock()
        if self._gather_at_most is None:
            self._gather_at_most = now + LONGEST_GATHER_NS
        self._gather_until = min(now + GATHER_NS, self._gather_at_most)

    def begin_round(self) -> None:
        """All that was gathered is in it."""
        self._gather_until = self._gather_at_most = None

    def begin_sweep(self) -> None:
        """The next is some minutes away."""
        self._sweep_at = self._clock() + SWEEP_NS

    def succeeded(self) -> None:
        """A round left nothing to do."""
        self._retry_at, self._streak = None, 0

    def failed(self) -> None:
        """It did: try again, each time later."""
        self._retry_at = self._clock() + min(FIRST_RETRY_NS << min(self._streak, 20), LAST_RETRY_NS)
        self._streak += 1

    def disturb(self) -> None:
        """A pod comes or goes."""
        self._settle_at = None

    def is_quiet(self, *, is_unsettled: bool) -> bool:
        """Whether none has for a while, since there is something that they need not wait for."""
        if not is_unsettled:
            self._settle_at = None
        elif self._settle_at is None:
            self._settle_at = self._clock() + QUIET_NS
        else:
            return self._is_past(self._settle_at)
        return False

    def _is_past(self, at: int | None) -> bool:
        return at is not None and self._clock() >= at
