"""Whom the agent speaks with at BIRD's socket: BIRD 2, and nobody else."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.bgp.control import BirdError, Control


@contextmanager
def listener(path: Path, greeting: bytes, answer: bytes = b"") -> Iterator[None]:
    """Greets one, and answers once."""
    with socket.socket(socket.AF_UNIX) as heard:
        heard.bind(str(path))
        heard.listen()

        def serve() -> None:
            end, _ = heard.accept()
            with end:
                end.sendall(greeting)
                if end.recv(64):
                    end.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("greeting", "text"),
    [
        pytest.param(b"0001 BIRD 1.6.8 ready.\n", "at .* is 'BIRD 1.6.8 ready.', and not BIRD 2", id="an older one"),
        pytest.param(b"220 mail ESMTP\n", "is not BIRD: '220 mail ESMTP'", id="another daemon"),
        pytest.param(b"2200 mail\n", "at .* is 'mail', and not BIRD 2", id="one that has numbers too"),
        pytest.param(b"\xff\xfe\n", "is not BIRD: ", id="no text"),
    ],
)
def test_who_is_not_bird_2_is_told_by_a_sentence(greeting: bytes, text: str, tmp_path: Path) -> None:
    with listener(tmp_path / "bird.ctl", greeting), pytest.raises(BirdError, match=text):
        Control(tmp_path / "bird.ctl")


@pytest.mark.parametrize("version", ["2.0.12", "2.17.1", "v3.1.2-3-gabcdef"])
def test_a_later_one_is_asked(version: str, tmp_path: Path) -> None:
    greeting = f"0001 BIRD {version} ready.\n".encode()
    with listener(tmp_path / "bird.ctl", greeting, b"0013 Daemon is up\n"), Control(tmp_path / "bird.ctl") as bird:
        assert bird.ask("show status").lines == ((13, "Daemon is up"),)


def test_an_answer_that_is_none_is_told_by_a_sentence(tmp_path: Path) -> None:
    with (
        listener(tmp_path / "bird.ctl", b"0001 BIRD 2.0.12 ready.\n", b"what?\n"),
        Control(tmp_path / "bird.ctl") as bird,
        pytest.raises(BirdError, match="what answers 'show status' is not BIRD: 'what\\?'"),
    ):
        bird.ask("show status")
