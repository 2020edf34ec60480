"""Rings: each backend as often as it weighs, evenly spread, and whole in as many parts as it takes."""

from collections import Counter
from fractions import Fraction
from itertools import chain, cycle, islice
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compile.ring import MOST_PLACES, ring_values, turns
from maps import abi

WEIGHTS = st.lists(st.integers(1, 100), min_size=1, max_size=30)


@given(WEIGHTS)
def test_each_has_as_many_turns_as_it_weighs(weights: list[int]) -> None:
    least = gcd(*weights)
    assert Counter(turns(weights)) == {index: weight // least for index, weight in enumerate(weights)}


@given(WEIGHTS)
def test_turns_are_spread_evenly(weights: list[int]) -> None:
    """Of so many turns each has had its share, but for one at most of its own, and for those that come at once."""
    made = turns(weights)
    for index, weight in enumerate(weights):
        share, had = Fraction(weight, sum(weights)), 0
        for number, turn in enumerate(made, start=1):
            had += turn == index
            assert abs(had - share * number) < 1 + share * len(weights)


@given(st.integers(1, 100), st.integers(1, 50))
def test_those_that_weigh_the_same_take_turns_in_order(weight: int, count: int) -> None:
    assert turns([weight] * count) == list(range(count))


def test_a_ring_too_large_is_scaled_down_and_nobody_is_left_out() -> None:
    weights = [100 - index % 2 for index in range(2000)]
    made = turns(weights)
    assert len(made) <= MOST_PLACES
    assert set(made) == set(range(2000))


@pytest.mark.parametrize("length", [1, 3, abi.RING_PLACES - 1, abi.RING_PLACES, abi.RING_PLACES + 1, 1200])
def test_parts_are_filled_from_the_rings_start_again(length: int) -> None:
    slots, weights = [7 + index for index in range(length)], [1 + index % 100 for index in range(length)]
    made = [abi.Ring.unpack(value) for value in ring_values(slots, weights)]
    places = -(-length // abi.RING_PLACES) * abi.RING_PLACES
    assert {ring.length for ring in made} == {length}
    assert [*chain.from_iterable(memoryview(ring.slots).cast("H") for ring in made)] == [*islice(cycle(slots), places)]
    assert [*chain.from_iterable(memoryview(ring.weights).cast("H") for ring in made)] == [
        *islice(cycle(weights), places)
    ]


def test_nobody_has_no_ring() -> None:
    assert ring_values([], []) == []
