"""The shim that runtimes execute: what it sends, what it prints, and what it does without an agent."""

import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest

from agent.cni.socket import CniSocket
from tests.agent.cni.room import Room

SOURCE = Path(__file__).parents[2] / "cni/sluiceway-cni.c"
CONFIG = {"cniVersion": "0.4.0", "name": "sluiceway"}


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shim") / "sluiceway-cni"
    subprocess.run(["musl-gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, SOURCE], check=True)
    return path


Run = Callable[..., tuple[int, dict[str, object]]]


@pytest.fixture
def run(shim: Path, tmp_path: Path) -> Run:
    """Execute the shim as a runtime does; its exit code and what it printed."""

    def execute(command: str, stdin: bytes | None = None, **environment: str) -> tuple[int, dict[str, object]]:
        base = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_IFNAME": "eth0",
            "SLUICEWAY_CNI_SOCKET": str(tmp_path / "cni.sock"),
            "HOME": "/root",
        }
        stdin = json.dumps(CONFIG).encode() if stdin is None else stdin
        done = subprocess.run([shim], input=stdin, env=base | environment, capture_output=True, check=False, timeout=60)
        assert done.stderr == b""
        return done.returncode, json.loads(done.stdout or b"{}")

    return execute


class Agent:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self, run_dir: Path, code: int = 0, output: bytes = b"") -> None:
        self.asked: list[tuple[dict[str, str], bytes]] = []
        self.counted: list[tuple[str, int]] = []

        def answer(environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
            self.asked.append((dict(environment), stdin))
            return code, output

        def count(command: str, code: int, _seconds: float) -> None:
            self.counted.append((command, code))

        self.server = CniSocket(run_dir, answer, count)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()


def test_version_needs_no_agent(run: Run) -> None:
    code, answer = run("VERSION")
    assert code == 0
    assert answer["supportedVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_the_request_arrives_as_it_was_and_the_answer_too(run: Run, tmp_path: Path) -> None:
    stdin = b'{"name": "\xc3\xa4", "x": "' + b"y" * 300_000 + b'"}'
    with Agent(tmp_path, 7, b'{"code":7}') as agent:
        assert run("ADD", stdin, CNI_ARGS="a=b;c=d") == (7, {"code": 7})
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_ARGS": "a=b;c=d"}
    ((asked, arrived),) = agent.asked
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - int(asked.pop("SLUICEWAY_ASKED_AT"))
    assert (asked, arrived) == (environment, stdin)
    assert 0 < age_ns < 20e9, "when the runtime asked"
    assert agent.counted == [("ADD", 7)]


def test_the_socket_is_the_configurations_when_the_environment_names_none(run: Run, tmp_path: Path) -> None:
    config = {"plugins": [{"socket": "/wrong"}], "args": {"socket": "/wrong"}, "socket": str(tmp_path / "cni.sock")}
    with Agent(tmp_path, 0, b'{"here":1}'):
        assert run("ADD", json.dumps(config).encode(), SLUICEWAY_CNI_SOCKET="") == (0, {"here": 1})


def test_stdin_over_a_mebibyte_is_refused_and_exactly_one_is_not(run: Run, tmp_path: Path) -> None:
    with Agent(tmp_path) as agent:
        assert run("ADD", b" " * (1 << 20)) == (0, {})
        assert run("ADD", b" " * ((1 << 20) + 1))[0] == 6
    assert len(agent.asked) == 1


@pytest.mark.parametrize("command", ["ADD", "CHECK"])
def test_without_an_agent_the_runtime_is_told_to_try_later(run: Run, command: str) -> None:
    began = time.monotonic()
    code, answer = run(command)
    assert (code, answer["code"], answer["cniVersion"]) == (11, 11, "0.4.0")
    assert time.monotonic() - began > 3, "an agent that is being replaced may be back"


def test_an_agent_that_comes_within_the_wait_is_found(run: Run, tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    late = threading.Timer(0.5, agent.server.start)
    late.start()
    assert run("ADD") == (0, {})
    late.join()
    agent.server.stop()


def test_without_an_agent_status_says_unavailable_while_the_others_wait(run: Run) -> None:
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(run, "ADD")
        code, answer = run("STATUS")
        assert (code, answer["code"], waiting.done()) == (50, 50, False)


def test_a_del_and_a_gc_without_an_agent_succeed_and_are_asked_of_the_next(run: Run, tmp_path: Path) -> None:
    assert run("DEL") == (0, {})
    assert run("DEL") == (0, {}), "once more is the same"
    assert run("GC", CNI_CONTAINERID="", CNI_IFNAME="") == (0, {})
    assert sorted(p.name for p in (tmp_path / "cni-intents").iterdir()) == ["c1:eth0", "gc"]
    draft = tmp_path / "cni-intents/.123"
    draft.write_bytes(b"half")
    os.utime(draft, (0, 0))  # its writer died
    (tmp_path / "cni-intents/cut").write_bytes(b"\0\0\0\x09abc")
    with Agent(tmp_path) as agent:
        assert run("STATUS") == (0, {})
    assert [environment["CNI_COMMAND"] for environment, _ in agent.asked] == ["DEL", "GC", "STATUS"]
    assert json.loads(agent.asked[0][1]) == CONFIG
    assert list((tmp_path / "cni-intents").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("CNI_CONTAINERID", "../x", id="a container id that is a path"),
        pytest.param("CNI_CONTAINERID", "", id="no container id"),
        pytest.param("CNI_IFNAME", "a/b", id="an interface name that is a path"),
        pytest.param("CNI_IFNAME", "", id="no interface name"),
    ],
)
def test_a_del_that_names_no_attachment_is_refused_and_leaves_no_file(
    run: Run, tmp_path: Path, name: str, value: str
) -> None:
    code, answer = run("DEL", **{name: value})
    assert (code, answer["code"], name in str(answer["msg"])) == (4, 4, True)
    assert not (tmp_path / "cni-intents").exists()


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("DEL", 0), ("STATUS", 50)])
def test_an_agent_that_dies_within_a_request_is_an_absent_one(
    run: Run, tmp_path: Path, command: str, code: int
) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "cni.sock"))
    listener.listen()

    def die() -> None:
        for _ in range(2 if command == "DEL" else 1):  # DEL looks once more after it left its file
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.close()

    thread = threading.Thread(target=die)
    thread.start()
    assert run(command)[0] == code
    thread.join()
    listener.close()
    assert (tmp_path / "cni-intents/c1:eth0").exists() == (command == "DEL")


def test_the_server_refuses_a_frame_that_is_too_long_without_reading_it(tmp_path: Path) -> None:
    with Agent(tmp_path) as agent, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(agent.server.path))
        connection.sendall(struct.pack("!I", 4) + b"A=b\0" + struct.pack("!I", 1 << 30))
        code, length = struct.unpack("!II", connection.recv(8, socket.MSG_WAITALL))
        assert code == 6
        assert b"at most 1048576" in connection.recv(length, socket.MSG_WAITALL)


def test_an_intent_that_cannot_be_read_does_not_keep_the_agent_from_serving(run: Run, tmp_path: Path) -> None:
    assert run("DEL", b'{"name": "\xff"}') == (0, {})
    assert run("DEL", b"[" * 100_000, CNI_CONTAINERID="c2") == (0, {})
    server = CniSocket(tmp_path, Room(tmp_path / "attachments").cni.answer)
    server.start()
    try:
        assert run("STATUS", json.dumps({**CONFIG, "cniVersion": "1.1.0"}).encode()) == (0, {})
    finally:
        server.stop()
    assert list((tmp_path / "cni-intents").iterdir()) == []


def test_a_second_server_takes_over_the_socket_of_a_dead_one(tmp_path: Path, run: Run) -> None:
    (tmp_path / "cni.sock").touch()
    with Agent(tmp_path):
        assert run("ADD") == (0, {})
    assert not (tmp_path / "cni.sock").exists()
