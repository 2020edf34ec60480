"""Finding the pins, and saying why they cannot be read."""

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dpctl.app import app
from dpctl.commands import status
from dpctl.errors import Absent, Forbidden
from dpctl.lock import holder
from dpctl.pinned import find_root
from maps.errors import NotPermitted

MOUNT = "36 25 0:32 / {point} rw - bpf bpf rw\n"


def test_the_default_is_sluiceway_on_the_bpffs(tmp_path: Path) -> None:
    (tmp_path / "sluiceway").mkdir()
    assert find_root(None, MOUNT.format(point=tmp_path)).path == tmp_path / "sluiceway"


def test_without_bpffs_the_way_out_is_a_mount() -> None:
    with pytest.raises(Absent, match="mount -t bpf"):
        find_root(None, "")


def test_a_pin_root_that_may_not_be_read_is_not_an_absent_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(Forbidden, match="sudo"):
        find_root(tmp_path)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(NotPermitted("open the pin"), 3, id="the kernel's refusal"),
        pytest.param(PermissionError("no"), 3, id="the file system's"),
        pytest.param(FileNotFoundError("gone"), 1, id="a pin that just left"),
        pytest.param(click.UsageError("no"), 2, id="a wrong command line"),
    ],
)
def test_an_exit_code_says_what_was_wrong(error: Exception, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path | None) -> None:
        raise error

    monkeypatch.setattr(status, "find_root", fail)
    assert CliRunner().invoke(app, ["status"]).exit_code == code


def test_the_locks_holder_is_found_by_device_and_inode(tmp_path: Path) -> None:
    stat = tmp_path.stat()
    inode = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    locks = (
        f"1: POSIX  ADVISORY  WRITE 11 {inode} 0 EOF\n"
        "2: FLOCK  ADVISORY  WRITE 12 00:01:77 0 EOF\n"
        f"3: FLOCK  ADVISORY  WRITE 13 {inode} 0 EOF\n"
        f"3: -> FLOCK  ADVISORY  WRITE 14 {inode} 0 EOF\n"
    )
    assert holder(tmp_path, locks) == 13
    assert holder(tmp_path, "") is None
