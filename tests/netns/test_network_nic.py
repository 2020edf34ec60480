"""Interfaces of pods that the agent makes of the node's devices: real agents, real namespaces.

This kernel may have neither ipvlan nor vlan: the guest of ``tests/fastpath`` has.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.model.network import DEFAULT_NETWORK
from agent.model.policy import POLICY_FOR
from agent.pods import fail_points
from agent.pods.nic.record import FOLDER
from tests.netns.agents import READY_S, Node
from tests.netns.pods import CLUSTER6, Runtime
from tests.netns.test_network import addresses, asks, definition, flags, links, records, write
from tests.netns.test_network_own import counted, dpctl, pod_object, reaches
from tests.patience import until

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

DEBIAN = Path("/usr/lib/cni")
CONFIG = 7
SERVER = (
    "import socket as s;l=s.create_server(('::',8080),family=10,dualstack_ipv6=True)\nwhile 1:l.accept()[0].close()"
)
CLIENT = "import socket,sys;socket.create_connection((sys.argv[1],int(sys.argv[2])),2,(sys.argv[3],0)).recv(1)"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ipFamilies: [IPv4], ports: [{port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.70.0.9], conditions: {ready: true}}]
"""


def own(name: str, kind: str, root: Path, **config: Any) -> dict[str, Any]:
    """A definition of a kind of ours, with addresses of both families of a folder of its own."""
    ipam = {
        "type": "host-local",
        "dataDir": str(root / "ipam"),
        "ranges": [[{"subnet": "10.70.0.0/24", "rangeStart": "10.70.0.20"}], [{"subnet": "fd00:70::/64"}]],
        "routes": [{"dst": "10.96.0.0/16", "gw": "10.70.0.9"}],
    }
    return definition(name, type="sluiceway-cni", kind=kind, **{"ipam": ipam, **config})


def first(root: Path) -> dict[str, Any]:
    """The definition of a network that a pod's first interface can be on."""
    one = own("first", "macvlan", root, master="n0")
    return {**one, "metadata": {"name": "first", "namespace": "kube-system"}}


def every(root: Path, *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        own("mac", "macvlan", root, master="n0", mtu=1400, capabilities={"mac": True}),
        own("moved", "host-device", root, device="d0"),
        own("missing", "macvlan", root, master="n7"),
        own("uplink", "host-device", root, device="u0"),
        own("wrong", "macvlan", root, master="n0", mode="hub"),
        first(root),
        *more,
    ]


def multi(network: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "k8s.cni.cncf.io/v1beta1",
        "kind": "MultiNetworkPolicy",
        "metadata": {"name": "further", "namespace": "default", "annotations": {POLICY_FOR: network}},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, **spec},
    }


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with a second NIC, n0, to a host at 10.70.0.9, and a device d0 that nobody uses."""
    root = tmp_path_factory.mktemp("c") / "n"  # a socket's path has 107 octets
    root.mkdir()
    made = Node.make(f"swc{os.getpid()}", root)
    outside = f"{made.name}x"
    subprocess.run(["ip", "netns", "add", outside], check=True)
    made.ip(f"link add n0 type veth peer name e0 netns {outside}")
    made.ip(f"link add d0 type veth peer name e1 netns {outside}")
    made.ip("link set n0 up")
    made.ip("link property add dev d0 altname spare0")
    (root / "manifests/cluster.yaml").write_text(CLUSTER6 + "---" + SERVICE)
    (root / "bin/host-local").symlink_to(DEBIAN / "host-local")
    for words in (
        "link set lo up",
        "link add b0 type bridge",
        "link set b0 up",
        "link set e0 up master b0",
        "link set e1 up master b0",
        "addr add 10.70.0.9/24 dev b0",
        "addr add fd00:70::9/64 dev b0 nodad",
    ):
        subprocess.run(["ip", "-n", outside, *words.split()], check=True)
    # what answers must have been whole on the wire: its checksums are computed and looked at
    for device in ("e0", "e1"):
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{outside}", "ethtool", "-K", device, "tx", "off", "rx", "off"],
            check=True,
            capture_output=True,
        )
    server = subprocess.Popen(["nsenter", f"--net=/run/netns/{outside}", sys.executable, "-c", SERVER])
    write(made, every(root))
    yield made
    server.kill()
    server.wait()
    made.remove()
    subprocess.run(["ip", "netns", "del", outside], check=True)


@pytest.fixture
def runtime(node: Node) -> Iterator[Runtime]:
    made = Runtime(node)
    yield made
    made.close()


def left(node: Node, runtime: Runtime) -> dict[str, Any]:
    """What there is of any pod, ours or addresses, or what of the node is not as it was; empty when nothing is."""
    books = [path.name for folder in (f"state/{FOLDER}", "ipam") for path in (node.root / folder).rglob("*")]
    found = {
        **runtime.left(),
        "records": records(node),
        "books": [name for name in books if name.endswith(".json") or name.startswith(("10.70", "fd00"))],
        "pins": [*(node.pins / "vfs").glob("*")],
        "spare": () if spare(node) == SPARE else spare(node),
    }
    return {name: some for name, some in found.items() if some}


REFUSED = {
    "missing": "master: this node has no device n7",
    "uplink": "device: by u0 the node has 192.0.2.1",
    "wrong": "mode: 'hub' is none of bridge, vepa, private, passthru",
}
SPARE = ("d0", ["spare0"], 1500, False)


def spare(node: Node) -> tuple[str, list[str], int, bool]:
    """The device that nobody uses, as the node sees it."""
    found = [one for one in json.loads(node.ip("-j link")) if "spare0" in one.get("altnames", ())]
    return next(
        ((one["ifname"], one["altnames"], one["mtu"], "UP" in one["flags"]) for one in found), ("", [], 0, False)
    )


def connects(node: Node, pod: str, address: str, port: int, source: str) -> bool:
    """Whether a pod's connection from an address of it is accepted, and ended by the server."""
    command = [*node.inside, "nsenter", f"--net=/run/netns/{pod}", sys.executable, "-c", CLIENT, address, str(port)]
    return not subprocess.run([*command, source], capture_output=True, check=False, timeout=READY_S).returncode


@pytest.mark.parametrize(("network", "kind"), [("mac", "macvlan"), ("moved", "host-device")])
def test_it_is_there_with_addresses_policy_and_services_and_gone_afterwards(
    node: Node, runtime: Runtime, network: str, kind: str
) -> None:
    with node.agent_runs(*flags(node), "--service-cidrs=10.96.0.0/16"):
        runtime.wait()
        pod = runtime.make()
        web = pod_object(pod, network, app="web")
        write(node, every(node.root, web))
        code, result = runtime.call("ADD", pod, **asks(f"{network}@lan0"))
        assert code == 0, result
        there = links(runtime, pod)
        assert ([*there], there["lan0"]["mtu"]) == (["eth0", "lan0"], 1400 if kind == "macvlan" else 1500)
        four, six = addresses(there["lan0"])
        for source, address in ((four, "10.70.0.9"), (six, "fd00:70::9")):
            until(partial(reaches, node, pod, address, source), f"{address} answers")
            assert connects(node, pod, address, 8080, source)
        assert not reaches(node, pod, "10.70.0.9", "eth0"), "what is on the network is reached by it"
        assert connects(node, pod, "10.96.0.10", 80, four), "a service is reached by the network's gateway"
        _, row = json.loads(dpctl(node, "pod", "interfaces", f"default/{pod}", "-o", "json"))
        assert (row["interface"], row["kind"], row["network"]) == ("lan0", kind, f"default/{network}")
        assert {four, six} <= {*row["addresses"]}
        labels = f'{{direction="egress",interface="lan0",kind="{kind}",pod="default/{pod}"}}'
        assert counted(node, f"interface_packets_total{labels}") > 3
        assert runtime.call("CHECK", pod, prevResult=result) == (0, {})
        write(node, every(node.root, web, multi(network, policyTypes=["Egress"], egress=[])))
        until(lambda: not reaches(node, pod, "10.70.0.9", four), "policy holds for it")
        assert not connects(node, pod, "fd00:70::9", 8080, six)
        _, row = json.loads(dpctl(node, "pod", "interfaces", f"default/{pod}", "-o", "json"))
        assert row["policy"] == "egress"
        allowed = [{"to": [{"ipBlock": {"cidr": "10.70.0.9/32"}}], "ports": [{"port": 8080}]}]
        write(node, every(node.root, web, multi(network, policyTypes=["Egress"], egress=allowed)))
        until(lambda: connects(node, pod, "10.70.0.9", 8080, four), "what it allows passes")
        assert not reaches(node, pod, "10.70.0.9", four)
        assert connects(node, pod, "10.96.0.10", 80, four), "policy judges the backend"
        assert runtime.call("DEL", pod) == (0, {})
        assert (links(runtime, pod), left(node, runtime)) == ({}, {})
        write(node, every(node.root))


def test_pods_on_one_device_meet_foreign_senders_are_dropped_and_refusals_name_keys(
    node: Node, runtime: Runtime
) -> None:
    with node.agent_runs(*flags(node)):
        runtime.wait()
        one, two = runtime.make(), runtime.make()
        for pod in (one, two):
            assert runtime.call("ADD", pod, **asks("mac"))[0] == 0
        (four, six), (other4, other6) = (addresses(links(runtime, pod)["net1"]) for pod in (one, two))
        until(lambda: reaches(node, one, other4, four) and reaches(node, one, other6, six), "they meet")
        runtime.inside(one, "ip", "addr", "add", "10.70.0.200/24", "dev", "net1")
        assert not reaches(node, one, "10.70.0.9", "10.70.0.200"), "an address that IPAM did not give"
        runtime.inside(one, "ip", "link", "set", "net1", "address", "02:00:00:00:00:99")
        assert not reaches(node, one, "10.70.0.9", four), "nor another MAC"
        for pod in (one, two):
            assert runtime.call("DEL", pod) == (0, {})
        assert runtime.call("ADD", two, **asks("", **{DEFAULT_NETWORK: "first"}))[0] == 0
        assert [one["linkinfo"]["info_kind"] for one in links(runtime, two).values()] == ["macvlan"]
        until(lambda: reaches(node, two, "10.70.0.9"), "a pod's first interface may be one")
        assert runtime.call("DEL", two) == (0, {})
        for network, words in REFUSED.items():
            code, error = runtime.call("ADD", one, **asks(network))
            assert (code, words in f"{error['msg']} {error.get('details', '')}") == (CONFIG, True), error
        assert (links(runtime, one), left(node, runtime)) == ({}, {})


def test_a_pod_keeps_it_while_no_agent_runs_and_over_another(node: Node, runtime: Runtime) -> None:
    with node.agent_runs(*flags(node)):
        runtime.wait()
        pod = runtime.make()
        assert runtime.call("ADD", pod, **asks("mac"))[0] == 0
        (four, _) = addresses(links(runtime, pod)["net1"])
        until(lambda: reaches(node, pod, "10.70.0.9", four), "it is reached")
    assert reaches(node, pod, "10.70.0.9", four), "without an agent"
    with node.agent_runs(*flags(node)):
        runtime.wait()
        assert reaches(node, pod, "10.70.0.9", four)
        assert runtime.call("DEL", pod) == (0, {})
        assert left(node, runtime) == {}


@pytest.mark.parametrize(
    ("network", "point"),
    [
        *(("mac", point) for point in fail_points.NIC_ADD[2:5]),
        ("moved", "NIC ADD guarded"),
        ("moved", "NIC DEL removed"),
    ],
)
def test_an_agent_that_is_killed_in_the_middle_leaves_nothing(
    node: Node, runtime: Runtime, network: str, point: str
) -> None:
    pod = runtime.make()
    process = node.start(*flags(node), environ={"SLUICEWAY_FAIL_AT": point})
    runtime.wait()
    code, _ = runtime.call("ADD", pod, **asks(network))
    if point in fail_points.NIC_DEL:
        assert code == 0
        runtime.call("DEL", pod)
    assert process.wait(READY_S) == -signal.SIGKILL
    node.running.remove(process)
    with node.agent_runs(*flags(node)):
        runtime.wait()
        until(lambda: spare(node) == SPARE and "net1" not in links(runtime, pod), "it is gone or home")
        assert runtime.call("DEL", pod) == (0, {})
        assert (links(runtime, pod), left(node, runtime)) == ({}, {})


def is_made(runtime: Runtime, pod: str, network: str) -> bool:
    return runtime.call("ADD", pod, **asks(network))[0] == 0


def test_what_a_pod_puts_in_the_place_of_a_device_of_the_node_does_not_come_to_the_node(
    node: Node, runtime: Runtime
) -> None:
    with node.agent_runs(*flags(node)):
        runtime.wait()
        pod = runtime.make()
        node.ip("link add s0 type veth peer name s1")
        write(node, every(node.root, own("soft", "host-device", node.root, device="s0")))
        for network in ("soft", "mac"):
            until(partial(is_made, runtime, pod, network), "it is made")
            number = links(runtime, pod)["net1"]["ifindex"]
            runtime.inside(pod, "ip", "link", "del", "net1")
            decoy = f"link add net1 index {number} type veth peer name decoy"
            runtime.inside(pod, "ip", *decoy.split())
            assert runtime.call("DEL", pod) == (0, {})
            there = {one["ifname"] for one in json.loads(node.ip("-j link"))}
            assert not there & {"s0", "net1"}
            assert "decoy" in links(runtime, pod)
            runtime.inside(pod, "ip", "link", "del", "decoy")
        assert left(node, runtime) == {}
    write(node, every(node.root))


def test_it_comes_to_a_pod_that_runs_and_cleanup_takes_it_away(node: Node, runtime: Runtime) -> None:
    pod = runtime.make()
    write(node, every(node.root, pod_object(pod, "mac")))
    with node.agent_runs(*flags(node)):
        runtime.wait()
        assert runtime.call("ADD", pod, **asks("mac"))[0] == 0
        write(node, every(node.root, pod_object(pod, "mac, moved@data0")))
        until(lambda: len(addresses(links(runtime, pod).get("data0", {"addr_info": []}))) > 1, "it has come")
        until(lambda: reaches(node, pod, "10.70.0.9", "data0"), "and is reached")
    node.run(*node.agent("cleanup")[len(node.inside) :])
    assert links(runtime, pod) == {}
    assert spare(node) == SPARE
    assert not (node.root / "state").exists()
