"""By what kube-proxy is known to run, on a node where others call and answer as they like."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.kernel.kube_proxy import alive
from tests.agent.kernel.nets import in_new_netns

pytestmark = pytest.mark.netns

PORT, OTHER_PORT = 10249, 10250
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
MOVED = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{OTHER_PORT}/\r\n\r\n".encode()
PATIENCE_S = 60.0
Answer = Callable[[socket.socket], None]


def said(octets: bytes) -> Answer:
    """Who answers so."""

    def answer(asking: socket.socket) -> None:
        asking.recv(4096)
        asking.sendall(octets)

    return answer


def dripping(asking: socket.socket) -> None:
    """Who says an octet now and then, and comes to no end."""
    for _ in range(int(4 * PATIENCE_S)):
        asking.sendall(b"H")
        time.sleep(0.5)


@contextmanager
def answering(answer: Answer, host: str = "127.0.0.1", port: int = PORT) -> Iterator[None]:
    """Somebody who answers one client at a port of the calling thread's namespace."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        thread = threading.Thread(target=_serve, args=(listening, answer), daemon=True)
        thread.start()
        yield


def _serve(listening: socket.socket, answer: Answer) -> None:
    try:
        with listening.accept()[0] as client:
            answer(client)
    except OSError:  # nobody listens any more
        return


@pytest.mark.parametrize(
    ("answer", "host", "sign"),
    [
        pytest.param(said(OK % (8, b"iptables")), "127.0.0.1", "answers at 127.0.0.1:10249", id="its mode"),
        pytest.param(said(OK % (4, b"ipvs")), "::1", "answers at [::1]:10249", id="its mode, where it has IPv6 alone"),
        pytest.param(said(OK % (5, b"hello")), "127.0.0.1", "", id="another word is another's"),
        pytest.param(said(OK.replace(b"200 OK", b"404 No") % (4, b"ipvs")), "127.0.0.1", "", id="no answer to that"),
        pytest.param(said(b"\xff" * 9000), "127.0.0.1", "", id="no HTTP"),
        pytest.param(said(b""), "127.0.0.1", "", id="nothing"),
    ],
)
def test_what_is_answered_at_its_port(answer: Answer, host: str, sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "_WAIT_S", PATIENCE_S)

    def look() -> str:
        with answering(answer, host):
            return alive.sign()

    assert in_new_netns(look) == sign


def test_who_answers_for_ever_is_not_waited_for() -> None:
    def look() -> tuple[str, float]:
        with answering(dripping):
            began = time.monotonic()
            return alive.sign(), time.monotonic() - began

    found, took_s = in_new_netns(look)
    assert found == ""
    assert took_s < PATIENCE_S


def test_nobody_is_followed_elsewhere() -> None:
    def look() -> str:
        with answering(said(MOVED)), answering(said(OK % (4, b"ipvs")), port=OTHER_PORT):
            return alive.sign()

    assert in_new_netns(look) == ""


def test_a_process_is_found_by_its_name_beside_one_whose_name_is_no_text(tmp_path: Path) -> None:
    every = {"thread-self": (b"here", "net:[1]"), "7": (b"\xff\xfekube", "net:[1]"), "8": (b"kube-proxy", "net:[1]")}
    for name, (comm, netns) in {**every, "9": (b"kube-proxy", "net:[2]")}.items():
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / name / "comm").write_bytes(comm + b"\n")
        (tmp_path / name / "ns/net").symlink_to(netns)
    assert list(alive.processes(proc=tmp_path)) == [8]
