"""The socket's threads: as many as requests at once, and no new one where one waits for work."""

import socket
import struct
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.cni.socket import CniSocket


def _frame(*variables: str, stdin: bytes = b"{}") -> bytes:
    environment = b"".join(variable.encode() + b"\0" for variable in variables)
    return struct.pack("!I", len(environment)) + environment + struct.pack("!I", len(stdin)) + stdin


def _connect(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(str(path))
    return made


def _trickle(to: socket.socket, frame: bytes, pause_s: float) -> None:
    for octet in frame:
        to.sendall(bytes((octet,)))
        time.sleep(pause_s)


def _ask(path: Path) -> bytes:
    with _connect(path) as asking:
        asking.sendall(_frame("CNI_COMMAND=STATUS"))
        return asking.makefile("rb").read()


def _well(_environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
    return 0, stdin


WELL = struct.pack("!II", 0, 2) + b"{}"


def test_requests_one_after_the_other_need_few_threads(tmp_path: Path) -> None:
    served: set[int] = set()

    def answer(_environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        served.add(threading.get_ident())
        return 0, stdin

    server = CniSocket(tmp_path, answer)
    server.start()
    for _ in range(50):
        assert _ask(server.path) == struct.pack("!II", 0, 2) + b"{}"
    server.stop()
    assert len(served) < 25, "a thread may not have come back yet when the next request is there"


def test_requests_that_come_together_are_served_together(tmp_path: Path) -> None:
    together = threading.Barrier(40, timeout=60)

    def answer(_environment: Mapping[str, str], _stdin: bytes) -> tuple[int, bytes]:
        together.wait()  # none has its answer before all are at work
        return 0, b""

    server = CniSocket(tmp_path, answer)
    server.start()
    with ThreadPoolExecutor(40) as callers:
        for _ in range(2):
            assert set(callers.map(_ask, [server.path] * 40)) == {struct.pack("!II", 0, 0)}
    server.stop()


# ---- callers that are slow or silent ---------------------------------------------------------------------------------


def test_connections_that_say_nothing_keep_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cni.socket.UNREAD_MOST", 20)
    monkeypatch.setattr("agent.cni.socket.WHOLE_S", 1e6)  # none ends by itself
    server = CniSocket(tmp_path, _well)
    server.start()
    idle = [_connect(server.path) for _ in range(200)]
    assert _ask(server.path) == WELL
    assert idle[0].recv(1) == b"", "the one that lasted longest was ended"
    for one in idle:
        one.close()
    server.stop()


def test_a_request_that_trickles_is_ended_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cni.socket.WHOLE_S", 0.3)
    server = CniSocket(tmp_path, _well)
    server.start()
    with _connect(server.path) as slow, pytest.raises(OSError, match="Broken pipe"):
        _trickle(slow, _frame("CNI_COMMAND=STATUS", stdin=bytes(100)), 0.05)
    assert _ask(server.path) == WELL
    server.stop()


def test_a_request_in_pieces_is_served(tmp_path: Path) -> None:
    server = CniSocket(tmp_path, _well)
    server.start()
    with _connect(server.path) as asking:
        _trickle(asking, _frame("CNI_COMMAND=STATUS"), 0.0)
        assert asking.makefile("rb").read() == WELL
    server.stop()
