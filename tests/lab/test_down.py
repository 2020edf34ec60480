"""A lab leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import cluster, site, use
from lab.site import Options
from tests.lab.listing import left_behind, listing

pytestmark = [pytest.mark.netns, pytest.mark.kernel, pytest.mark.alone]

NAME = f"swlab-test-down-{os.getpid()}"
CHECKOUT = Path(__file__).resolve().parents[2]


def test_a_lab_with_pods_and_services_leaves_nothing() -> None:
    before = listing()
    try:
        made = cluster.up(NAME, Options(nodes=2), print)
        made.apply("kind: Service\nmetadata: {name: echo}\nspec: {selector: {app: echo}, ports: [{port: 80}]}")
        use.serve(made, "web1", "n1", {"app": "echo"})
        use.idle(made, "asking", "n2")
    finally:
        site.remove(NAME)
    assert left_behind(before) == {}


@pytest.mark.parametrize("after_s", [0.3, 0.6, 1.0, 1.6, 2.4], ids=lambda after_s: f"killed after {after_s} s")
def test_an_up_that_is_killed_leaves_nothing_after_down(after_s: float) -> None:
    before = listing()
    try:
        argv = [sys.executable, "-m", "lab", "--name", NAME, "up", "--nodes", "2"]
        with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as up:
            time.sleep(after_s)
            up.send_signal(signal.SIGKILL)
    finally:
        subprocess.run([sys.executable, "-m", "lab", "--name", NAME, "down"], cwd=CHECKOUT, check=True)
    assert left_behind(before) == {}


def test_down_is_well_with_nothing_to_take_down() -> None:
    site.remove(NAME)
    site.remove(NAME)


def test_down_ends_a_lab_whose_folder_is_lost() -> None:
    before = listing()
    try:
        made = cluster.up(NAME, Options(nodes=1), print)
        made.site.folder.rename(made.site.folder.with_name(f"{NAME}-lost"))
    finally:
        site.remove(NAME)
        site.remove(f"{NAME}-lost")
    assert left_behind(before) == {}
