"""What wakes the device plugin: the kubelet's folder, links, devices, and who ends it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.devices.changes import Changes

LONG_S = 60.0  # far beyond what a change takes to be heard of
IN_A_NETWORK_OF_ITS_OWN = """
import os, subprocess, sys, time
from pathlib import Path
from agent.devices.changes import Changes

changes, (wake, _) = Changes(Path("/none")), os.pipe()
for command in sys.argv[1:]:
    subprocess.run(command, shell=True, check=True)
    began = time.monotonic()
    changes.wait(wake, 60.0)
    print(time.monotonic() - began < 30.0)
"""


@pytest.fixture
def wake() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def is_heard(changes: Changes, wake: int, change: Callable[[], object]) -> bool:
    """Whether a change ends a wait early."""
    changes.wait(wake, 0.0)  # the folder is watched from here on
    change()
    began = time.monotonic()
    changes.wait(wake, LONG_S)
    return time.monotonic() - began < LONG_S / 2


def test_the_kubelets_folder_is_followed_also_when_it_is_made_anew(tmp_path: Path, wake: tuple[int, int]) -> None:
    folder = tmp_path / "device-plugins"
    changes = Changes(folder)
    changes.wait(wake[0], 0.0)
    for _ in range(2):
        folder.mkdir()
        assert is_heard(changes, wake[0], (folder / "kubelet.sock").touch)
        assert is_heard(changes, wake[0], (folder / "kubelet.sock").unlink)
        shutil.rmtree(folder)
        changes.wait(wake[0], 0.0)
    assert is_heard(changes, wake[0], lambda: os.write(wake[1], b"\0"))
    changes.close()


@pytest.mark.netns
def test_links_and_the_kernels_devices_are_heard_of() -> None:
    """A network device that comes is both; one that is set up is a link's change alone."""
    done = subprocess.run(
        [
            *("unshare", "--net", sys.executable, "-c", IN_A_NETWORK_OF_ITS_OWN),
            "ip link add v0 type veth peer name v1",
            "ip link set v0 up",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "True"]
