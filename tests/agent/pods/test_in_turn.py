"""Requests for one container come one after the other; no other container waits for them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

from agent.pods.in_turn import InTurn


def test_no_container_waits_for_another() -> None:
    turns = InTurn()
    with ExitStack() as stack:
        assert all(stack.enter_context(turns.of(f"c{n}", waits=False)) for n in range(1000))
        with turns.of("c7", waits=False) as is_alone:
            assert not is_alone
    with turns.of("c7", waits=False) as is_alone:
        assert is_alone


def test_who_waits_comes_when_the_first_has_ended() -> None:
    turns, key = InTurn(), "c1"
    ready, came = Event(), Event()

    def second() -> None:
        ready.set()
        with turns.of(key):
            came.set()

    with ThreadPoolExecutor(1) as pool:
        with turns.of(key):
            later = pool.submit(second)
            assert ready.wait(60)
            assert not came.wait(0.5), "two are at one container"
        later.result(60)
    assert came.is_set()
