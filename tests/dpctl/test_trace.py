"""dpctl trace drops, with packets that nobody waits for."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from dpctl.errors import Absent, Forbidden
from dpctl.trace import START_S, _refusal, drop_table

CLOSED_PORT = 9  # discard: nobody has it on loopback


def knock(stop: threading.Event) -> None:
    """Send to a port where nobody listens, as long as a slow machine may need to compile the tracer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while not stop.wait(0.05):
            sender.sendto(b"nobody home", ("127.0.0.1", CLOSED_PORT))


@pytest.mark.kernel
def test_a_datagram_that_nobody_waits_for_is_counted_under_the_kernels_reason() -> None:
    stop = threading.Event()
    sender = threading.Thread(target=knock, args=(stop,))
    sender.start()
    try:
        command = [sys.executable, "-m", "dpctl", "trace", "drops", "--seconds", "1.5", "-o", "json"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""}
        )
    finally:
        stop.set()
        sender.join()
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert any(row["reason"] == "NO_SOCKET" and "udp" in row["function"] and row["packets"] > 0 for row in rows), rows


def test_a_busy_node_is_not_told_to_install_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiles(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, START_S)

    monkeypatch.setattr("dpctl.trace.subprocess.run", compiles)
    with pytest.raises(Absent, match="try again when the node is less busy"):
        drop_table(1.0)


@pytest.mark.parametrize(
    ("stderr", "kind", "says"),
    [
        pytest.param("ModuleNotFoundError: No module named 'bcc'", Absent, "apt install", id="without bcc"),
        pytest.param("Exception: Need super-user privileges to run", Forbidden, "sudo", id="without privileges"),
        pytest.param("a\nException: Failed to compile", Absent, "Failed to compile", id="anything else is passed on"),
    ],
)
def test_an_error_of_bcc_names_the_next_command_to_type(stderr: str, kind: type[Exception], says: str) -> None:
    refused = _refusal(stderr)
    assert isinstance(refused, kind)
    assert says in refused.message


def test_time_is_a_number_of_seconds() -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "dpctl", "trace", "drops", "--seconds", "0"], check=False)
    assert done.returncode == 2
    assert time.monotonic() - began < 50
