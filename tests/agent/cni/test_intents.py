"""Requests that found no agent: taken in at a start and by an agent that runs, each once, and none too late."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.cni.intents import INTENTS, RETRY_S, Intents
from agent.cni.request import ASKED_AT
from agent.cni.socket import CniSocket
from tests.agent.cni.test_socket import _frame


class Asked:
    """Remembers what it was asked; answers with a code."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.heard: list[Mapping[str, str]] = []

    def __call__(self, environment: Mapping[str, str], _stdin: bytes) -> tuple[int, bytes]:
        """As ``Cni.answer``."""
        self.heard.append(environment)
        return self.code, b""

    @property
    def containers(self) -> list[str]:
        """Whom they were about."""
        return [environment["CNI_CONTAINERID"] for environment in self.heard]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / INTENTS
    made.mkdir()
    return made


def leave(folder: Path, name: str, *more: str, age_s: float = 0.0) -> Path:
    """As the shim does: a draft first, which nobody takes, and whole when it has its name."""
    path, draft = folder / f"{name}:eth0", folder / f".{name}:eth0"
    draft.write_bytes(_frame("CNI_COMMAND=DEL", f"CNI_CONTAINERID={name}", *more))
    at = time.time() - age_s
    os.utime(draft, (at, at))
    return draft.rename(path)


def test_they_are_applied_oldest_first_and_removed(folder: Path) -> None:
    for name, age_s in (("c1", 1.0), ("c2", 3.0), ("c3", 2.0)):
        leave(folder, name, age_s=age_s)
    asked = Asked()
    Intents(folder.parent, asked).take_in()
    assert asked.containers == ["c2", "c3", "c1"]
    assert list(folder.iterdir()) == []


def test_one_that_leaves_while_the_folder_is_listed_costs_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(folder, "c1")
    leave(folder, "c2")
    scandir = os.scandir

    def and_one_leaves(path: str) -> list[os.DirEntry[str]]:
        entries = sorted(scandir(path), key=lambda entry: entry.name)
        (folder / "c1:eth0").unlink()
        return entries

    monkeypatch.setattr("agent.cni.intents.os.scandir", and_one_leaves)
    asked = Asked()
    Intents(folder.parent, asked).take_in()
    assert asked.containers == ["c2"]


def test_a_running_agent_takes_them_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cni.socket.INTENTS_S", 0.05)
    asked = Asked()
    server = CniSocket(folder.parent, asked)
    server.start()
    for name in ("c1", "c2"):
        leave(folder, name)
        deadline = time.monotonic() + 60
        while name not in asked.containers:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    server.stop()


def test_what_cannot_be_done_now_stays_and_is_tried_again_after_a_while(folder: Path) -> None:
    left, now = leave(folder, "c1"), [0.0]
    asked = Asked(code=11)
    intents = Intents(folder.parent, asked, lambda: now[0])
    intents.take_in()
    assert left.exists()
    asked.code = 0
    for now[0] in (1.0, RETRY_S - 1, RETRY_S):
        intents.take_in()
    assert (asked.containers, left.exists()) == (["c1", "c1"], False)


def test_a_draft_is_left_to_its_writer_and_removed_when_that_has_died(folder: Path) -> None:
    young, old = folder / ".1", folder / ".2"
    for path, age_s in ((young, 0.0), (old, 90.0)):
        path.write_bytes(b"ha")
        os.utime(path, (time.time() - age_s,) * 2)
    asked = Asked()
    Intents(folder.parent, asked).take_in()
    assert (list(folder.iterdir()), asked.heard) == ([young], [])


@pytest.mark.parametrize(
    ("said_s", "age_s", "expected_s"),
    [
        pytest.param(None, 40.0, 40.0, id="by the file's age where an older shim says nothing"),
        pytest.param(60.0, 40.0, 60.0, id="as the shim says"),
        pytest.param(10.0, 40.0, 40.0, id="by the file where it is older than the shim says, as after a reboot"),
    ],
)
def test_each_carries_when_it_was_asked(folder: Path, said_s: float | None, age_s: float, expected_s: float) -> None:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    leave(folder, "c1", *((f"{ASKED_AT}={int((now - said_s) * 1e9)}",) if said_s else ()), age_s=age_s)
    asked = Asked()
    Intents(folder.parent, asked).take_in()
    assert now - int(asked.heard[0][ASKED_AT]) / 1e9 == pytest.approx(expected_s, abs=1.0)
