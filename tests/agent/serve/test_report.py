"""The file in which the agent says how it fares: read back as it was told, written when it is worth it."""

import logging
from pathlib import Path

import pytest

from agent.model.name import ObjectName, Problem
from agent.reconcile.status import Status
from agent.serve.report import FILE, Report, Reporter, read

PINS = Path("/sys/fs/bpf/sluiceway")
PROBLEM = Problem("Service", ObjectName("default", "web"), "spec.ports[0]", "is no port")
SOME = Status(synced=True, syncs=3, error="a map is full", problems=(PROBLEM,))


def test_what_was_told_is_read(tmp_path: Path) -> None:
    Reporter(tmp_path, PINS, lambda: 1000.0).report(SOME)
    assert read(tmp_path) == Report(str(PINS), 1000.0, SOME)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_it_is_not_written_again_and_again_but_the_latest_gets_there(tmp_path: Path) -> None:
    now = [1000.0]
    reporter = Reporter(tmp_path, PINS, lambda: now[0])
    later = Status(syncs=4)
    reporter.report(SOME)
    now[0] = 1000.5
    reporter.report(later)
    assert read(tmp_path) == Report(str(PINS), 1000.0, SOME), "half a second is too soon"
    now[0] = 1001.0
    reporter.report(later)
    assert read(tmp_path) == Report(str(PINS), 1001.0, later)
    now[0] = 1010.0
    reporter.report(later)
    assert read(tmp_path) == Report(str(PINS), 1001.0, later), "nothing is new"
    last = Status(syncs=5)
    reporter.report(last)
    now[0] = 1010.1
    reporter.report(SOME, now=True)
    assert read(tmp_path) == Report(str(PINS), 1010.1, SOME), "the last word does not wait"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"status": {"problems": [{}]}}'], ids=repr)
def test_what_is_no_report_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert read(tmp_path) is None


def test_a_report_of_another_build_says_what_both_know(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b'{"pin_root": "/p", "at_s": 5, "new": 1, "status": {"synced": true, "more": [2]}}')
    assert read(tmp_path) == Report("/p", 5.0, Status(synced=True))
    assert read(tmp_path / "nowhere") is None


def test_a_folder_that_takes_no_file_is_said_once(tmp_path: Path, written: pytest.LogCaptureFixture) -> None:
    now = [1000.0]
    reporter = Reporter(tmp_path / "nowhere", PINS, lambda: now[0])
    with written.at_level(logging.WARNING):
        for status in (SOME, Status(), SOME):
            reporter.report(status, now=True)
    assert len([r for r in written.records if "status cannot be written" in r.getMessage()]) == 1
