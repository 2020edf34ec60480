"""What a router tells of this node's own AS, by a real BIRD at either end: it is taken where a BGPPeer says so."""

import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.bgp.control import Control
from agent.compile.bgp.bird import bird_config
from agent.model.bgp import BgpPeer, within
from tests.agent.compile.bgp.bgp_world import made, node, world
from tests.agent.compile.objects import HERE

pytestmark = pytest.mark.netns

WITHIN_S = 90.0
TAKEN, WITH_OWN_AS, WITH_IT_TWICE = (f"198.51.100.{number}/32" for number in (1, 2, 3))
ALL_TOLD = 3
TOR = f"""
log stderr all;
router id 192.0.2.1;
protocol device {{ }}
protocol static {{
  ipv4;
  route {TAKEN} blackhole;
  route {WITH_OWN_AS} blackhole {{ bgp_path.prepend(64512); }};
  route {WITH_IT_TWICE} blackhole {{ bgp_path.prepend(64512); bgp_path.prepend(64512); }};
}}
protocol bgp {{
  local 192.0.2.1 as 64600; neighbor 192.0.2.11 as 64512; multihop; strict bind on;
  connect delay time 1; connect retry time 1;
  ipv4 {{ import all; export all; }};
}}
"""
BOTH = """
ip link set lo up
for address in 192.0.2.1 192.0.2.11; do ip address add $address dev lo; done
bird -f -c $0/tor.conf -s $0/tor.ctl -P $0/tor.pid &
exec bird -f -c $0/bird.conf -s $0/bird.ctl -P $0/bird.pid
"""
IMPORTS = (within(ip_network("198.51.100.0/24")),)
PEER = BgpPeer("tor", ip_address("192.0.2.1"), 64600, multihop=2, imports=IMPORTS)


def taken_of(folder: Path) -> set[str] | None:
    """What is taken of the router; None before it has told all."""
    with Control(folder / "bird.ctl") as bird:
        said = "\n".join(text for _, text in bird.ask("show protocols all peer_192_0_2_1").lines)
        if sum(map(int, re.findall(r"Import (?:updates|withdraws): +(\d+)", said))) < ALL_TOLD:
            return None
        return {text.split()[0] for _, text in bird.ask("show route protocol peer_192_0_2_1").lines if "/32" in text}


@pytest.mark.parametrize(
    ("most", "taken"),
    [
        pytest.param(0, {TAKEN}, id="by itself nothing of it"),
        pytest.param(1, {TAKEN, WITH_OWN_AS}, id="where it may be there once"),
        pytest.param(2, {TAKEN, WITH_OWN_AS, WITH_IT_TWICE}, id="or twice"),
    ],
)
def test_a_path_with_the_own_as_is_taken_as_often_as_it_may_be_there(
    most: int, taken: set[str], tmp_path: Path
) -> None:
    here = node(HERE, 11, families="4", bgp__local__addresses="192.0.2.11")
    router = made(world(here, peers=(replace(PEER, local_as_most=most),))).router
    assert router is not None
    (tmp_path / "bird.conf").write_text(bird_config(router))
    (tmp_path / "tor.conf").write_text(TOR)
    argv = ["unshare", "--net", "sh", "-c", BOTH, str(tmp_path)]
    birds = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + WITHIN_S
        while not (tmp_path / "bird.ctl").exists() or (found := taken_of(tmp_path)) is None:
            assert time.monotonic() < deadline, "the router is no peer"
            time.sleep(0.05)
        assert found == taken
    finally:
        os.killpg(birds.pid, signal.SIGKILL)
        birds.wait()
