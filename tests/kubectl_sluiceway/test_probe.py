"""The scripts that run in probe pods and agents, on real sockets."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from kubectl_sluiceway.probe import ASK, PORT, SERVE, neighbours

LOOPBACK = ("127.0.0.1", "::1")
FREE = 20000 + os.getpid() % 10000  # which the kernel draws for nobody, and no other process takes that runs this


@pytest.fixture
def port() -> Iterator[int]:
    """Where a probe answers."""
    serving = subprocess.Popen([sys.executable, "-c", SERVE.replace(str(PORT), str(FREE))])
    try:
        deadline = time.monotonic() + 60
        while ask(["TCP", "127.0.0.1", FREE]) != [""]:
            assert time.monotonic() < deadline
        yield FREE
    finally:
        serving.terminate()
        serving.wait(20)


def ask(*targets: list[object]) -> list[str]:
    argv = [sys.executable, "-c", ASK, json.dumps(targets)]
    found: list[str] = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    return found


def test_a_probe_answers_by_both_protocols_in_both_families(port: int) -> None:
    targets: list[list[object]] = [[protocol, ip, port] for protocol in ("TCP", "UDP", "SYN") for ip in LOOPBACK]
    assert ask(*targets) == [""] * len(targets)


def test_who_refuses_was_reached_and_serves_nothing() -> None:
    targets: list[list[object]] = [[protocol, ip, FREE] for protocol in ("SYN", "TCP", "UDP") for ip in LOOPBACK]
    seen = ask(*targets)
    assert seen[:2] == ["", ""]
    assert all("refused" in said for said in seen[2:])


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_everybody_asks_others_and_is_asked_as_often(count: int) -> None:
    names = [f"n{number}" for number in range(count)]
    asked = neighbours(names)
    assert [name for name, _ in asked] == names
    assert all(name not in others and len(set(others)) == min(3, count - 1) for name, others in asked)
    assert sorted(to for _, others in asked for to in others) == sorted(names * min(3, count - 1))
