"""Pods leave a node of two uplinks under the address of the way that each takes, and follow when it changes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lab import cluster, site, use
from lab.addresses import at_once
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from lab.use import Client
from tests.lab.modes import PORT, PROBE, WRITTEN, ask, both
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

TALKER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("talker.py")))
BOUND = 7002  # of a server that answers under the address that it was asked at, by whatever way
SILENT_S = 2.0  # at most, longer than a new flow has to wait for the change; a tenth of that is usual
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
STORAGE = ("10.99.0.11", "fd99::11")  # n1's addresses on the storage network
OTHER = ("10.99.0.33", "fd99::33")
THIRD = ("10.99.0.44", "fd99::44")
SERVER = ("10.99.0.200", "fd99::200")
BEYOND = ("198.51.100.7", "2001:db8:7::7")  # the server's too, behind both networks
BITS = (24, 64)


def ip(machine: Machine, family: int, line: str) -> None:
    machine.run("ip", ("-4", "-6")[family], *line.split())


def hold(machine: Machine, family: int, what: str, address: str) -> None:
    """Have an address on the storage network, or not any more."""
    at = " ".join(at_once(address)) if what == "add" else ""
    ip(machine, family, f"address {what} {address}/{BITS[family]} dev eth1 {at}")


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    """A node, and beside its uplink a second one to a storage network, where the outside has an address too."""
    name = f"swlab-snat-{os.getpid()}"
    try:
        made = cluster.up(name, Options(nodes=1, socket_lb=False), print)
        node, outside = made.site.machine("n1"), made.site.outside
        join(node, outside)
        outside.daemon("probe", [*PROBE, "serve", str(PORT)])
        outside.daemon("bound", [*TALKER, "serve", str(BOUND), *BEYOND, *map(str, outside.addresses)])
        yield made
    finally:
        site.remove(name)


def join(node: Machine, outside: Machine) -> None:
    """Make the storage network: a wire between the two."""
    inside = ["nsenter", f"--net={node.netns}", "ip"]  # the process numbers are the host's
    words = f"link add eth1 type veth peer name eth1 netns {outside.process}"
    subprocess.run([*inside, *words.split()], check=True)
    for machine, addresses in ((node, STORAGE), (outside, SERVER)):
        machine.run("ethtool", "-K", "eth1", "tx", "off")
        for family, address in enumerate(addresses):
            hold(machine, family, "add", address)
        machine.run("ip", "link", "set", "eth1", "up")
    for family, address in enumerate(BEYOND):
        ip(outside, family, f"address add {address} dev lo")


@pytest.fixture(scope="module")
def asking(made: Cluster) -> Client:
    """A pod of the node, which has the programs on both uplinks."""
    client = use.idle(made, "asking", "n1")
    until(
        lambda: (
            len(json.loads(made.site.machine("n1").run("dpctl", "map", "dump", "uplinks", "-o", "json").stdout)) == 2
        )
    )
    return client


@contextmanager
def talking(asking: Client, kind: str, address: str, port: int = PORT) -> Iterator[dict[str, Any]]:
    """Somebody who talks on one socket during the block: "seen" as it goes, and the rest when it has ended."""
    argv = asking.machine.command([*TALKER, kind, address, str(port)], asking.context)
    found: dict[str, Any] = {"seen": []}

    def read(process: "subprocess.Popen[str]") -> None:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("{"):
                found.update(json.loads(line))
            else:
                found["seen"].append(line.strip())

    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=asking.machine.environment(), text=True
    ) as process:
        assert process.stdin
        reading = Thread(target=read, args=(process,))
        reading.start()
        try:
            until(lambda: found["seen"])
            yield found
        finally:
            process.stdin.close()
            reading.join()


@contextmanager
def renumbered(node: Machine, family: int) -> Iterator[None]:
    """The node's address on the storage network becomes another one."""
    hold(node, family, "add", OTHER[family])
    hold(node, family, "del", STORAGE[family])
    try:
        # IPv4's second address goes with the first
        if family == 0:
            ip(node, family, f"address replace {OTHER[family]}/{BITS[family]} dev eth1")
        yield
    finally:
        hold(node, family, "add", STORAGE[family])
        hold(node, family, "del", OTHER[family])
        if family == 0:
            ip(node, family, f"address replace {STORAGE[family]}/{BITS[family]} dev eth1")


def seen_as(asking: Client, address: str, port: int = PORT) -> str:
    """How the server sees a new flow of datagrams."""
    return ask(asking, "udp", 10, (address, port))


@FAMILIES
def test_a_pod_is_seen_under_the_address_of_the_network_by_which_it_leaves(
    made: Cluster, asking: Client, family: int
) -> None:
    node, outside = (str(machine.addresses[family]) for machine in (made.site.machine("n1"), made.site.outside))
    assert both(asking, (SERVER[family], PORT)) == {STORAGE[family]}
    assert both(asking, (outside, PORT)) == {node}
    assert ask(asking, "segments", 16_000, (SERVER[family], PORT)) == STORAGE[family]
    for address in (SERVER[family], outside):
        argv = ["ping", "-n", "-c", "1", "-W", "2", address]
        assert " 1 received" in asking.machine.run(*argv, context=asking.context).stdout


@FAMILIES
def test_a_pod_is_seen_under_the_source_that_a_route_names(made: Cluster, asking: Client, family: int) -> None:
    node = made.site.machine("n1")
    hold(node, family, "add", THIRD[family])
    route = f"route add {BEYOND[family]} via {SERVER[family]} src {THIRD[family]}"
    ip(node, family, route)
    try:
        assert seen_as(asking, BEYOND[family], BOUND) == THIRD[family]
        assert ask(asking, "tcp", WRITTEN, (BEYOND[family], PORT)) == THIRD[family]
    finally:
        ip(node, family, route.replace("add", "del"))
        hold(node, family, "del", THIRD[family])


@FAMILIES
def test_a_pods_way_by_a_rule_for_it_has_the_address_there(made: Cluster, asking: Client, family: int) -> None:
    """As an egress gateway is set up: the rule asks for the pod, whose packets leave under another address."""
    node = made.site.machine("n1")
    own = made.pod("asking")["status"]["podIPs"][family]["ip"]
    ip(node, family, f"route add default via {SERVER[family]} dev eth1 table 77")
    ip(node, family, f"rule add from {own} lookup 77")
    try:
        assert seen_as(asking, BEYOND[family], BOUND) == STORAGE[family]
        assert ask(asking, "tcp", WRITTEN, (BEYOND[family], PORT)) == STORAGE[family]
    finally:
        ip(node, family, f"rule del from {own} lookup 77")
        ip(node, family, "route del default table 77")


@FAMILIES
def test_flows_follow_when_the_nodes_address_changes_and_others_notice_nothing(
    made: Cluster, asking: Client, family: int
) -> None:
    node, outside = made.site.machine("n1"), str(made.site.outside.addresses[family])
    with (
        talking(asking, "udp", SERVER[family]) as moving,
        talking(asking, "tcp", SERVER[family]) as connected,
        talking(asking, "udp", outside) as staying,
        talking(asking, "tcp", outside) as still_connected,
        renumbered(node, family),
    ):
        new_s = until(lambda: seen_as(asking, SERVER[family]) == OTHER[family])
        until(lambda: moving["seen"][-1] == OTHER[family] and "end" in connected)
        time.sleep(SILENT_S)
    assert moving["seen"][:2] == [STORAGE[family], OTHER[family]]
    assert moving["silent_s"] < new_s + SILENT_S
    assert connected["end"] in {"ConnectionResetError", "BrokenPipeError"}
    assert staying["seen"] == [str(node.addresses[family])]
    assert staying["silent_s"] < new_s + SILENT_S / 2
    assert still_connected["end"] == "alive"


@FAMILIES
def test_flows_follow_when_their_route_moves_to_another_network(made: Cluster, asking: Client, family: int) -> None:
    node, outside = made.site.machine("n1"), str(made.site.outside.addresses[family])
    with talking(asking, "udp", outside, BOUND) as moving, talking(asking, "udp", SERVER[family]) as staying:
        ip(node, family, f"route add {outside} via {SERVER[family]} dev eth1")
        try:
            new_s = until(lambda: seen_as(asking, outside, BOUND) == STORAGE[family])
            until(lambda: moving["seen"][-1] == STORAGE[family])
            time.sleep(SILENT_S)
        finally:
            ip(node, family, f"route del {outside}")
        new_s = max(new_s, until(lambda: seen_as(asking, outside, BOUND) == str(node.addresses[family])))
        until(lambda: moving["seen"][-1] == str(node.addresses[family]))
    assert moving["seen"] == [str(node.addresses[family]), STORAGE[family], str(node.addresses[family])]
    assert moving["silent_s"] < new_s + SILENT_S
    assert staying["seen"] == [STORAGE[family]]


@FAMILIES
def test_a_large_stream_goes_by_the_storage_network(asking: Client, family: int) -> None:
    assert ask(asking, "tcp", 8 * WRITTEN, (SERVER[family], PORT)) == STORAGE[family]
