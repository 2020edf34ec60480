"""The socket's threads: as many as requests at once, and no new one where one waits for work."""

import socket
import struct
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.cni.socket import CniSocket


def _ask(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(str(path))
        environment = b"CNI_COMMAND=STATUS\0"
        asking.sendall(struct.pack("!I", len(environment)) + environment + struct.pack("!I", 2) + b"{}")
        return asking.makefile("rb").read()


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
    assert len(served) <= 4, "a thread may not have come back yet when the next request is there"


def test_requests_that_come_together_are_served_together(tmp_path: Path) -> None:
    together = threading.Barrier(40, timeout=10)

    def answer(_environment: Mapping[str, str], _stdin: bytes) -> tuple[int, bytes]:
        together.wait()  # none has its answer before all are at work
        return 0, b""

    server = CniSocket(tmp_path, answer)
    server.start()
    with ThreadPoolExecutor(40) as callers:
        for _ in range(2):
            assert set(callers.map(_ask, [server.path] * 40)) == {struct.pack("!II", 0, 0)}
    server.stop()
