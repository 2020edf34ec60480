"""The chart's container of BIRD, and the keeper: what BIRD refuses at its start keeps it down no longer."""

import os
import signal
import subprocess
import time
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
import yaml

from agent.bgp.keeper import CONFIG, FOLDER, Keeper
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.router import Router, Session
from agent.threads import Threads

pytestmark = pytest.mark.netns

RENDERED = Path(__file__).resolve().parents[2] / "build" / "chart" / "router" / "rendered.yaml"
WITHIN_S = 90.0
HERE, TOR = ip_address("192.0.2.11"), ip_address("192.0.2.1")
ROUTER = Router(
    IPv4Address("192.0.2.11"), 64512, sessions=(Session("peer_192_0_2_1", "BGPPeer tor", TOR, 64600, HERE, 64512),)
)


def command(folder: Path) -> list[str]:
    """The container's, with another folder."""
    [argv] = [
        container["command"]
        for found in yaml.safe_load_all(RENDERED.read_text())
        if found["kind"] == "DaemonSet"
        for container in found["spec"]["template"]["spec"]["containers"]
        if container["name"] == "bird"
    ]
    return [*argv[:-1], str(folder)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("of = a later version;\n", id="which it cannot read"),
        pytest.param(bird_config(ROUTER), id="which it can"),
        pytest.param(None, id="that is not there yet"),
    ],
)
def test_with_whatever_configuration_it_starts_it_has_the_agents(text: str | None, tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    if text is not None:
        (folder / CONFIG).write_text(text)
    keeper = Keeper(tmp_path, "n1", Threads(), lambda _: None)
    keeper.want(ROUTER)
    with (tmp_path / "log").open("wb") as log:
        bird = subprocess.Popen(["unshare", "--net", *command(folder)], stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + WITHIN_S
        while not keeper.state.sessions:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            keeper.try_turn()
            time.sleep(0.05)
        assert (folder / CONFIG).read_text() == bird_config(ROUTER)
        is_refused = text is not None and text.startswith("of")
        assert (folder / f"{CONFIG}.refused").exists() is is_refused
        assert ("syntax error" in (tmp_path / "log").read_text()) is is_refused
    finally:
        os.killpg(bird.pid, signal.SIGKILL)
        bird.wait()
