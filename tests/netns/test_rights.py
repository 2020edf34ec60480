"""The manifests grant an agent what it asks the API server for, and nothing else."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from agent.kube.client import Client, connect
from agent.kube.event_book import QUIET_S
from agent.kube.events import Events
from agent.kube.leases import NAMESPACE
from agent.model.ip_pool import POOLS as IP_POOLS
from agent.model.name import ObjectName
from agent.model.network import NETWORKS
from agent.netlink import netns as namespace
from agent.threads import Threads
from agent.watch.decode.ip_block import IP_BLOCK_KIND
from agent.watch.decode.ip_pool import IP_POOL_KIND
from tests.agent.kube.lease_server import LeaseServer, kubeconfig
from tests.netns.agents import READY_S, Node
from tests.netns.pods import Runtime
from tests.netns.test_network import asks
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]
MANIFESTS = Path(__file__).resolve().parents[2] / "deploy" / "manifests"
SERVICES, PODS = "/api/v1/namespaces/default/services", "/api/v1/pods"
POOLS = "/apis/sluiceway.io/v1alpha1/loadbalancerpools"
WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
POLICY = {
    "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"},
    "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]},
}
NODE = {
    "metadata": {"name": "n1"},
    "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
}
DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"
MULTI = "/apis/k8s.cni.cncf.io/v1beta1/multi-networkpolicies"
DEFINITION = {
    "metadata": {"name": "lan", "namespace": "default", "resourceVersion": "1"},
    "spec": {"config": '{"cniVersion": "1.0.0", "type": "answers"}'},
}
ANSWERS = '#!/bin/sh\necho \'{"cniVersion": "1.0.0"}\'\n'
POOL = {"metadata": {"name": "edge", "resourceVersion": "1", "uid": "p"}, "spec": {"cidrs": ["198.51.100.0/28"]}}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource, as RBAC has them."""

    verb: str
    group: str
    resource: str  # with the subresource
    namespace: str  # where it is granted or used; "*": everywhere

    @property
    def granted(self) -> "Right":
        """As the roles have it: but for leases in all namespaces."""
        return self if self.resource == "leases" else Right(self.verb, self.group, self.resource, "*")

    def __str__(self) -> str:
        return f"cannot {self.verb} {self.resource} of {self.group or 'the core'}"


OF_BGP = {  # test_bgp_rights has them, with BIRD
    Right("patch", "sluiceway.io", f"{kind}/status", "*") for kind in ("bgppeers", "bgpfilters", "bgpconfigurations")
}


@dataclass
class Grants:
    """Takes away every right until it is missed once."""

    missed: set[Right] = field(default_factory=set)

    def __call__(self, method: str, target: str) -> str:
        """Why a request is forbidden."""
        right = used(method, target).granted
        if right in self.missed:
            return ""
        self.missed.add(right)
        return str(right)


def used(method: str, target: str) -> Right:
    """The right that a request needs."""
    url = urlsplit(target)
    parts = url.path.strip("/").split("/")
    group, rest = (parts[1], parts[3:]) if parts[0] == "apis" else ("", parts[2:])
    where = "*"
    if rest[0] == "namespaces" and len(rest) > 2:
        where, rest = rest[1], rest[2:]
    read = "watch" if "watch=true" in url.query else "get" if len(rest) > 1 else "list"
    return Right(WRITES.get(method, read), group, "/".join([rest[0], *rest[2:]]), where)


def granted() -> Iterator[Right]:
    """What the agents' roles say, of every manifest."""
    for name in ("sluiceway.yaml", "loadbalancer.yaml", "networks.yaml", "ippools.yaml", "bgp.yaml"):
        for role in yaml.safe_load_all((MANIFESTS / name).read_text()):
            for rule in () if "cleanup" in role["metadata"]["name"] else role.get("rules", ()):
                where = role["metadata"].get("namespace", "*")
                yield from (
                    Right(verb, group, resource, where)
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                )


def service(name: str, address: str, **more: Any) -> dict[str, Any]:
    """One that wants a load balancer's address."""
    about = {"name": name, "namespace": "default", "resourceVersion": "1", "uid": name}
    wanted = {"type": "LoadBalancer", "clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"]}
    return {"metadata": about, "spec": {**wanted, "ports": [{"port": 80}], **more}, "status": {"loadBalancer": {}}}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "node").mkdir()
    made = Node.make(f"swright{os.getpid()}", tmp_path / "node")
    yield made
    made.remove()


@pytest.fixture
def api(node: Node) -> Iterator[LeaseServer]:
    """An API server without streaming lists, in the node's namespace, with what makes an agent use all its rights."""
    with namespace.inside(f"/run/netns/{node.name}"):
        made = LeaseServer()
    made.knows_streams = False
    made.live = {IP_POOL_KIND.path, IP_BLOCK_KIND.path, PODS}
    services = (service("web", "10.96.0.10"), service("elsewhere", "10.96.0.11", loadBalancerIP="203.0.113.1"))
    made.lists = {
        "/api/v1/nodes": [made.store("/api/v1/nodes/n1", NODE)],
        "/api/v1/namespaces": [made.store("/api/v1/namespaces/default", {"metadata": {"name": "default"}})],
        "/api/v1/services": [made.store(f"{SERVICES}/{one['metadata']['name']}", one) for one in services],
        "/apis/networking.k8s.io/v1/networkpolicies": [POLICY],
        DEFINITIONS: [DEFINITION],
        MULTI: [POLICY],
        POOLS: [made.store(f"{POOLS}/edge", POOL)],
    }
    yield made
    made.stop()


def event_counts_on(node: Node, api: LeaseServer) -> None:
    """What happens again five minutes later is written into the Event that is there."""
    now = [0.0]
    client = Client(lambda: connect(kubeconfig(node.root, api.port)))
    events = Events(client, "n1", Threads(), lambda: now[0] + time.monotonic())
    pod = ObjectName("default", "web-0")
    with namespace.inside(f"/run/netns/{node.name}"):
        events.start()
    events.no_address(pod, "", "podCIDR is used up")
    until(lambda: any(path.startswith("/api/v1/namespaces/default/events/web-0") for path in api.objects))
    now[0] += QUIET_S
    events.no_address(pod, "", "podCIDR is used up")
    until(lambda: any(method == "PATCH" and "/events/web-0" in path for method, path in api.asked))
    events.end()
    events.join()


def a_pod_has_a_network(node: Node, api: LeaseServer, runtime: Runtime) -> None:
    """One whose runtime tells no annotations, and which no watch brings in time; once it may not be asked for."""
    (node.root / "bin/answers").write_text(ANSWERS)
    (node.root / "bin/answers").chmod(0o755)
    pod = runtime.make()
    about = {"name": pod, "namespace": "default", "annotations": {NETWORKS: "lan"}}
    api.store(f"/api/v1/namespaces/default/pods/{pod}", {"kind": "Pod", "metadata": about})
    runtime.wait()
    code, answer = runtime.call("ADD", pod)
    assert (code != 0, "cannot get pods" in str(answer)) == (True, True)
    assert "nor the pools that it asks for" in str(runtime.call("ADD", pod))
    with api.lock:
        api.store(f"{PODS}/{pod}", {"metadata": about, "spec": {"nodeName": "n1"}})
    until(lambda: runtime.call("ADD", pod)[0] == 0)
    until(lambda: any(path.endswith(f"/pods/{pod}/status") for _, path in [*api.asked]))
    assert runtime.call("DEL", pod) == (0, {})


def a_pod_has_an_address_of_a_pool(api: LeaseServer, runtime: Runtime) -> None:
    """One that asks for a static address, whose block goes with it; once none may be claimed."""
    with api.lock:
        spec = {"cidrs": ["10.60.0.0/28"], "static": ["10.60.0.0/28"]}
        api.store(f"{IP_POOL_KIND.path}/lan", {"metadata": {"name": "lan"}, "spec": spec})
    pod, wanted = runtime.make(), asks("", **{IP_POOLS: "lan", "sluiceway.io/ipv4": "10.60.0.5"})
    until(lambda: "cannot create ipblocks" in str(runtime.call("ADD", pod, **wanted)))
    until(lambda: runtime.call("ADD", pod, **wanted)[0] == 0)
    assert runtime.call("DEL", pod) == (0, {})


def test_an_agent_misses_each_right_of_the_manifests_by_name_and_uses_no_other(node: Node, api: LeaseServer) -> None:
    """Each is taken away until it is missed, and from then on all goes on."""
    wanted, grants = {one for one in granted() if one not in OF_BGP}, Grants()
    api.forbids = grants
    counts_on, once = Right("patch", "", "events", "*"), Right("get", "", "nodes", "*")  # asked when a lease is made
    log = node.root / "agent.log"
    duties = ("--loadbalancer-pools=on", "--l2-announce=on", "--networks=on", "--router=on", "--ip-pools=on")
    with log.open("w") as written:
        process = node.start_with_api(kubeconfig(node.root, api.port), *duties, log=written)
    runtime = Runtime(node)
    a_pod_has_a_network(node, api, runtime)
    a_pod_has_an_address_of_a_pool(api, runtime)
    runtime.close()

    def so_far() -> set[Right]:
        return {used(*request).granted for request in [*api.asked]}

    deadline = time.monotonic() + READY_S
    while (unused := wanted - {counts_on, once} - so_far()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not unused
    node.end(process)
    said = log.read_text()
    assert [str(right) for right in wanted - {counts_on} if f"HTTP 403: {right}" not in said] == []
    event_counts_on(node, api)
    assert so_far() | {once} == wanted == grants.missed
    assert {one.namespace for one in wanted if one.resource == "leases"} == {NAMESPACE}
