"""Agents are killed, restarted and upgraded while connections are made; none may fail."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from lab import agents, use
from lab.agents import DAEMON
from lab.cluster import Cluster
from lab.machine import ExecContext, Machine
from maps import abi, libbpf
from maps.percpu import PerCpuTable
from tests.behaviours import shows
from tests.lab.conftest import OFTEN, Echo
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

FAIL_POINT = "SLUICEWAY_FAIL_AFTER_WRITES"
MOST_WRITES = 200  # of a start; more means that the fail point does not work
LEAST = 1000  # datagrams that were sent, so that something was tried
PACE_S = 0.002  # between them, at least
PACED = """
import select, socket, sys
sent = 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    while not sent or not select.select([sys.stdin], [], [], float(sys.argv[2]))[0]:
        sender.sendto(b"x", (sys.argv[1], 9))
        sent += 1
print(sent)
"""
SILENT = """
kind: Service
metadata: {name: silent}
spec: {internalTrafficPolicy: Local, ports: [{port: 9, protocol: UDP}]}
"""
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


def test_every_packet_is_counted_once_while_an_agent_exchanges_the_programs(echo_socket: Echo, tmp_path: Path) -> None:
    """Datagrams to a Local service without endpoints are dropped for a reason that no other packet has here."""
    lab, asking = echo_socket.cluster, echo_socket.asking
    node = asking.machine
    address = lab.apply(SILENT)[0]["spec"]["clusterIP"]
    until_dropped(node, asking.context, address)
    before, programs = silent_drops(node), program_ids(node)
    end = tmp_path / "end"
    os.mkfifo(end)
    with ThreadPoolExecutor() as pool:
        paced = [sys.executable, "-c", PACED, address, str(PACE_S)]
        sender = pool.submit(node.run, *paced, context=asking.context, stdin=end)
        with end.open("w"):  # until nobody has this end
            enough = time.monotonic() + 2 * LEAST * PACE_S
            restart(lab, "n1")
            while time.monotonic() < enough:
                restart(lab, "n1")
            assert not sender.done()  # it sent all the while
        sent = int(sender.result().stdout)
    assert (silent_drops(node) - before, sent > LEAST) == (sent, True)
    assert not programs & program_ids(node)


@shows("74 the agent is restarted")
def test_traffic_goes_on_without_an_agent(echo: Echo) -> None:
    node = echo.cluster.site.machine("n1")
    target = (echo.ips("echo")[0], 80)
    with use.load(echo.cluster, "busy", "n2", target) as load:
        agents.kill(node)
        assert len(echo.asking.ask("tcp", *target, OFTEN).names) == 3
        agents.start_again(node)
        agents.wait(node)
    assert load.seen is not None
    assert load.seen.errors == {}


@pytest.mark.timeout(1200)
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


@shows("58 77 endpoints change under way")
def test_backends_follow_while_the_agent_lives(echo: Echo) -> None:
    service = echo.cluster.apply(MOVING)[0]
    for names in (("web1",), ("web2", "web3"), ("web3",)):
        move(echo, names)
        asks = partial(echo.asking.ask, "tcp", service["spec"]["clusterIP"], 80, 30)
        until(lambda asks=asks, names=names: asks().names == set(names), f"they are not {names}")  # type: ignore[misc]


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


def until_dropped(node: Machine, context: ExecContext, address: str) -> None:
    """Until the agent has the service."""
    before = silent_drops(node)

    def is_dropped() -> bool:
        node.run(sys.executable, "-c", PACED, address, str(PACE_S), context=context)
        return silent_drops(node) != before

    until(is_dropped)


def silent_drops(node: Machine) -> int:
    """Packets from pods that were dropped for want of a local backend."""
    table = PerCpuTable.open(abi.COUNTERS, node.root / "sys/fs/bpf/sluiceway/current/maps/counters")
    try:
        found = table.get(abi.DropReason.DROP_NO_LOCAL_BACKEND)  # of PROGRAM_POD, DIRECTION_INGRESS: both are zero
    finally:
        table.close()
    assert found is not None
    return found.packets


def program_ids(node: Machine) -> set[int]:
    """The programs that the node's links hold."""
    return {info.program_id for info in links(node).values()}


def link_ids(node: Machine) -> dict[str, int]:
    """The ids of the node's pinned links, by name."""
    return {name: info.id for name, info in links(node).items()}


def links(node: Machine) -> dict[str, libbpf.LinkInfo]:
    """The node's pinned links, by name."""
    found = {path.name: link(path) for path in (node.root / "sys/fs/bpf/sluiceway/links").iterdir()}
    assert found
    return found


def link(path: Path) -> libbpf.LinkInfo:
    """One pinned link."""
    fd = libbpf.get_pinned(path)
    try:
        return libbpf.link_info(fd)
    finally:
        os.close(fd)
