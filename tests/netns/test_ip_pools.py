"""Pods with addresses of pools: real agents of two nodes, real namespaces, one API server that both claim blocks at."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from agent.ipam.block_claims import PATH as BLOCKS
from agent.model.ip_pool import POOLS
from agent.netlink import netns as namespace
from agent.watch.decode.ip_pool import IP_POOL_KIND
from tests.agent.kube.lease_server import LeaseServer, kubeconfig
from tests.netns.agents import READY_S, Node
from tests.netns.pods import Runtime
from tests.netns.test_network import DEBIAN, TRY_LATER, addresses, asks, definition, links
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"
PODS, NODES, NAMESPACES = "/api/v1/pods", "/api/v1/nodes", "/api/v1/namespaces"
CONFIG = 7
BESIDE = {"type": "sluiceway-cni", "pool": "vlan100", "routes": [{"dst": "198.51.100.0/24"}]}


def pool(name: str, *cidrs: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs), **spec}}


def node_object(name: str, address: str, *cidrs: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDRs": list(cidrs)} if cidrs else {},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    root = tmp_path_factory.mktemp("i") / "n"
    root.mkdir()
    made = Node.make(f"swip{os.getpid()}", root)
    for plugin in ("macvlan",):
        (root / "bin" / plugin).symlink_to(DEBIAN / plugin)
    yield made
    made.remove()


@pytest.fixture
def api(node: Node) -> Iterator[LeaseServer]:
    """Pools, definitions, a node without a podCIDR and one that has claimed a block."""
    with namespace.inside(f"/run/netns/{node.name}"):
        made = LeaseServer()
    made.live = {BLOCKS, IP_POOL_KIND.path, DEFINITIONS, PODS, NODES, NAMESPACES}
    pools = (
        pool("all", "10.61.0.0/24", "fd00:61::/120", blockSize={"ipv4": 29, "ipv6": 125}, assignment="Automatic"),
        pool("blue", "10.62.0.0/28", static=["10.62.0.8/29"], blockSize={"ipv4": 29}),
        pool("red", "10.63.0.0/28", namespaceSelector={"matchLabels": {"team": "red"}}),
        pool("vlan100", "10.9.0.0/24", network="vlan100", gateways=["10.9.0.1"], blockSize={"ipv4": 28}),
    )
    with made.lock:
        for one in pools:
            made.store(f"{IP_POOL_KIND.path}/{one['metadata']['name']}", one)
        for one in (node_object("n1", "192.0.2.1"), node_object("n2", "192.0.2.2")):
            made.store(f"{NODES}/{one['metadata']['name']}", one)
        made.store(f"{NAMESPACES}/default", {"metadata": {"name": "default"}})
        theirs = {"cidr": "10.61.0.64/29", "pool": "all", "node": "n2"}
        made.store(f"{BLOCKS}/10.61.0.64-29", {"metadata": {"name": "10.61.0.64-29"}, "spec": theirs})
        for one in (
            definition("blue", type="sluiceway-cni", kind="veth", ipam={"type": "sluiceway-cni", "pool": "blue"}),
            definition("lan", type="macvlan", master="u0", capabilities={"ips": True}, ipam=BESIDE),
        ):
            made.store(f"{DEFINITIONS}/{one['metadata']['name']}", one)
    yield made
    made.stop()


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


def make(runtime: Runtime, api: LeaseServer) -> str:
    """A pod that the API has."""
    name = runtime.make()
    with api.lock:
        about = {"name": name, "namespace": "default"}
        api.store(f"{PODS}/{name}", {"metadata": about, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}})
    return name


def blocks(api: LeaseServer, name: str) -> dict[str, str]:
    """The blocks of a node, with their pools."""
    with api.lock:
        return {one["spec"]["cidr"]: one["spec"]["pool"] for one in api.below(BLOCKS) if one["spec"]["node"] == name}


def start(node: Node, api: LeaseServer, **environ: str) -> "subprocess.Popen[str]":
    flags = ("--ip-pools=on", "--networks=on")
    command = [word for word in node.agent("run", *flags) if not word.startswith("--manifests")]
    return node.start_command([*command, f"--kubeconfig={kubeconfig(node.root, api.port)}"], environ)


def test_pods_have_addresses_of_pools_on_a_node_without_a_pod_cidr(
    node: Node, api: LeaseServer, runtime: Runtime
) -> None:
    process = start(node, api)
    runtime.wait()
    first = make(runtime, api)
    code, result = runtime.call("ADD", first, **asks("blue@data0, lan@lan0"))
    assert code == 0, result
    there = links(runtime, first)
    eth0, data0, lan0 = (addresses(there[name]) for name in ("eth0", "data0", "lan0"))
    assert ip_address(eth0[0]) in ip_network("10.61.0.0/24")
    assert ip_address(eth0[1]) in ip_network("fd00:61::/120")
    assert (len(data0), ip_address(data0[0]) in ip_network("10.62.0.0/29")) == (1, True)
    (lan,) = there["lan0"]["addr_info"][:1]
    assert (ip_address(lan0[0]) in ip_network("10.9.0.0/24"), lan["prefixlen"]) == (True, 24)
    assert "198.51.100.0/24 via 10.9.0.1 dev lan0" in runtime.inside(first, "ip", "route")
    claimed = blocks(api, "n1")
    assert sorted(claimed.values()) == ["all", "all", "blue", "vlan100"]
    for address in (*eth0, *data0):
        node.run("ping", "-c1", "-w5", address)

    routes = json.loads(node.ip("-j route show proto 89"))
    assert {one["dst"]: one.get("gateway") for one in routes}["10.61.0.64/29"] == "192.0.2.2", "another's block"

    named = make(runtime, api)
    code, result = runtime.call("ADD", named, **asks("", **{POOLS: "blue", "sluiceway.io/ipv4": "10.62.0.9"}))
    assert (code, [ip["address"] for ip in result["ips"]]) == (0, ["10.62.0.9/32"]), result
    assert "10.62.0.9/32" in blocks(api, "n1"), "a static one is claimed alone"
    runtime.inside(named, "ping", "-c1", "-w5", eth0[0])
    other = make(runtime, api)
    code, error = runtime.call("ADD", other, **asks("", **{POOLS: "red"}))
    assert (code, "IPPool red is not for namespace default" in error["msg"]) == (CONFIG, True), error
    code, error = runtime.call("ADD", other, **asks("", **{POOLS: "green"}))
    assert (code, "there is no IPPool green" in error["msg"]) == (TRY_LATER, True), error

    for pod in (first, named):
        assert runtime.call("DEL", pod) == (0, {})
    assert runtime.left() == {}
    assert not [*(node.root / "state/leases").glob("*")]
    until(lambda: "10.62.0.9/32" not in blocks(api, "n1"), "nobody needs it any more")
    assert sorted(blocks(api, "n1")) == sorted(claimed), "what may be used again soon stays"
    node.end(process)


def test_an_agent_that_dies_with_a_lease_leaves_none(node: Node, api: LeaseServer, runtime: Runtime) -> None:
    pod = make(runtime, api)
    process = start(node, api, SLUICEWAY_FAIL_AT="LEASE noted")
    runtime.wait()
    assert runtime.call("ADD", pod, **asks("lan"))[0] == TRY_LATER
    assert process.wait(READY_S) == -signal.SIGKILL
    node.running.remove(process)
    process = start(node, api)
    runtime.wait()
    until(lambda: not [*(node.root / "state/leases").glob("*")], "whoever is half made is unmade")
    assert runtime.call("DEL", pod) == (0, {})
    again = make(runtime, api)
    code, result = runtime.call("ADD", again, **asks("lan"))
    assert code == 0, result
    assert runtime.call("DEL", again) == (0, {})
    assert runtime.left() == {}
    node.end(process)
