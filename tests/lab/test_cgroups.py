"""Hosts with cgroups of version 1, 2 or both."""

from pathlib import Path

import pytest

from lab.cgroups import find, hierarchies
from lab.errors import LabError

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/usr/lib/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
99 31 0:38 / /elsewhere rw - cgroup2 cgroup2 rw,nsdelegate
"""
UNIFIED = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


def test_each_hierarchy_is_found_once_with_what_mounts_it_again() -> None:
    assert [(str(h.point), h.kind, h.options) for h in hierarchies(HYBRID)] == [
        ("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"),
        ("/sys/fs/cgroup/systemd", "cgroup", "none,name=systemd"),
        ("/sys/fs/cgroup/unified", "cgroup2", ""),
    ]


@pytest.mark.parametrize(
    ("mountinfo", "path"),
    [
        pytest.param(HYBRID, "/sys/fs/cgroup/unified/lab", id="beside version 1"),
        pytest.param(UNIFIED, "/sys/fs/cgroup/lab", id="alone"),
    ],
)
def test_the_labs_cgroup_is_of_version_2(mountinfo: str, path: str) -> None:
    assert find("lab", mountinfo).unified == Path(path)


def test_a_host_without_version_2_is_refused() -> None:
    with pytest.raises(LabError, match="mount -t cgroup2"):
        find("lab", "")
