"""SIGTERM to a process whose main thread starts, runs, or is where it hears nothing."""

import signal
import subprocess
import sys

import pytest

BEGIN = """
import ctypes, signal, time
from agent.ending import Ending
ending = Ending(leave_s=0.2)
"""
# Python's handlers run between two steps of the main thread: in here it makes none, and no signal ends the call
DEAF = """
mutex = ctypes.create_string_buffer(64)
libc = ctypes.CDLL(None)
libc.pthread_mutex_lock(mutex)
print("ready", flush=True)
libc.pthread_mutex_lock(mutex)
"""
WAITING = """
print("ready", flush=True)
time.sleep(1e6)
"""
IN_ORDER = """
ending.running()
print("ready", flush=True)
ending.asked.wait()
print("in order", flush=True)
ending.done()
"""
HANGING = """
ending.running()
print("ready", flush=True)
ending.asked.wait()
time.sleep(1e6)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(WAITING, "", id="a start that waits is left"),
        pytest.param(DEAF, "", id="a start that is within the kernel or a library is left after a while"),
        pytest.param(IN_ORDER, "in order\n", id="what runs ends in order"),
        pytest.param("ending.running()\n" + DEAF, "", id="what runs and does not hear is left after a while"),
        pytest.param(HANGING, "", id="an end that takes too long is cut short"),
    ],
)
def test_a_signal_ends_the_process_well(number: signal.Signals, script: str, said: str) -> None:
    begin = BEGIN.replace("0.2", "1e6") if said else BEGIN  # what is to end in order has all the time it needs
    with subprocess.Popen([sys.executable, "-c", begin + script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == said
        assert process.wait() == 0
