"""Services of type LoadBalancer are given addresses of a pool, which nodes announce, whoever of the agents dies."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import agents
from lab.addresses import POOL4, POOL6
from lab.agents import LOAD_BALANCER
from lab.kubernetes import balancer
from lab.kubernetes.cluster import Cluster
from lab.machine import Machine
from lab.site import ANNOUNCED
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import Manifest, server, service

pytestmark = pytest.mark.cluster
FLAGS = LOAD_BALANCER[ANNOUNCED]
WEB = {"app": "web"}
MANY = 24
TAKEN_OVER_S = 180.0  # a Lease of 15 s, on a machine that is busy


@dataclass(frozen=True, slots=True)
class Balanced:
    """A namespace of a cluster in which some nodes allocate and announce."""

    namespace: Namespace
    nodes: Mapping[str, Machine]  # those, which are on the subnet of the host outside

    def addresses(self, name: str) -> list[str]:
        """What a Service has been given."""
        return _addresses(self.namespace.get("service", name))

    def given(self) -> dict[str, list[str]]:
        """What every Service of the namespace has been given."""
        return {item["metadata"]["name"]: _addresses(item) for item in self.namespace.get("services")["items"]}

    def leader(self) -> str:
        """The node that allocates; empty before there is one."""
        path = "/apis/coordination.k8s.io/v1/namespaces/sluiceway/leases/loadbalancer-pools"
        found = self.namespace.cluster.kubectl.run("get", "--raw", path, check=False)
        holder = json.loads(found.stdout)["spec"].get("holderIdentity") if found.returncode == 0 else None
        return str(holder or "").partition("_")[0]

    def begin_again(self, name: str) -> None:
        """Kill a node's agent and start it anew."""
        agents.kill(self.nodes[name])
        agents.start_again(self.nodes[name], flags=FLAGS)


def _addresses(item: Any) -> list[str]:
    return [entry["ip"] for entry in item["status"]["loadBalancer"].get("ingress", ())]


@pytest.fixture(scope="module")
def balanced(cluster: Cluster) -> Iterator[Balanced]:
    """Two nodes or three that give addresses of a pool, and announce them."""
    site, namespace = cluster.site, Namespace(cluster, f"test-{uuid.uuid4().hex[:8]}")
    nodes = {node.name: node for node in site.neighbours}
    cluster.kubectl.run("create", "namespace", namespace.name)
    cluster.kubectl.apply(json.dumps(balancer.POOL))
    for node in nodes.values():
        agents.stop(node)
        agents.start_again(node, flags=FLAGS)
    try:
        for node in nodes.values():
            agents.wait(node)
        yield Balanced(namespace, nodes)
        namespace.kubectl("delete", "service", "--all", "--timeout=180s")  # which waits for who allocates
    finally:
        for node in nodes.values():
            agents.stop(node)
            agents.start_again(node)
            agents.wait(node)
        cluster.kubectl.run("delete", "lbpool", balancer.POOL["metadata"]["name"])
        cluster.kubectl.run("delete", "namespace", namespace.name, "--wait=false")


def balancing(name: str, **spec: object) -> Manifest:
    return service(name, WEB, type="LoadBalancer", **spec)


def asked(outside: Machine, address: str) -> subprocess.CompletedProcess[str]:
    host = f"[{address}]" if ":" in address else address
    return outside.run("curl", "-gsS", "-m", "2", f"http://{host}/hostname", check=False)


def announced(node: Machine) -> list[dict[str, Any]]:
    """What dpctl shows on a node."""
    found: list[dict[str, Any]] = json.loads(
        node.run(str(Path(sys.prefix) / "bin" / "dpctl"), "announce", "list", "-o", "json").stdout
    )
    return found


def told(row: dict[str, Any]) -> tuple[str, str, str]:
    """Who answers for an address, as a node knows."""
    return row["address"], row["service"], row["node"]


def test_a_service_is_given_addresses_at_which_the_outside_reaches_it(balanced: Balanced) -> None:
    balanced.namespace.apply(server("web", node="n1", labels=WEB), balancing("web", externalTrafficPolicy="Local"))
    assert eventually(lambda: len(balanced.addresses("web")) == 2)
    found = balanced.namespace.get("service", "web")
    assert [one["status"] for one in found["status"]["conditions"] if one["type"].startswith("sluiceway.io")] == [
        "True"
    ]
    four, six = sorted(balanced.addresses("web"), key=lambda text: ":" in text)
    assert any(four == str(one) for one in POOL4.hosts())
    assert any(six == str(POOL6[number]) for number in range(1, 9))
    outside = balanced.namespace.cluster.site.outside
    for address in (four, six):
        assert eventually(lambda address=address: asked(outside, address).stdout == "web"), address  # type: ignore[misc]
    # the pod's node answers for them, and all know that
    assert eventually(lambda: [row["is_here"] for row in announced(balanced.nodes["n1"])] == [True, True])
    known = [(address, f"{balanced.namespace.name}/web", "n1") for address in (four, six)]
    for node in balanced.nodes.values():
        assert eventually(lambda node=node: [told(row) for row in announced(node)] == known), announced(node)  # type: ignore[misc]
    status = balanced.namespace.cluster.kubectl.get("lbpool", balancer.POOL["metadata"]["name"])["status"]
    assert status["used"] == 2
    balanced.namespace.kubectl("delete", "service", "web", "--timeout=180s")


def test_what_a_service_cannot_have_is_told_in_an_event(balanced: Balanced) -> None:
    balanced.namespace.apply(balancing("wishful", loadBalancerIP="192.0.2.1"))

    def is_told() -> bool:
        return "192.0.2.1 is in no LoadBalancerPool" in balanced.namespace.kubectl("describe", "service", "wishful")

    assert eventually(is_told), balanced.namespace.kubectl("describe", "service", "wishful")
    balanced.namespace.kubectl("delete", "service", "wishful", "--timeout=180s")


def test_no_address_is_given_twice_when_who_allocates_dies(balanced: Balanced) -> None:
    names = [f"many-{number}" for number in range(MANY)]
    assert eventually(lambda: bool(balanced.leader()))
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(balanced.namespace.apply, *(balancing(name) for name in names))
        assert eventually(lambda: any(balanced.given().values()))
        balanced.begin_again(balanced.leader())  # in the midst of them
        early = balanced.given()
        applying.result()
    balanced.namespace.apply(balancing("late"))
    assert eventually(lambda: all(len(found) == 2 for found in balanced.given().values()), TAKEN_OVER_S)
    given = balanced.given()
    assert len(given) == MANY + 1
    every = [address for found in given.values() for address in found]
    assert len(set(every)) == len(every)
    assert all(set(found) <= set(given[name]) for name, found in early.items()), "what was given stays"
