"""What an agent leaves alone where a duty is off: devices, rules, neighbours, qdiscs, others' firewall."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.netlink import netns as namespace
from tests.agent.kube.lease_server import LeaseServer, kubeconfig
from tests.netns.agents import Node
from tests.netns.listing import listing, programs, sysctls
from tests.netns.test_rights import NODE, POOL, POOLS, service
from tests.netns.test_rights import SERVICES as SERVICES_PATH
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

OWN, CHAINED = "--network=own", "--network=chained"
NO_POLICY, NO_SERVICES, SERVICES = "--network-policy=off", "--service-proxy=off", "--service-proxy=on"
POD_SERVICES, ROUTER = "--service-proxy=pods", "--router=on"
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
        ((CHAINED, NO_POLICY, NO_SERVICES, ROUTER), set(), False),
        ((CHAINED, POD_SERVICES), {*DATAPATH, "cgroup"}, False),
        ((CHAINED, SERVICES), {*DATAPATH, "cgroup"}, False),
        ((OWN, NO_POLICY, NO_SERVICES), DATAPATH, True),
        ((OWN, NO_SERVICES), DATAPATH, True),
        ((CHAINED, NO_POLICY, SERVICES), {*DATAPATH, "cgroup"}, False),
    ):
        with node.agent_runs(*flags):
            for is_wanted, is_there in (
                (makes_pods, conflist.exists),
                (SERVICES in flags, lambda: RESERVED in sysctls(node)),
            ):
                while is_wanted and not is_there():  # comes soon after the agent is ready; pytest's own limit ends it
                    time.sleep(0.05)
                assert is_there() == is_wanted, flags
            now = listing(node)
            assert {kind for kind in before if now[kind] != before[kind]} == STATE | changed, flags
        node.run(*node.agent("cleanup")[len(node.inside) :])
        assert listing(node) == before


def test_allocating_load_balancers_addresses_alone_leaves_the_node_as_it_is(node: Node) -> None:
    with namespace.inside(f"/run/netns/{node.name}"):
        api = LeaseServer()
    api.knows_streams = False
    path = f"{SERVICES_PATH}/web"
    api.lists = {
        "/api/v1/nodes": [NODE],
        "/api/v1/services": [api.store(path, service("web", "10.96.0.10"))],
        POOLS: [api.store(f"{POOLS}/edge", POOL)],
    }
    config = kubeconfig(node.root, api.port)
    before, there = listing(node), {*node.root.rglob("*")}
    try:
        agent = node.start_with_api(config, CHAINED, NO_POLICY, NO_SERVICES, "--loadbalancer-pools=on")
        until(lambda: api.objects[path]["status"]["loadBalancer"] != {})
        node.wait_ready()
        serving, files = listing(node), {*node.root.rglob("*")}
        node.end(agent)
    finally:
        api.stop()
    assert api.objects[path]["status"]["loadBalancer"]["ingress"][0]["ip"].startswith("198.51.100.")
    for now in (serving, listing(node)):
        assert {kind for kind in before if now[kind] != before[kind]} == STATE
    assert [*node.pins.glob("links/*")] == [], "a hook has a program"
    own = ("state", "run", "cache", "bin/sluiceway-cni")  # the plugin, for a conflist that may name it
    more = {path.relative_to(node.root) for path in files - there if not path.is_relative_to(node.bpffs)}
    assert {path for path in more if not any(path.is_relative_to(one) for one in own)} == set()
    node.run(*node.agent("cleanup")[len(node.inside) :])
    assert listing(node) == before


def test_what_a_duty_has_goes_with_the_next_agent_that_has_it_not(node: Node) -> None:
    before = listing(node)
    with node.agent_runs():
        while RESERVED not in sysctls(node):  # as above
            time.sleep(0.05)
        assert {"lo uplink_egress", "u0 uplink_ingress", "u0 uplink_egress"} == {*programs(node)}
    with node.agent_runs(CHAINED):  # which checks who sends, and no more
        while RESERVED in sysctls(node):
            time.sleep(0.05)
        assert programs(node) == ["u0 uplink_ingress"]
    with node.agent_runs(CHAINED, NO_POLICY, NO_SERVICES):
        assert programs(node) == []
    node.run(*node.agent("cleanup")[len(node.inside) :])
    assert listing(node) == before
