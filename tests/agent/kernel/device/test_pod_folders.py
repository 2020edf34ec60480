"""Folders that a pod mounts are made and left whatever the pod made of them, and no other pod's is touched."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.kernel.device.pod_folders import AT_RESYNC, PodFolders

WEB, VICTIM, NAME = "pods/shop/web/eth0", "pods/shop/victim/eth0", "afxdp.sock"
DEEP = 1200  # folders in folders; Python's stack is for 1,000
LEAVES_AND_MAKES = """
import sys
from pathlib import Path
from agent.kernel.device.pod_folders import PodFolders
_, root, place, name = sys.argv
folders = PodFolders(Path(root))
folders.leave(place, name, ())
with folders.made(place):
    pass
"""


def made(root: Path, *places: str) -> PodFolders:
    """The folders, in each of which a file stands for a socket."""
    folders = PodFolders(root)
    for place in places:
        with folders.made(place):
            (root / place / NAME).write_text(place)
    return folders


def a_folder(pod: Path) -> None:
    """In the socket's place, and not empty."""
    (pod / "eth0" / NAME).unlink()
    (pod / "eth0" / NAME / "more").mkdir(parents=True)


def a_link(pod: Path) -> None:
    """To another pod's folder, in the place of its own."""
    shutil.rmtree(pod / "eth0")
    (pod / "eth0").symlink_to("../victim/eth0")


def a_file(pod: Path) -> None:
    """In the folder's place."""
    shutil.rmtree(pod / "eth0")
    (pod / "eth0").write_text("")


def more(pod: Path) -> None:
    """Beside what is the agent's."""
    (pod / "eth0" / "core").write_text("core")
    (pod / "mine" / "more").mkdir(parents=True)


def deep(pod: Path) -> None:
    """Deeper than a path can be long."""
    at = os.open(pod, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


def taken_names(pod: Path) -> None:
    """Two folders, each named by the inode of what is in the other."""
    spoilt = pod / "eth0" / NAME
    spoilt.unlink()
    one, other = spoilt / "one", spoilt / "other"
    for each in (one, other):
        (each / "more").mkdir(parents=True)
    inodes = [(each / "more").stat().st_ino for each in (one, other)]
    one.rename(spoilt / f"%discarded-{inodes[1]}")
    other.rename(spoilt / f"%discarded-{inodes[0]}")


SPOILT = pytest.mark.parametrize(
    "spoil", [a_folder, a_link, a_file, more, deep, taken_names], ids=lambda spoil: spoil.__name__
)


@SPOILT
def test_nothing_is_left_of_a_pod_whatever_it_made_of_its_folder(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folders = made(tmp_path, WEB, VICTIM)
    spoil(tmp_path / "pods/shop/web")
    folders.leave(WEB, NAME, {VICTIM})
    assert [path.name for path in (tmp_path / "pods/shop").iterdir()] == ["victim"]
    assert (tmp_path / VICTIM / NAME).read_text() == VICTIM
    list(folders.remove_discarded())
    assert [path.name for path in tmp_path.iterdir()] == ["pods"]


@SPOILT
def test_a_pods_folder_is_made_whatever_it_made_of_it_before(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    made(tmp_path, WEB, VICTIM)
    spoil(tmp_path / "pods/shop/web")
    folders = PodFolders(tmp_path)  # of the next agent
    with folders.made(WEB) as folder:
        folders.discard(folder, NAME)
        assert not (tmp_path / WEB / NAME).exists()
        assert os.path.samestat(os.fstat(folder), (tmp_path / WEB).lstat())
    assert (tmp_path / VICTIM / NAME).read_text() == VICTIM
    folders.leave(WEB, NAME, {VICTIM})
    list(folders.remove_discarded())  # pytest could not


@SPOILT
def test_all_folders_can_be_removed(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folders = made(tmp_path / "afxdp", WEB, VICTIM)
    spoil(tmp_path / "afxdp/pods/shop/web")
    folders.remove()
    assert list(tmp_path.iterdir()) == []
    for root in (tmp_path / "afxdp", tmp_path / "nowhere" / "afxdp"):  # of a node that is clean
        PodFolders(root).remove()


@pytest.mark.kernel
def test_what_is_another_users_is_out_of_the_way_though_the_daemonsets_agent_cannot_remove_it(tmp_path: Path) -> None:
    made(tmp_path, WEB)
    for path in (tmp_path / "pods/shop/web/eth0", tmp_path / "pods/shop/web"):
        os.chown(path, 1000, 1000)
        path.chmod(0o700)
    rights = ["setpriv", "--bounding-set=-all,+net_admin,+sys_admin", "--inh-caps=-all"]
    subprocess.run([*rights, sys.executable, "-c", LEAVES_AND_MAKES, tmp_path, WEB, NAME], check=True)
    assert (tmp_path / WEB).stat().st_uid == 0
    assert sorted(path.name[:5] for path in (tmp_path / "pods/shop").iterdir()) == ["%disc", "web"]


def test_another_interface_of_the_pod_keeps_its_folder(tmp_path: Path) -> None:
    net1 = "pods/shop/web/net1"
    folders = made(tmp_path, WEB, net1)
    folders.leave(WEB, NAME, {net1})
    assert [path.name for path in (tmp_path / "pods/shop/web").iterdir()] == ["net1"]
    folders.leave(net1, NAME, ())
    assert list(tmp_path.iterdir()) == []


def test_a_devices_folder_stays_and_is_empty_for_the_next_pod(tmp_path: Path) -> None:
    folders = made(tmp_path, "fast-0")
    before = (tmp_path / "fast-0").stat().st_ino
    (tmp_path / "fast-0/mine/more").mkdir(parents=True)
    folders.leave("fast-0", NAME, ())
    list(folders.remove_discarded())
    assert [path.stat().st_ino for path in tmp_path.rglob("*")] == [before]


def discarded_with(root: Path, files: int) -> PodFolders:
    """The folders, and among them one with so many files that is discarded."""
    folders = made(root, WEB)
    (root / WEB / "many").mkdir()
    for number in range(files):
        (root / WEB / "many" / str(number)).touch()
    folders.leave(WEB, NAME, ())
    return folders


def test_a_pod_that_goes_on_making_files_keeps_no_resync_and_no_cleanup_from_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "afxdp"
    folders = discarded_with(root, 300)

    def steps_of_a_resync() -> int:
        steps = 0
        for steps, _ in enumerate(folders.remove_discarded(), 1):
            for path in root.iterdir():  # where a pod that has a descriptor of it can, too
                os.close(os.open(f"{path}/{steps}", os.O_CREAT | os.O_WRONLY, 0o600))
            assert steps < 3 * AT_RESYNC, "it does not end"
        return steps

    assert [steps_of_a_resync() == AT_RESYNC for _ in range(3)] == [True] * 3
    assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 1
    folders.remove(most=100)
    assert root.is_dir()
    folders.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_large_folder_is_gone_after_some_resyncs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = discarded_with(tmp_path, 2 * AT_RESYNC)
    resyncs = 0
    while list(tmp_path.iterdir()):
        list(folders.remove_discarded())
        resyncs += 1
        assert resyncs < 10
    assert resyncs > 1
    assert len(caplog.records) == 1


def test_a_devices_folder_with_many_files_is_left_at_once_and_emptied_by_resyncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, device, removed = made(tmp_path, "fast-0"), tmp_path / "fast-0", []
    for number in range(AT_RESYNC + 1):
        (device / str(number)).touch()
    unlink = os.unlink

    def noted(name: str, *, dir_fd: int) -> None:
        removed.append(name)
        unlink(name, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", noted)
        folders.leave("fast-0", NAME, ())
    assert removed == [NAME], "ADD of any other interface waits"
    list(folders.remove_discarded())
    assert len(list(device.iterdir())) <= 1
    list(folders.remove_discarded())
    assert list(device.iterdir()) == []


def test_a_devices_folder_is_not_emptied_of_what_the_next_pod_has_there(tmp_path: Path) -> None:
    folders = made(tmp_path, "fast-0")
    for number in range(10):
        (tmp_path / "fast-0" / str(number)).touch()
    folders.leave("fast-0", NAME, ())
    resync = folders.remove_discarded()
    next(resync)
    with folders.made("fast-0"):
        (tmp_path / "fast-0" / NAME).touch()
    there = {path.name for path in (tmp_path / "fast-0").iterdir()}
    assert len(there) > 1
    for steps in (resync, folders.remove_discarded()):
        list(steps)
        assert {path.name for path in (tmp_path / "fast-0").iterdir()} == there
