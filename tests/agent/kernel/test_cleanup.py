"""Cleanup puts everything back that can be, whatever a pod made of the folder of its map's pin."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

SPOILT, OTHER = "pods/shop/web", "pods/shop/other"
DEEP = 1200  # folders in folders; Python's stack is for 1,000
CLEANS = """
import json, sys
from pathlib import Path
from unittest.mock import Mock
from agent.kernel import cleanup
from agent.options.config import Options
from maps.pins import PinRoot
from tests.agent.kernel.nets import in_new_netns
put_back = []
for name in ("VlanOffload", "Sysctls"):
    setattr(cleanup, name, lambda _, name=name: Mock(put_back=lambda: put_back.append(name),
                                                     put_all_back=lambda: put_back.append(name)))
pins = PinRoot(Path(sys.argv[1]))
pins.lock()
left = in_new_netns(lambda: cleanup.cleanup(Options(), pins, Mock(remove_all=lambda: ()), Mock()))
print(json.dumps([left, put_back]))
"""


def cleaned(pins: Path, *command: str) -> tuple[list[str], list[str]]:
    """What a process says that cleans: what is left, and what was put back."""
    run = [*command, sys.executable, "-c", CLEANS, str(pins)]
    ended = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True)
    left, put_back = json.loads(ended.stdout.splitlines()[-1])
    return left, put_back


def made(pins: Path) -> Path:
    """Pins of an agent that has two pods with AF_XDP; the folder that one of them mounts."""
    for place in (SPOILT, OTHER, "interfaces/sw1"):
        (pins / "afxdp" / place).mkdir(parents=True)
    (pins / "one" / "maps").mkdir(parents=True)
    (pins / "current").symlink_to("one")
    return pins / "afxdp" / SPOILT


def test_a_pods_folders_in_folders_keep_nothing(pin_root: Path) -> None:
    pins = pin_root / "root"
    at = os.open(made(pins), os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    try:
        assert cleaned(pins) == ([], ["VlanOffload", "Sysctls"])
        assert not pins.exists()
    finally:
        subprocess.run(["rm", "-rf", pins], check=True)  # as shutil cannot


def test_what_a_pod_gave_another_user_is_told_and_the_rest_is_put_back(pin_root: Path) -> None:
    pins = pin_root / "root"
    spoilt = made(pins)
    (spoilt / "more").mkdir()
    os.chown(spoilt, 1000, 1000)
    spoilt.chmod(0o700)
    rights = ("setpriv", "--bounding-set=-all,+net_admin,+sys_admin", "--inh-caps=-all")  # the DaemonSet's
    (why,), put_back = cleaned(pins, *rights)
    assert why.startswith(f"pins in {pins} cannot be removed: ")
    assert put_back == ["VlanOffload", "Sysctls"]
    assert [path.name for path in pins.iterdir()] == ["afxdp"]
    assert {path.name for path in pins.rglob("*")} & {"other", "sw1"} == set()
    assert spoilt.name in {path.name for path in pins.rglob("*")}
