"""Agents are killed, restarted and upgraded while connections are made; none may fail."""

import json
import os
import time
from pathlib import Path

import pytest

from lab import agents, use
from lab.agents import DAEMON
from lab.cluster import Cluster
from lab.machine import Machine
from maps import libbpf
from tests.lab.conftest import Echo

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

FAIL_POINT = "SLUICEWAY_FAIL_AFTER_WRITES"
MOST_WRITES = 200  # of a start; more means that the fail point does not work
MOVING = """
kind: Service
metadata: {name: moving}
spec: {ports: [{port: 80}]}
"""


def test_a_restarted_agent_adopts_the_links_that_are_there(echo_socket: Echo) -> None:
    node = echo_socket.cluster.site.machine("n2")
    before = link_ids(node)
    agents.kill(node)
    assert link_ids(node) == before
    agents.start_again(node)
    agents.wait(node)
    assert link_ids(node) == before


def test_traffic_goes_on_without_an_agent(echo: Echo) -> None:
    node = echo.cluster.site.machine("n1")
    target = (echo.ips("echo")[0], 80)
    with use.load(echo.cluster, "busy", "n2", target) as load:
        agents.kill(node)
        assert len(echo.asking.ask("tcp", *target, 50).names) == 3
        agents.start_again(node)
        agents.wait(node)
    assert load.seen is not None
    assert load.seen.errors == {}


@pytest.mark.timeout(600)
def test_no_connection_fails_when_the_agent_dies_after_any_write_of_a_sync_that_moves_backends(echo: Echo) -> None:
    """Load comes from a pod of the node whose agent dies; the backends move each time, and all go on serving."""
    lab, node = echo.cluster, echo.cluster.site.machine("n1")
    service = lab.apply(MOVING)[0]
    move(echo, ("web1", "web2"))
    sets = (("web2", "web3"), ("web1", "web2"))
    deaths = 0
    try:
        with use.load(lab, "busy", "n1", (service["spec"]["clusterIP"], 80)) as load:
            for writes in range(1, MOST_WRITES):
                agents.kill(node)
                move(echo, sets[writes % 2])
                agents.start_again(node, {FAIL_POINT: str(writes)})
                if survives(node):
                    break
                deaths += 1
    finally:
        restart(lab, "n1")
    assert 1 < deaths < MOST_WRITES - 1
    assert load.seen is not None
    assert load.seen.errors == {}
    assert load.seen.opened > deaths


def test_backends_follow_while_the_agent_lives(echo: Echo) -> None:
    service = echo.cluster.apply(MOVING)[0]
    for names in (("web1",), ("web2", "web3"), ("web3",)):
        move(echo, names)
        deadline = time.monotonic() + 5
        while (seen := echo.asking.ask("tcp", service["spec"]["clusterIP"], 80, 30)).names != set(names):
            assert time.monotonic() < deadline, seen


def move(echo: Echo, names: tuple[str, ...]) -> None:
    """Let the service "moving" have these pods."""
    endpoints = [{"addresses": [echo.pod_ips(name)[0]], "conditions": {"ready": True}} for name in names]
    item = {
        "kind": "EndpointSlice",
        "metadata": {"name": "moving-1", "labels": {"kubernetes.io/service-name": "moving"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "protocol": "TCP", "port": use.SERVER_PORT}],
        "endpoints": endpoints,
    }
    echo.cluster.apply(json.dumps(item))


def survives(node: Machine) -> bool:
    """Whether the agent becomes ready, and not dead."""
    deadline = time.monotonic() + agents.READY_WITHIN_S
    while time.monotonic() < deadline:
        if node.daemon_process(DAEMON) is None:
            return False
        if agents.is_ready(node):
            time.sleep(0.2)  # a write of this very moment
            return node.daemon_process(DAEMON) is not None
        time.sleep(0.01)
    raise AssertionError(f"neither ready nor dead: {node.log_tail(DAEMON)}")


def restart(lab: Cluster, name: str) -> None:
    """An agent without a fail point."""
    node = lab.site.machine(name)
    agents.kill(node)
    agents.start_again(node)
    agents.wait(node)


def link_ids(node: Machine) -> dict[str, int]:
    """The ids of the node's pinned links, by name."""
    found = {path.name: link_id(path) for path in (node.root / "sys/fs/bpf/sluiceway/links").iterdir()}
    assert found
    return found


def link_id(path: Path) -> int:
    """The id of one pinned link."""
    fd = libbpf.get_pinned(path)
    try:
        return libbpf.link_info(fd).id
    finally:
        os.close(fd)
