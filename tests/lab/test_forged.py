"""Nobody speaks for another: not by what is encapsulated, from a pod, a node or outside, nor to its node's link."""

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import cluster, site, use
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from lab.use import Client
from tests.lab.modes import addresses

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

FORGE = (sys.executable, "-I", "-S", str(Path(__file__).with_name("forge.py")))
PORT, COUNT = 7070, 3
STRANGER = "203.0.113.77"
NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Lab:
    """A cluster whose nodes encapsulate, with a pod on each."""

    cluster: Cluster
    mode: str
    pods: dict[str, Client]  # by node
    ips: dict[str, str]

    def node(self, name: str) -> Machine:
        """A node."""
        return self.cluster.site.machine(name)

    def address(self, name: str) -> str:
        """A machine's own IPv4 address."""
        return str(self.node(name).addresses[0])

    def dropped(self, name: str, reason: str) -> int:
        """Packets that a node has dropped for a reason."""
        rows = json.loads(self.node(name).run("dpctl", "status", "-o", "json").stdout)
        return sum(row["packets"] for row in rows if row.get("reason") == reason.lower())


@pytest.fixture(scope="module", params=["vxlan", "geneve", "ipip"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    name = f"swlab-forged-{os.getpid()}"
    try:
        made = cluster.up(name, Options(socket_lb=False, encapsulation=request.param), print)
        items = {node: made.run(f"at-{node}", node, ["sleep", "infinity"]) for node in made.site.node_names}
        clients = {node: use.client(made, item) for node, item in items.items()}
        yield Lab(made, request.param, clients, {node: addresses(item)[0] for node, item in items.items()})
    finally:
        site.remove(name)


def forge(lab: Lab, by: Client, to: str, hears: str, sources: list[str]) -> list[str]:
    """What the pod of the node *hears* hears, while *by* sends *to*; a pod of another node ends it."""
    hearing, other = lab.pods[hears], lab.pods["n3" if hears != "n3" else "n1"]
    called = f"hear-{next(NUMBERS)}"
    hearing.machine.daemon(called, [*FORGE, "hear", str(PORT)], context=hearing.context)
    while not hearing.machine.log_tail(called).startswith("hearing"):
        time.sleep(0.01)
    sent = [lab.mode, to, str(COUNT), lab.ips[hears], str(PORT), *sources]
    by.machine.run(*FORGE, "send", *sent, context=by.context, check=False)
    while hearing.machine.daemon_process(called) is not None:
        other.machine.run(*FORGE, "say", lab.ips[hears], str(PORT), "a pod", context=other.context)
        other.machine.run(*FORGE, "say", lab.ips[hears], str(PORT), "end", context=other.context)
    return hearing.machine.log_tail(called).split("\n")[1:]


def hostile(lab: Lab, hears: str) -> list[str]:
    """Addresses that are not the sender's to use: another pod's, another node's, a stranger's."""
    return [lab.ips["n3" if hears != "n3" else "n2"], lab.address("n3"), STRANGER]


@pytest.mark.parametrize("hears", ["n1", "n2"], ids=["its own node's", "another node's"])
def test_a_pod_does_not_speak_for_others_through_the_tunnel(lab: Lab, hears: str) -> None:
    before = lab.dropped("n1", "TUNNEL_POD")
    heard = forge(lab, lab.pods["n1"], lab.address(hears), hears, hostile(lab, hears))
    assert set(heard) <= {"a pod"}
    assert lab.dropped("n1", "TUNNEL_POD") - before == COUNT * 3


def test_nobody_outside_speaks_through_the_tunnel(lab: Lab) -> None:
    before = lab.dropped("n1", "TUNNEL_OUTER")
    heard = forge(lab, use.host(lab.cluster.site.outside), lab.address("n1"), "n1", hostile(lab, "n1"))
    assert set(heard) <= {"a pod"}
    if lab.mode != "ipip":  # there it is nobody's, and left to the stack
        assert lab.dropped("n1", "TUNNEL_OUTER") - before == COUNT * 3


def test_a_node_speaks_for_its_own_pods_alone(lab: Lab) -> None:
    before = lab.dropped("n1", "TUNNEL_INNER")
    wrong = [lab.ips["n3"], lab.address("n3"), STRANGER, lab.address("n1")]
    heard = forge(lab, use.host(lab.node("n2")), lab.address("n1"), "n1", [*wrong, lab.ips["n2"]])
    assert set(heard) <= {"a pod", f"forged from {lab.ips['n2']}"}
    assert heard.count(f"forged from {lab.ips['n2']}") == COUNT
    assert lab.dropped("n1", "TUNNEL_INNER") - before == COUNT * len(wrong)


def test_a_pods_tagged_frames_end_at_its_device(lab: Lab) -> None:
    before = lab.dropped("n1", "VLAN")
    pod = lab.pods["n1"]
    pod.machine.run(*FORGE, "tagged", "eth0", str(COUNT), context=pod.context)
    assert lab.dropped("n1", "VLAN") - before == COUNT


def test_a_pod_does_not_fill_its_nodes_neighbours(lab: Lab) -> None:
    pod, node = lab.pods["n1"], lab.node("n1")
    pod.machine.run(*FORGE, "arp", "eth0", "2000", context=pod.context)
    assert "10.244.20" not in node.run("ip", "neigh", "show").stdout
    assert lab.dropped("n1", "ARP") >= 2000
