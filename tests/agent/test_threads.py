"""No thread of the agent dies or hangs in silence."""

import logging
import os
from threading import Event

import pytest

from agent.threads import Threads, Worker


def test_a_thread_that_raises_is_named_by_livez_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    threads = Threads()
    thread = threads.make("watch-services", lambda: 1 // 0)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        thread.start()
        thread.join(60)
    assert threads.trouble() == "thread watch-services died of ZeroDivisionError: integer division or modulo by zero"
    assert "thread died" in caplog.text


def test_a_thread_that_returns_though_nobody_ended_it_is_dead() -> None:
    threads = Threads()
    thread = threads.make("http", lambda: None)
    thread.start()
    thread.join(60)
    assert threads.trouble() == "thread http ended, though nobody ended it"


def test_a_worker_that_is_roused_looks_and_waits_again() -> None:
    threads, looked, again = Threads(), Event(), Event()

    def run() -> None:
        while not worker.is_stopping:
            worker.wait()
            worker.look()
            (again if looked.is_set() else looked).set()

    worker = Worker(threads, "health ports", run)
    worker.start()
    worker.rouse()
    assert looked.wait(60)
    assert not again.wait(0.2), "it waits"
    worker.rouse()
    assert again.wait(60)
    worker.stop()
    assert threads.trouble() == ""


def test_a_thread_that_was_ended_is_no_trouble() -> None:
    threads, wake = Threads(), Event()
    thread = threads.make("events", wake.wait)  # type: ignore[arg-type]
    assert threads.trouble() == "", "it was not started yet"
    thread.start()
    assert threads.trouble() == ""
    thread.end()
    wake.set()
    thread.join(60)
    assert (thread.is_alive, threads.trouble()) == (False, "")


def test_a_thread_is_stuck_when_one_thing_keeps_it_busy_for_too_long() -> None:
    now = [100.0]
    threads, at_work, go_on = Threads(lambda: now[0]), Event(), Event()

    def run() -> None:
        for _ in range(2):
            with thread.busy():
                at_work.set()
                go_on.wait()
        thread.end()

    thread = threads.make("reconcile", run, stuck_s=60)
    thread.start()
    at_work.wait()
    now[0] = 160.0
    assert threads.trouble() == ""
    now[0] = 161.0
    assert threads.trouble() == "thread reconcile is busy with one thing for 61 s"
    go_on.set()
    thread.join(60)
    assert threads.trouble() == ""


def test_what_is_forgotten_is_nobodys_trouble() -> None:
    threads = Threads()
    thread = threads.make("watch-namespaces", lambda: None)
    thread.start()
    thread.join(60)
    threads.forget(thread)
    assert threads.trouble() == ""


def test_a_worker_is_woken_to_end_whatever_it_waits_for() -> None:
    threads = Threads()
    quiet, other_end = os.pipe()
    worker = Worker(threads, "watch-local", lambda: worker.wait(quiet))
    worker.start()
    worker.stop(timeout_s=1e6)  # as long as that, were it not woken
    os.close(quiet)
    os.close(other_end)
    assert threads.trouble() == ""
