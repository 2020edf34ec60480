"""bpffs and cgroup2 in mountinfo, as distributions write it."""

from pathlib import Path

import pytest

from agent.options import mounts
from agent.options.mounts import bpffs, cgroup2, is_on_bpffs, read_mountinfo


@pytest.mark.parametrize(
    ("mountinfo", "bpf", "cgroup"),
    [
        pytest.param("", None, None, id="nothing is mounted"),
        pytest.param(
            "30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw", None, "/sys/fs/cgroup", id="unified"
        ),
        pytest.param(
            "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 c rw",
            None,
            "/sys/fs/cgroup/unified",
            id="a hybrid host",
        ),
        pytest.param(
            "50 1 0:38 /pod /run/x rw - cgroup2 c rw\n51 1 0:38 / /a/long/way rw - cgroup2 c rw",
            None,
            "/a/long/way",
            id="the whole hierarchy before a part of it",
        ),
        pytest.param("42 23 0:39 / /mnt/a\\040b rw shared:1 master:2 - bpf none rw", "/mnt/a b", None, id="a blank"),
        pytest.param(
            "42 1 0:39 / /b rw - bpf bpf rw\n43 1 0:40 / /sys/fs/bpf rw - bpf bpf rw",
            "/sys/fs/bpf",
            None,
            id="the usual",
        ),
    ],
)
def test_where_they_are(mountinfo: str, bpf: str | None, cgroup: str | None) -> None:
    assert bpffs(mountinfo) == (Path(bpf) if bpf else None)
    assert cgroup2(mountinfo) == (Path(cgroup) if cgroup else None)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"caf\xe9", id="that are no text"),
        pytest.param("a\u2028b".encode(), id="that end a line elsewhere"),
        pytest.param(b"a\x0cb", id="that end a page"),
    ],
)
def test_a_mount_may_be_of_a_folder_with_octets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    written = tmp_path / "mountinfo"
    written.write_bytes(b"41 1 8:1 /data/" + name + b" /v rw - ext4 a rw\n42 1 0:39 / /sys/fs/bpf rw - bpf bpf rw\n")
    monkeypatch.setattr(mounts, "MOUNTINFO", written)
    assert bpffs(read_mountinfo()) == Path("/sys/fs/bpf")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        pytest.param("/sys/fs/bpf/sluiceway/1", True, id="below the mount"),
        pytest.param("/sys/fs/bpf", True, id="the mount itself"),
        pytest.param("/sys/fs/bpfx", False, id="a longer name is another folder"),
        pytest.param("/sys/fs/bpf/over/x", False, id="another mount on top"),
    ],
)
def test_what_lies_on_bpffs(path: str, answer: bool) -> None:  # noqa: FBT001
    mountinfo = """\
1 1 8:1 / / rw - ext4 /dev/sda rw
42 23 0:39 / /sys/fs/bpf rw - bpf bpf rw
43 42 0:40 / /sys/fs/bpf/over rw - tmpfs tmpfs rw"""
    assert is_on_bpffs(Path(path), mountinfo) is answer
