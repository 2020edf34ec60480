"""Lines from many threads: all of them there, and few flushes for many who wait."""

import os
import threading
import time
from pathlib import Path

import pytest

from agent.pods.append_file import AppendFile, framed, lines


def test_those_who_wait_together_have_one_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first flush takes long, and 31 come while it does: the next one is for all of them."""
    flushes = 0
    under_way, may_end = threading.Event(), threading.Event()
    real = os.fdatasync

    def slow(fd: int) -> None:
        nonlocal flushes
        flushes += 1
        under_way.set()
        assert may_end.wait(60)
        real(fd)

    monkeypatch.setattr("agent.pods.append_file.os.fdatasync", slow)
    file = AppendFile(tmp_path / "a", tuple)

    def write(number: int) -> None:
        file.append(b"%d" % number)
        file.flush()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(32)]
    threads[0].start()
    assert under_way.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(lines((tmp_path / "a").read_bytes())[0]) < 32:
        time.sleep(0.001)
    may_end.set()
    for thread in threads:
        thread.join()
    assert flushes == 2
    assert {int(line) for line in lines((tmp_path / "a").read_bytes())[0]} == set(range(32))


def test_lines_of_many_threads_outlive_that_the_file_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.pods.append_file.LONGEST", 500)
    kept: list[bytes] = []
    file = AppendFile(tmp_path / "a", lambda: list(kept))

    def write(worker: int) -> None:
        for number in range(50):
            with file.alone:
                file.append(line := b"%d %d" % (worker, number))
                kept.append(line)
            file.flush()

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole, spoilt = lines((tmp_path / "a").read_bytes())
    assert (len(whole), spoilt) == (400, 0)
    assert sorted(whole) == sorted(kept)


def test_a_long_file_is_shortened_when_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.pods.append_file.LONG", 100)
    file = AppendFile(tmp_path / "a", lambda: [b"what stands for all"])
    for number in range(4):
        file.append(b"%d" % number)
    file.flush()
    file.shorten()
    assert len(lines((tmp_path / "a").read_bytes())[0]) == 5  # it began with one, and is not long yet
    for number in range(8):
        file.append(b"%d" % number)
        file.flush()
    assert len(lines((tmp_path / "a").read_bytes())[0]) == 13
    file.shorten()
    assert lines((tmp_path / "a").read_bytes()) == ((b"what stands for all",), 0)
    file.append(b"and more")
    file.flush()
    assert lines((tmp_path / "a").read_bytes()) == ((b"what stands for all", b"and more"), 0)


def test_a_flush_that_fails_fails_those_who_wait_only_when_a_new_file_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    kept: list[bytes] = []
    file = AppendFile(tmp_path / "a", lambda: list(kept))
    file.make_anew()
    file.append(b"one")
    kept.append(b"one")
    monkeypatch.setattr("agent.pods.append_file.os.fdatasync", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        file.flush()
    file.flush()  # by a new file, whole
    assert (tmp_path / "a").read_bytes() == framed(b"one")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ((), 0)),
        (framed(b"a") + framed(b"b"), ((b"a", b"b"), 0)),
        (framed(b"a") + framed(b"b")[:-1], ((b"a",), 1)),
        (framed(b"a")[:-2] + b"x\n" + framed(b"b"), ((b"b",), 1)),
        (b"\n\n" + framed(b""), ((b"",), 2)),
    ],
    ids=["nothing", "two lines", "the end is torn", "the middle is spoilt", "lines too short for a sum"],
)
def test_lines_are_known_by_their_sums(content: bytes, expected: tuple[tuple[bytes, ...], int]) -> None:
    assert lines(content) == expected
