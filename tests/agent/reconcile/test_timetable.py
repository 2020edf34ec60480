"""Pods that come at once have one round, behind the last of them."""

from agent.reconcile.timetable import GATHER_NS, LONGEST_GATHER_NS, Timetable


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        """The time, in nanoseconds."""
        return self.now


def test_each_pod_that_comes_has_the_round_wait_again() -> None:
    clock = Clock()
    times = Timetable(clock)
    for _ in range(5):
        times.gather()
        clock.now += GATHER_NS - 1
        assert not times.is_round_due(None)
    clock.now += 1
    assert times.is_round_due(None)
    times.begin_round()
    assert not times.is_round_due(None)


def test_pods_that_never_stop_coming_do_not_keep_the_round_away() -> None:
    clock = Clock()
    times = Timetable(clock)
    began = clock.now
    while not times.is_round_due(None):
        times.gather()
        clock.now += GATHER_NS // 2
    assert clock.now - began <= LONGEST_GATHER_NS + GATHER_NS // 2
    times.begin_round()
    times.gather()
    clock.now += GATHER_NS - 1
    assert not times.is_round_due(None)
