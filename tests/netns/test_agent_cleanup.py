"""Clean-up after an agent leaves its node as it was, whatever died before; or leaves it alone."""

import os
import signal
import socket
import subprocess
import time

import pytest

from agent.pods.attachments import boot_id
from tests.netns.agents import Node
from tests.netns.dying import Dying
from tests.netns.listing import listing
from tests.netns.started import node, services

__all__ = ["node"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

# moments of a start at which it dies, before a clean-up; SLUICEWAY_DEATHS=500 is nearly all of them, some minutes
DEATHS = int(os.environ.get("SLUICEWAY_DEATHS", "8"))


def test_cleanup_leaves_the_node_as_it_was(node: Node) -> None:
    before = listing(node)
    with node.agent_runs():
        assert listing(node) != before
    node.run(*node.agent("cleanup"))
    assert listing(node) == before


def test_cleanup_without_a_bpffs_takes_away_what_there_is(node: Node) -> None:
    before = listing(node)
    with node.agent_runs():
        pass
    subprocess.run(["umount", node.bpffs], check=True)
    try:
        # where no folder can be made, as none can at the place of a bpffs
        node.run(*node.agent("cleanup", "--pin-root=/sys/kernel/sluiceway"))
    finally:
        subprocess.run(["mount", "-t", "bpf", node.name, node.bpffs], check=True)
    assert listing(node) == before


def test_cleanup_that_does_not_see_the_agents_bpffs_leaves_it_all(node: Node) -> None:
    conflist = node.root / "conf/10-sluiceway.conflist"
    with node.agent_runs():
        while not conflist.exists():  # comes soon after the agent is ready; pytest's own limit ends it
            time.sleep(0.05)
        pins = listing(node)["pins"]
        command = node.agent("cleanup", "--pin-root=/sys/kernel/sluiceway")
        refused = subprocess.run(command, capture_output=True, check=False)
        assert (refused.returncode != 0, b"another agent works on the pins" in refused.stderr) == (True, True)
        assert (conflist.exists(), listing(node)["pins"], node.health("readyz")) == (True, pins, "ok")


def test_cleanup_takes_away_what_killed_processes_left(node: Node) -> None:
    before = listing(node)
    with node.agent_runs():
        pass
    for path in (node.root / "run/devices.sock", node.root / "run/bird/bird.ctl"):
        path.parent.mkdir(exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
            killed.bind(str(path))
    for folder in (f"state/vfs/{boot_id()}", "state/vfs/an-earlier-boot", "run/vf/0000:03:02.0"):
        (node.root / folder).mkdir(parents=True)
    (node.root / "run/vf/0000:03:02.0/interface.json").write_text("{}")
    node.run(*node.agent("cleanup"))
    assert listing(node) == before


def test_cleanup_leaves_the_node_as_it_was_whenever_the_agent_died(node: Node) -> None:
    node.run("sysctl", "-qw", "net.ipv4.conf.u1.forwarding=1", "net.ipv4.conf.all.rp_filter=1")
    before, dying = listing(node), Dying(node)
    dying.ask("count")
    node.wait_ready()
    assert listing(node) != before
    things = dying.ask("end")
    assert dying.ask("cleanup") == 0
    assert listing(node) == before
    for death in range(1, DEATHS + 1):
        at = things * death // DEATHS
        assert dying.ask(f"run {at}") == -signal.SIGKILL
        assert dying.ask(f"cleanup {things // 100 * death}") == -signal.SIGKILL, "and so may this"
        assert dying.ask("cleanup") == 0
        assert listing(node) == before, f"the agent died at {at} of {things}"
    with node.agent_runs():
        assert len(services(node)) == 1
    dying.close()


def test_cleanup_refuses_while_an_agent_runs(node: Node) -> None:
    with node.agent_runs():
        refused = subprocess.run(node.agent("cleanup"), capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert len(services(node)) == 1
