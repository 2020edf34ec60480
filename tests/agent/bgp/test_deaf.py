"""BIRD cannot listen where another process has the port, as the BGP of what ran here before: it does once that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.bgp.keeper import FOLDER, Keeper
from agent.model.bgp import BgpPeer
from agent.model.name import Problem
from agent.threads import Threads
from tests.agent.compile.bgp.bgp_world import made, node, world
from tests.agent.compile.objects import HERE

pytestmark = pytest.mark.netns

WITHIN_S = 90.0
PEER = BgpPeer("tor", ip_address("192.0.2.1"), 64600, multihop=2)
TAKES_THE_PORT = """
import os, socket, sys, time
taken, file = socket.create_server(("", 179)), os.path.join(sys.argv[1], "taken")
open(file, "w").close()
while os.path.exists(file):
    time.sleep(0.02)
"""
BOTH = """
ip link set lo up; ip address add 192.0.2.11 dev lo
bird -f -c $0/bird.conf -s $0/bird.ctl -P $0/bird.pid &
"$1" -c "$2" $0
wait
"""


def test_it_listens_once_the_port_is_free_and_says_so_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.bgp.keeper.REOPEN_S", 0.1)
    told: list[tuple[Problem, ...]] = []
    keeper = Keeper(tmp_path, "n1", Threads(), told.append)
    router = made(world(node(HERE, 11, families="4"), peers=(PEER,))).router
    assert router is not None
    keeper.try_turn()  # writes what BIRD starts with, which listens for nobody
    folder = tmp_path / FOLDER
    argv = ["unshare", "--net", "sh", "-c", BOTH, str(folder), sys.executable, TAKES_THE_PORT]
    birds = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        turns(keeper, (folder / "taken").exists, "nobody takes the port")
        keeper.want(router)
        turns(keeper, lambda: any("cannot listen" in one.text for one in told[-1]), "nobody says that it is deaf")
        (problem,) = told[-1]
        assert (problem.kind, str(problem.name), problem.field) == ("Node", "n1", "--router")
        assert "port 179" in problem.text
        assert "BGPPeer tor" in problem.text
        (folder / "taken").unlink()
        turns(keeper, lambda: keeper.state.sessions[0].state in {"Connect", "Active"}, "it does not listen")
        turns(keeper, lambda: told[-1] == (), "the problem stays")
    finally:
        os.killpg(birds.pid, signal.SIGKILL)
        birds.wait()


def turns(keeper: Keeper, holds: Callable[[], bool], what: str) -> None:
    """Of the keeper, until it is so."""
    deadline = time.monotonic() + WITHIN_S
    while not (keeper.state.is_running and holds()):
        assert time.monotonic() < deadline, what
        keeper.try_turn()
        time.sleep(0.05)
