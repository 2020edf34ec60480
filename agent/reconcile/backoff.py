"""When something that failed is tried again: each time later, up to half a minute."""

from collections.abc import Callable

FIRST_NS = 100_000_000
LAST_NS = 30_000_000_000


class Backoff:
    """The next try of one thing, by *clock*."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._streak = 0  # failures since the last success
        self.at_ns: int | None = None  # of the next try; None: nothing has failed

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next try."""
        return self.at_ns is not None and self._clock() >= self.at_ns

    def failed(self) -> None:
        """Try again, later than the last time."""
        self.at_ns = self._clock() + min(FIRST_NS << min(self._streak, 20), LAST_NS)
        self._streak += 1

    def succeeded(self) -> None:
        """Nothing is left to try."""
        self.at_ns, self._streak = None, 0
