"""Without `--router` nothing stays of an agent that had it."""

import subprocess
from pathlib import Path

import pytest

from agent.bgp.keeper import CONFIG, FOLDER
from agent.bgp.part import NoBgpPart
from agent.compile.desired import Desired
from tests.agent.kernel.nets import in_new_netns

pytestmark = pytest.mark.netns

ROUTE = "blackhole 203.0.113.0/24 proto bird metric 90"


def turn(part: NoBgpPart, desired: Desired) -> None:
    """What the loop does with a part."""
    wanted = part.wanted(desired)
    if wanted is not None:
        list(part.apply(wanted))


def routes() -> str:
    return subprocess.run(["ip", "route"], check=True, capture_output=True, text=True).stdout


def test_routes_of_an_earlier_router_go_when_all_is_known(tmp_path: Path) -> None:
    """A next hop of theirs may be gone, and no BIRD is there to hear of it."""

    def play() -> tuple[str, str]:
        subprocess.run(["ip", "route", "add", *ROUTE.split()], check=True)
        part = NoBgpPart(tmp_path)
        turn(part, Desired())
        before = routes()
        turn(part, Desired(synced=True))
        return before, routes()

    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / CONFIG).write_text("router id 192.0.2.1;\n")
    before, after = in_new_netns(play)
    assert ("203.0.113.0/24" in before, after) == (True, ""), "before the first sync nothing is in their place"
    assert not (tmp_path / FOLDER).exists()


def test_a_bird_that_is_not_ours_keeps_its_routes(tmp_path: Path) -> None:
    def play() -> str:
        subprocess.run(["ip", "route", "add", *ROUTE.split()], check=True)
        turn(NoBgpPart(tmp_path), Desired(synced=True))
        return routes()

    assert "203.0.113.0/24" in in_new_netns(play)
