"""How the benches measure: in alternated sets, on one CPU and undisturbed there; the middle or the best of them."""

import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One measured number, and what it must be."""

    what: str
    value: float
    unit: str  # "ns"; empty for a ratio
    at_least: float | None = None
    at_most: float | None = None
    quartiles: tuple[float, float] | None = None

    def is_met(self) -> bool:
        """Whether it is what it must be."""
        low, high = self.at_least, self.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)

    def __str__(self) -> str:
        """One line of a report."""
        value = f"{self.value:.0f} {self.unit}" if self.unit else f"{self.value:.2f}"
        spread = "[{:.2f} {:.2f}]".format(*self.quartiles) if self.quartiles else ""
        limit = ""
        if self.at_least is not None:
            limit = f"at least {self.at_least:g}"
        elif self.at_most is not None:
            limit = f"at most {self.at_most:g}"
        return f"{self.what:<72} {value:>10} {spread:<12} {limit:<14} {'' if self.is_met() else 'MISSED'}".rstrip()


def middle(
    what: str,
    values: Sequence[float],
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
) -> Result:
    """The median of alternated sets, with its quartiles."""
    low, median, high = statistics.quantiles([*values, *values][: max(2, len(values))], n=4, method="inclusive")
    return Result(what, median, unit, at_least=at_least, at_most=at_most, quartiles=(low, high))


def one_cpu() -> int:
    """Keep this process, and what it starts, on the last CPU it may use; returns which."""
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    return cpu


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run before all ordinary processes of this CPU, for a fraction of a second; where that is refused, among them."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
