"""The encapsulation of running nodes is changed by other agents; connections between pods of one node never notice."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import agents, cluster, site, use
from lab.agents import DAEMON
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from lab.use import SERVER_PORT, Client

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

# each mode, by which kind of device, and what of the former must be gone
CHANGES = (("vxlan", "vxlan"), ("ipip", "veth"), ("geneve", "vxlan"), ("native", ""))
ROUTES = "ip route show proto 89; ip -6 route show proto 89"
PROBE = (sys.executable, "-I", "-S", str(Path(__file__).with_name("probe.py")))
PROBE_PORT = 7000
LARGE = 1472  # an echo request that fills the 1500 bytes of a pod's interface, as ADD made it natively


@pytest.mark.timeout(900)  # ten agents start in it
def test_a_mode_follows_another_and_no_connection_on_a_node_is_lost() -> None:
    name = f"swlab-change-{os.getpid()}"
    try:
        made = cluster.up(name, Options(nodes=2, socket_lb=False), print)
        near = use.serve(made, "near", "n1", {"app": "near"})
        far = made.run("far", "n2", [*PROBE, "serve", str(PROBE_PORT)])
        asking = use.idle(made, "asking", "n1")
        # the agents come again with other flags, for which the programs and maps are theirs already
        with use.load(made, "loading", "n1", (near["status"]["podIPs"][0]["ip"], SERVER_PORT)) as load:
            for mode, kind in CHANGES:
                change(made, mode)
                for node in made.site.nodes:
                    assert device(node) == kind
                    assert is_by_tunnel(node) == (mode != "native")
                for ip in far["status"]["podIPs"]:
                    reach(asking, ip["ip"])
                if mode != "native":
                    large(asking, far["status"]["podIPs"][0]["ip"])
        assert load.seen is not None
        assert load.seen.errors == {}
        assert load.seen.opened > 0
        assert load.seen.exchanged > 0
        leave(made, "ipip")
    finally:
        site.remove(name)


def change(made: Cluster, mode: str) -> None:
    """Every node's agent ends, and another starts in its place."""

    def restart(node: Machine) -> None:
        agents.stop(node)
        agents.start_again(node, flags=[f"--encapsulation={mode}"])
        agents.wait(node)

    with ThreadPoolExecutor() as pool:
        list(pool.map(restart, made.site.nodes))


def reach(asking: Client, address: str) -> None:
    """Large writes both ways, and a datagram over the MTU."""
    for kind, size in (("tcp", 1 << 20), ("udp", 4000)):
        asking.machine.run(*PROBE, "ask", kind, str(size), address, str(PROBE_PORT), context=asking.context)


def large(asking: Client, address: str) -> None:
    """What fits the pod's interface, and not the tunnel, is told so by the node."""
    argv = ["ping", "-n", "-M", "do", "-c", "2", "-i", "0.2", "-W", "0.5", "-s", str(LARGE), address]
    done = asking.machine.run(*argv, check=False, context=asking.context)
    assert " 0 received" in done.stdout
    assert "mtu" in done.stdout + done.stderr


def device(node: Machine) -> str:
    """The kind of the tunnel's device; empty: there is none."""
    shown = node.run("ip", "-d", "-o", "link", "show").stdout
    assert ("swtunnel-peer" in shown) == ("swtunnel@swtunnel-peer" in shown)
    found = [line for line in shown.splitlines() if " swtunnel" in line and " swtunnel-peer@" not in line]
    return next((kind for kind in ("vxlan", "veth", "geneve") for line in found if f" {kind} " in line), "")


def is_by_tunnel(node: Machine) -> bool:
    """Whether all routes to the other node's pods, or none, are by the tunnel."""
    routes = [r for r in node.run("bash", "-c", ROUTES).stdout.splitlines() if "metric 89" in r]
    assert len(routes) == 2  # one a family
    by_tunnel = {"dev swtunnel" in route for route in routes}
    assert len(by_tunnel) == 1
    return by_tunnel.pop()


def leave(made: Cluster, mode: str) -> None:
    """Cleanup takes away what a mode made."""
    change(made, mode)
    for node in made.site.nodes:
        node.stop(DAEMON, signal.SIGTERM)
        node.run(str(Path(sys.prefix) / "bin" / "sluiceway-agent"), "cleanup")
        assert device(node) == ""
        assert node.run("bash", "-c", ROUTES).stdout == ""
