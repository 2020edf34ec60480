"""What an agent leaves alone where a duty is off: devices, rules, neighbours, qdiscs, others' firewall."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agents import Node
from tests.netns.listing import listing

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

OWN, CHAINED = "--network=own", "--network=chained"
NO_POLICY, NO_SERVICES, SERVICES = "--network-policy=off", "--service-proxy=off", "--service-proxy=on"
STATE = {"files", "pins"}  # its own
DATAPATH = {"programs", "sysctls", "routes"}  # forwarding is switched on, to which IPv6 adds routes of the node's
RESERVED = "net.ipv4.ip_local_reserved_ports = 30000-32767"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "node").mkdir()
    made = Node.make(f"swduty{os.getpid()}", tmp_path / "node")
    made.run("nft", "add table ip theirs; add chain ip theirs c { type filter hook forward priority 0; }")
    yield made
    made.remove()


def test_a_duty_that_is_off_leaves_its_things_alone(node: Node) -> None:
    before = listing(node)
    conflist = node.root / "conf/10-sluiceway.conflist"
    for flags, changed, makes_pods in (
        ((CHAINED, NO_POLICY, NO_SERVICES), set(), False),
        ((CHAINED,), {*DATAPATH, "cgroup"}, False),
        ((OWN, NO_POLICY, NO_SERVICES), DATAPATH, True),
        ((CHAINED, NO_POLICY, SERVICES), {*DATAPATH, "cgroup"}, False),
    ):
        with node.agent_runs(*flags):
            while makes_pods and not conflist.exists():  # pytest's own limit ends it
                time.sleep(0.05)
            now = listing(node)
            assert {kind for kind in before if now[kind] != before[kind]} == STATE | changed, flags
            assert (RESERVED in now["sysctls"]) == (SERVICES in flags), flags
            assert conflist.exists() == makes_pods, flags
        node.run(*node.agent("cleanup")[len(node.inside) :])
        assert listing(node) == before


def test_programs_go_with_the_last_duty_that_has_them(node: Node) -> None:
    before = listing(node)
    with node.agent_runs():
        assert listing(node)["programs"] != before["programs"]
    with node.agent_runs(CHAINED):  # which checks who sends, and no more
        assert "lo uplink_egress" not in listing(node)["programs"]
        assert "u0 uplink_ingress" in listing(node)["programs"]
    with node.agent_runs(CHAINED, NO_POLICY, NO_SERVICES):
        assert listing(node)["programs"] == before["programs"]
