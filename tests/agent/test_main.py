"""What ends the agent is told where people look."""

from pathlib import Path

import pytest

from agent import main


def told(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a start without anything to watch, whose pod has *path* for its last words."""
    monkeypatch.setattr(main, "TERMINATION_LOG", path)
    monkeypatch.setattr("sys.argv", ["sluiceway-agent", "run", "--pin-root=/x", "--no-such-option"])
    return main.main()


def test_in_a_pod_the_error_is_the_containers_termination_message_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "termination-log"
    path.touch()
    assert told(path, monkeypatch) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"sluiceway-agent: {path.read_text().strip()}"
    assert "unknown option --no-such-option" in line


def test_elsewhere_no_file_is_made_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(tmp_path / "termination-log", monkeypatch) == 2
    assert not (tmp_path / "termination-log").exists()
