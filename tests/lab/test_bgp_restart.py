"""A node's own BIRD dies under numbered datagrams, and comes back: without a BFD that takes the routes none is lost."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from lab import bird, cluster, site, use
from lab.addresses import OUTSIDE, ROUTER, pod_cidrs
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from lab.use import Client
from tests.lab.modes import PORT, PROBE, addresses, serve
from tests.lab.routers import peer, routes, say
from tests.lab.test_lossless import exchange
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

BFD = 200  # ms; five times that without a word is a peer that is gone
RESTART_S = 120  # for which a router keeps routes by graceful restart
LEAST = 100  # datagrams to each target, of 200 a second: the router's BFD alone takes a second to miss the node
TOR = f"""
log stderr all;
router id 10.88.0.1;
protocol device {{ scan time 10; }}
protocol bfd {{ interface "*" {{ interval {BFD} ms; multiplier 5; }}; }}
protocol direct {{ ipv4; ipv6; interface "br*"; }}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}
template bgp node {{
  local as {bird.TOR_ASN};
  graceful restart on;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import all; export none; }};
  ipv6 {{ import all; export none; }};
}}
protocol bgp n1 from node {{ local 10.88.0.1; neighbor 10.88.0.11 as 64512; bfd graceful; }}
protocol bgp n2 from node {{ local 10.88.1.1; neighbor 10.88.1.12 as 64512; bfd on; }}
"""
AT = {"n1": ("10.88.0.11", "10.88.0.1"), "n2": ("10.88.1.12", "10.88.1.1")}  # a node, and the router there


@pytest.fixture(scope="module")
def routed() -> Iterator[Cluster]:
    """A node of which the router takes BFD's loss as a restart, and one whose routes go with it."""
    name = f"swlab-test-bgp-restart-{os.getpid()}"
    try:
        made = cluster.up(name, Options(nodes=2, subnets=2, router=True), print)
        bird.run(made.site.machine(ROUTER), TOR)
        for node, (_, router) in AT.items():
            bfd = {"transmitInterval": BFD, "receiveInterval": BFD, "multiplier": 5, "graceful": node == "n1"}
            made.apply(peer(f"tor-{node}", node, router, bfd=bfd))
        yield made
    finally:
        site.remove(name)


@pytest.fixture(scope="module")
def servers(routed: Cluster) -> dict[str, list[tuple[str, int]]]:
    """What sends datagrams back on each node, once everybody knows the way there."""
    found = {node: [(ip, PORT) for ip in addresses(serve(routed, f"at-{node}", node, PORT)[0])] for node in AT}
    tor = routed.site.machine(ROUTER)
    for node, other in (("n1", "n2"), ("n2", "n1")):
        is_quiet(tor, node)
        for network in map(str, pod_cidrs(node)):
            for machine in (tor, routed.site.machine(other)):
                until(lambda of=network, at=machine: bool(routes(at, of)), f"{machine.name} has no way to {node}")  # type: ignore[misc]
    return found


def hears(tor: Machine, node: str) -> bool:
    """Whether the router's BFD hears of a node."""
    lines = bird.ask(tor, "show", "bfd", "sessions").splitlines()
    return any(line.startswith(f"{AT[node][0]} ") and " Up " in line for line in lines)


def is_quiet(tor: Machine, node: str) -> None:
    """Wait until the router has all of a node's, and nothing of before."""
    until(lambda: "Established" in bird.ask(tor, "show", "protocols", node), f"{node} is no peer")
    until(lambda: "restart active" not in bird.ask(tor, "show", "protocols", "all", node), "all is stale still")
    until(lambda: hears(tor, node), f"BFD does not hear of {node}")


@contextmanager
def numbered(routed: Cluster, *ways: tuple[Client, list[tuple[str, int]]]) -> Iterator[list[dict[str, Any]]]:
    """Datagrams to these targets all the while; what became of them is there behind it."""
    enough = routed.site.folder / "enough"
    enough.unlink(missing_ok=True)
    found: list[dict[str, Any]] = []
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(exchange, client, enough, targets) for client, targets in ways]
        try:
            yield found
        finally:
            enough.touch()
        found += [one.result() for one in running]


def test_no_datagram_is_lost_while_a_nodes_bird_is_dead_and_when_it_comes_back(
    routed: Cluster, servers: dict[str, list[tuple[str, int]]]
) -> None:
    n1, n2, tor = (routed.site.machine(name) for name in ("n1", "n2", ROUTER))
    outside, inside = use.host(routed.site.machine(OUTSIDE)), use.idle(routed, "asking", "n1")
    with numbered(routed, (outside, servers["n1"]), (inside, servers["n2"])) as found:
        n1.stop(bird.DAEMON, signal.SIGKILL)
        until(lambda: not hears(tor, "n1"), "BFD does not miss it")
        until(lambda: "Established" not in say(n2, "show", "protocols", "node_10_88_0_11"), "n2 does not miss it")
        bird.start(n1)
        is_quiet(tor, "n1")
        until(lambda: "Established" in say(n2, "show", "protocols", "node_10_88_0_11"), "n2 has no session")
        until(lambda: "restart active" not in say(n2, "show", "protocols", "all", "node_10_88_0_11"), "stale still")
    assert [one["missing"] for one in found] == [{}, {}]
    assert min(one["sent"] for one in found) > LEAST


def test_a_routers_bfd_that_is_not_graceful_takes_the_routes_with_the_nodes_bird(
    routed: Cluster, servers: dict[str, list[tuple[str, int]]]
) -> None:
    n1, n2, tor = (routed.site.machine(name) for name in ("n1", "n2", ROUTER))
    networks = [str(network) for network in pod_cidrs("n2")]
    is_quiet(tor, "n2")
    n2.stop(bird.DAEMON, signal.SIGKILL)
    began = time.monotonic()
    for network in networks:
        until(lambda of=network: not routes(tor, of), f"{network} is kept")  # type: ignore[misc]
    assert time.monotonic() - began < RESTART_S / 4, "by graceful restart's time, and not by BFD"
    assert all(routes(n1, network) for network in networks), "nodes have no BFD of each other"
    bird.start(n2)
    for network in networks:
        until(lambda of=network: bool(routes(tor, of)), f"{network} does not come back")  # type: ignore[misc]
    outside = routed.site.machine(OUTSIDE)
    for address, port in servers["n2"]:
        assert outside.run(*PROBE, "ask", "udp", "100", address, str(port)).stdout
