"""A machine's processes are what they are said to be."""

import sys
import time

import pytest

from tests.lab.conftest import Echo

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

RUNS_S = 1.0
# a file, and a lock on it, is held by whatever thread is left
FIRST_THREAD_ENDS = f"""
import ctypes, threading, time
threading.Thread(target=time.sleep, args=({RUNS_S},)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_daemon_runs_until_its_last_thread_has_ended(echo: Echo) -> None:
    machine = echo.outside.machine
    began = time.monotonic()
    machine.daemon("threads", [sys.executable, "-c", FIRST_THREAD_ENDS])
    while machine.daemon_process("threads") is not None:
        assert time.monotonic() - began < RUNS_S + 10
        time.sleep(0.01)
    assert time.monotonic() - began > RUNS_S
