"""The agent as a process: start, restart with other options, death in the middle of its writes, and SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from agent.kernel.programs.hooks import SOCKET_HOOKS
from maps import abi
from maps.pins import PinRoot
from maps.registry import open_table
from tests.agent.watch.api_server import kubeconfig
from tests.maps.flow_serial import serial
from tests.netns.agents import Node
from tests.netns.started import links, node, services

__all__ = ["node"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


def test_the_memory_of_every_map_is_told_also_of_those_that_only_programs_read(node: Node) -> None:
    with node.agent_runs():
        told = {line for line in node.health("metrics").splitlines() if line.startswith("sluiceway_map_bytes{")}
        generation = PinRoot(node.pins).current()
        assert generation
        assert {f'sluiceway_map_bytes{{map="{name}"}}' for name in generation.pinned()} == {
            line.partition(" ")[0] for line in told
        }
        assert {"flow_caches", "fragment_frames"} <= set(generation.pinned())


def test_a_service_in_the_folder_is_in_the_maps_when_the_agent_is_ready(node: Node) -> None:
    with node.agent_runs():
        (key,) = services(node)
        assert key.addr == IPv6Address("::ffff:10.96.0.10")
        assert key.port == 80
        hooks = {name.partition("-")[0] for name in links(node)}
        assert hooks == {"uplink_ingress", "uplink_egress", *SOCKET_HOOKS}
        assert "10.244.1.0/24 via 192.0.2.2 dev u0 proto 89" in node.ip("route show")


def test_what_the_agent_made_stays_when_it_ends_and_the_next_one_keeps_the_links(node: Node) -> None:
    with node.agent_runs():
        before = links(node)
    assert links(node) == before
    assert len(services(node)) == 1
    with node.agent_runs():
        after = links(node)
    assert {name: link for name, (link, _) in after.items()} == {name: link for name, (link, _) in before.items()}
    assert not {program for _, program in after.values()} & {program for _, program in before.values()}


def test_other_sizes_make_new_maps_and_flows_come_along(node: Node) -> None:
    client, server = IPv6Address("::ffff:10.244.0.2"), IPv6Address("::ffff:10.244.1.5")
    key = replace(abi.FlowKey.unpack(bytes(abi.FlowKey.SIZE)), lo_addr=client, hi_addr=server, protocol=6, hi_port=80)
    with node.agent_runs():
        before, old = links(node), PinRoot(node.pins).current()
    assert old
    now_s = time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> abi.SEEN_BITS
    seen = replace(abi.Flow.unpack(bytes(abi.Flow.SIZE)), seen_s=now_s, serial=serial(key, 1))
    flows = open_table(abi.FLOWS, old.maps)
    flows.update([(key, seen)])
    flows.close()
    with node.agent_runs("--max-flows=8192"):
        new = PinRoot(node.pins).current()
        assert new
        assert new != old
        assert PinRoot(node.pins).generations() == (new,)
        flows = open_table(abi.FLOWS, new.maps)
        assert flows.get(key) == replace(seen, flags=abi.FlowFlag.FLOW_CARRIED)
        flows.close()
        assert {name: link for name, (link, _) in links(node).items()} == {n: link for n, (link, _) in before.items()}
        assert len(services(node)) == 1


def test_an_agent_that_dies_after_any_write_is_followed_by_one_that_finishes(node: Node) -> None:
    writes = 0
    while True:
        writes += 1
        process = node.start(environ={"SLUICEWAY_FAIL_AFTER_WRITES": str(writes)})
        while process.poll() is None and node.health("readyz") != "ok":
            time.sleep(0.02)
        if process.returncode is None:  # it had fewer writes to make
            node.end(process)
            break
        assert process.returncode == -signal.SIGKILL
        node.running.remove(process)
    assert writes > 1
    with node.agent_runs():
        assert len(services(node)) == 1


SILENT = """
import socket
server = socket.create_server(("127.0.0.1", 6443))
print("ready", flush=True)
kept = []
while True:
    kept.append(server.accept())
    print("asked", flush=True)
"""


def test_sigterm_ends_an_agent_whose_api_server_says_nothing(node: Node) -> None:
    with subprocess.Popen([*node.inside, sys.executable, "-c", SILENT], stdout=subprocess.PIPE, text=True) as api:
        assert api.stdout
        assert api.stdout.readline() == "ready\n"
        process = node.start_with_api(kubeconfig(node.root, 6443))
        assert api.stdout.readline() == "asked\n"
        node.end(process)
        api.kill()


def test_sigterm_ends_an_agent_whose_plugin_for_credentials_hangs(node: Node) -> None:
    path = kubeconfig(node.root, 6443)
    told, fifo = json.loads(path.read_text()), node.root / "fifo"
    os.mkfifo(fifo)
    hang = f"echo $$ >{fifo}; exec sleep infinity"
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", hang]}
    told["users"][0]["user"] = {"exec": plugin}
    path.write_text(json.dumps(told))
    process = node.start_with_api(path)
    hanging = int(fifo.read_text())
    try:
        node.end(process)
    finally:
        os.kill(hanging, signal.SIGKILL)


def test_with_the_socket_hook_off_connections_are_left_to_the_devices(node: Node) -> None:
    with node.agent_runs():
        pass
    with node.agent_runs("--socket-lb=off"):
        assert not set(SOCKET_HOOKS) & set(links(node))
