"""How long a change takes to be in force: from its arrival, and only where it is one."""

from dataclasses import replace
from ipaddress import ip_address

from agent.reconcile.propagation import Propagation
from tests.dpctl import node as cast

MS = 1_000_000
FIRST = cast.compiled()
MOVED = replace(cast.ELSEWHERE, ips=(ip_address("10.2.0.10"),))
LATER = cast.compiled(replace(cast.cluster(), peers={MOVED.name: MOVED}), FIRST)


class Seen:
    """A clock, and what was observed."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.seconds: list[float] = []
        self.propagation = Propagation(lambda: self.now_ns, self.seconds.append)
        self.propagation.written(FIRST.policies)


def test_a_change_is_observed_from_its_arrival() -> None:
    seen = Seen()
    seen.propagation.arrived()
    seen.now_ns = 30 * MS
    seen.propagation.arrived()
    seen.propagation.taken()
    seen.now_ns = 40 * MS
    seen.propagation.written(LATER.policies)
    assert seen.seconds == [0.04], "of several the first counts"


def test_what_changes_nothing_here_is_none() -> None:
    seen = Seen()
    seen.propagation.arrived()
    seen.propagation.taken()
    seen.propagation.written(FIRST.policies)
    assert seen.seconds == []


def test_the_first_sync_is_no_change() -> None:
    seconds: list[float] = []
    propagation = Propagation(lambda: 0, seconds.append)
    propagation.arrived()
    propagation.taken()
    propagation.written(FIRST.policies)
    assert seconds == []


def test_a_failed_round_is_part_of_the_wait() -> None:
    seen = Seen()
    seen.propagation.arrived()
    seen.propagation.taken()  # and the round fails
    seen.now_ns = 500 * MS
    seen.propagation.taken()
    seen.propagation.written(LATER.policies)
    assert seen.seconds == [0.5]


def test_what_comes_during_a_round_waits_for_the_next() -> None:
    seen = Seen()
    seen.propagation.arrived()
    seen.propagation.taken()
    seen.now_ns = 10 * MS
    seen.propagation.arrived()
    seen.propagation.written(LATER.policies)
    seen.now_ns = 15 * MS
    seen.propagation.taken()
    seen.propagation.written(FIRST.policies)
    assert seen.seconds == [0.01, 0.005]
