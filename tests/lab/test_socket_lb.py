"""Whose sockets are given a backend: --socket-lb on, host and off, each after the other on one node."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.kernel.programs.hooks import SOCKET_HOOKS
from lab import agents, cluster, site, use
from lab.cluster import Cluster
from lab.machine import Machine
from lab.pods import Port
from lab.site import Options
from lab.use import SERVER_PORT, Client
from tests.lab import sidecar
from tests.lab.conftest import held_by_sockets

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

SIDECAR = (sys.executable, "-I", "-S", str(Path(sidecar.__file__)))
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
SERVICE = """
kind: Service
metadata: {name: echo}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: echo}
  ports: [{name: tcp, port: 80, targetPort: 8080}, {name: udp, port: 80, targetPort: 8080, protocol: UDP}]
"""
# the node's processes are not to send a packet to the services' addresses
GUARD = """
table inet guard {{
    chain output {{
        type filter hook output priority 0
        ip daddr {} reject
        ip6 daddr {} reject
    }}
}}
"""
# an unconnected socket that goes on: what it was given is kept until it is closed
HOLDS = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.sendto(b"x", (sys.argv[1], 80))
    print("sent", flush=True)
    time.sleep(600)
"""


@dataclass(frozen=True, slots=True)
class Meshed:
    """A node, a server, and a pod with a sidecar."""

    cluster: Cluster
    addresses: list[str]  # the service's
    backends: list[str]
    pod: Client

    @property
    def node(self) -> Machine:
        """The only one."""
        return self.cluster.site.machine("n1")


@pytest.fixture(scope="module")
def made() -> Iterator[Meshed]:
    """It starts with every socket served."""
    name = f"swlab-sidecar-{os.getpid()}"
    try:
        found = cluster.up(name, Options(nodes=1), print)
        (service,) = found.apply(SERVICE)
        server = use.serve(found, "web1", "n1", {"app": "echo"})
        ports = (Port("tcp", sidecar.PORT), Port("udp", sidecar.PORT, "UDP"))
        pod = use.client(found, found.run("meshed", "n1", SIDECAR, ports=ports))
        pod.machine.run("nft", "-f", "-", stdin=sidecar.RULES, context=pod.context)
        addresses = service["spec"]["clusterIPs"]
        found.site.machine("n1").run("nft", "-f", "-", stdin=GUARD.format(*addresses))
        yield Meshed(found, addresses, [ip["ip"] for ip in server["status"]["podIPs"]], pod)
    finally:
        site.remove(name)


@pytest.fixture(
    scope="module",
    params=["on", "host", "off", "host", "on"],
    ids=["on", "host", "off", "host again", "on again"],
)
def mode(made: Meshed, request: pytest.FixtureRequest) -> str:
    """Another agent in place of the last one."""
    agents.stop(made.node)
    agents.start_again(made.node, flags=[f"--socket-lb={request.param}"])
    agents.wait(made.node)
    found: str = request.param
    return found


@FAMILIES
def test_a_sidecar_sees_the_service_but_where_its_pods_sockets_are_served(made: Meshed, mode: str, family: int) -> None:
    service, backend = f"{made.addresses[family]} 80", f"{made.backends[family]} {SERVER_PORT}"
    seen = made.pod.ask("tcp", made.addresses[family], 80)
    assert (set(seen.names), seen.errors) == ({backend if mode == "on" else service}, {})


@FAMILIES
def test_a_sidecar_is_given_datagrams_but_where_its_pods_sockets_are_served(
    made: Meshed, mode: str, family: int
) -> None:
    seen = made.pod.ask("udp", made.addresses[family], 80)
    assert (set(seen.names), seen.errors) == ({"web1" if mode == "on" else sidecar.NAME}, {})


@FAMILIES
@KINDS
def test_the_nodes_own_processes_are_served_but_with_off(made: Meshed, mode: str, family: int, kind: str) -> None:
    seen = use.host(made.node).ask(kind, made.addresses[family], 80)
    assert seen.names == (frozenset() if mode == "off" else {"web1"})
    assert bool(seen.errors) == (mode == "off"), "the rule refuses what has the service's address"


def test_what_sockets_were_given_goes_with_the_hooks(made: Meshed, mode: str) -> None:
    pins = made.node.run("ls", "/sys/fs/bpf/sluiceway/links").stdout.split()
    assert SOCKET_HOOKS.keys() & set(pins) == (set() if mode == "off" else SOCKET_HOOKS.keys())
    if mode == "off":
        assert held_by_sockets(made.node) == 0
        made.node.stop("holds")
    elif made.node.daemon_process("holds") is None:
        made.node.daemon("holds", [sys.executable, "-u", "-c", HOLDS, made.addresses[0]])
        while "sent" not in made.node.log_tail("holds"):
            assert made.node.daemon_process("holds") is not None
        assert held_by_sockets(made.node) >= 1
