"""Further networks of pods as a kubelet and kubectl see them: by annotation, with Debian's plugins on the node."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.model.network import NETWORK_STATUS, NETWORKS, RESOURCE_NAME
from lab import agents
from lab.machine import Machine
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import PORT, Manifest, client, server
from tests.cluster.test_cni import remembered

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

DEBIAN = Path("/usr/lib/cni")
PLUGINS = ("bridge", "host-local", "macvlan")
FLAGS = ("--networks=on",)
SLOT = "example.com/slot"
OURS = 1  # of the wires


def definition(name: str, **config: Any) -> Manifest:
    """A NetworkAttachmentDefinition."""
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name},
        "spec": {"config": json.dumps({"cniVersion": "1.0.0", **config})},
    }


def lan(number: int) -> Manifest:
    """A bridge of the node with addresses of its own."""
    ipam = {"type": "host-local", "subnet": f"10.5{number}.0.0/24", "dataDir": "/var/lib/cni/networks"}
    return definition(f"lan{number}", type="bridge", bridge=f"swtest{number}", ipam=ipam)


@pytest.fixture
def node(namespace: Namespace) -> Iterator[Machine]:
    """A node whose agent gives pods further networks; afterwards it runs as it did."""
    found = namespace.cluster.site.nodes[0]
    with networked(found):
        yield found


@contextmanager
def networked(node: Machine) -> Iterator[None]:
    """Its agent gives pods further networks meanwhile."""
    there = node.root / "opt/cni/bin"
    for plugin in PLUGINS:
        shutil.copy(DEBIAN / plugin, there / plugin)
    restart(node, FLAGS)
    yield
    restart(node)
    for plugin in PLUGINS:
        (there / plugin).unlink()


def restart(node: Machine, flags: tuple[str, ...] = ()) -> None:
    """Start its agent anew with these flags behind its own."""
    agents.stop(node)
    agents.start_again(node, flags=flags)
    agents.wait(node)


def devices(node: Machine, pod: str) -> dict[str, list[str]]:
    """Global addresses of a pod's devices by their names."""
    (one,) = (a for a in remembered(node) if a.pod == pod)
    found = json.loads(node.run("nsenter", f"--net={one.netns}", "ip", "-j", "addr").stdout)
    return {
        link["ifname"]: [a["local"] for a in link["addr_info"] if a["scope"] == "global"]
        for link in found
        if link["ifname"] != "lo"
    }


def leases(node: Machine) -> list[str]:
    """What host-local has noted of the networks."""
    return sorted(path.name for path in (node.root / "var/lib/cni/networks").glob("*/10.*"))


def status(namespace: Namespace, pod: str) -> list[dict[str, Any]]:
    """The pod's network-status."""
    text = namespace.get("pod", pod)["metadata"].get("annotations", {}).get(NETWORK_STATUS, "[]")
    found: list[dict[str, Any]] = json.loads(text)
    return found


def test_a_pod_has_three_interfaces_and_its_status_says_so(namespace: Namespace, node: Machine) -> None:
    namespace.apply(lan(1), lan(2))
    pod = client("three", node=node.name)
    pod["metadata"]["annotations"] = {NETWORKS: "lan1@data0, lan2"}
    namespace.apply(pod)
    there = devices(node, "three")
    assert [*there] == ["eth0", "data0", "net2"]
    assert eventually(lambda: len(status(namespace, "three")) == len(there))
    ours, *others = status(namespace, "three")
    assert (ours["interface"], ours["default"], ours["ips"]) == ("eth0", True, there["eth0"])
    assert {one["interface"]: one["ips"] for one in others} == {"data0": there["data0"], "net2": there["net2"]}
    assert [one["name"] for one in others] == [f"{namespace.name}/lan1", f"{namespace.name}/lan2"]
    agents.kill(node)
    namespace.kubectl("delete", "network-attachment-definitions.k8s.cni.cncf.io", "lan1", "lan2")
    agents.start_again(node, flags=FLAGS)
    agents.wait(node)
    assert devices(node, "three") == there
    namespace.kubectl("delete", "pod", "three", "--timeout=180s")
    assert eventually(lambda: not leases(node)), leases(node)


def wire(number: int) -> Manifest:
    """The nodes' own wire, with a tenth of its addresses for one node's pods; one is made by the agent."""
    ends = {"rangeStart": f"10.57.0.{number}0", "rangeEnd": f"10.57.0.{number}9"}
    ipam = {"type": "host-local", "subnet": "10.57.0.0/24", "dataDir": "/var/lib/cni/networks", **ends}
    maker = {"type": "sluiceway-cni", "kind": "macvlan"} if number == OURS else {"type": "macvlan"}
    return definition(f"wire{number}", master="eth0", mode="bridge", ipam=ipam, **maker)


def test_pods_meet_by_macvlan_on_a_node_and_across_and_nothing_stays(namespace: Namespace, node: Machine) -> None:
    _, other, *_ = namespace.cluster.site.neighbours
    with ExitStack() as steps:
        steps.enter_context(networked(other))
        namespace.apply(wire(1), wire(2))
        places = {"one": (node, "wire1"), "near": (node, "wire1"), "far": (other, "wire2")}
        pods = [server(name, node=at.name) for name, (at, _) in places.items()]
        for pod in pods:
            pod["metadata"]["annotations"] = {NETWORKS: places[pod["metadata"]["name"]][1]}
        namespace.apply(*pods)
        met = {}
        for name, (at, network) in places.items():
            there = devices(at, name)
            assert [*there] == ["eth0", "net1"]
            assert eventually(lambda name=name: len(status(namespace, name)) == 2)  # type: ignore[misc]
            told = status(namespace, name)[1]
            mac = namespace.sh(name, "cat /sys/class/net/net1/address").stdout.strip()
            assert told == {
                "name": f"{namespace.name}/{network}",
                "interface": "net1",
                "ips": there["net1"],
                "mac": mac,
                "dns": {},
            }
            (met[name],) = there["net1"]
        for asking in met:
            for asked in met.keys() - {asking}:
                url = f"http://{met[asked]}:{PORT}/hostname"
                assert namespace.sh(asking, f"curl -s -m 5 --interface net1 {url}").stdout == asked, (asking, asked)
        namespace.kubectl("delete", "pod", *places, "--timeout=180s")
        for at in (node, other):
            assert eventually(lambda at=at: (leases(at), kept(at)) == ([], [])), (leases(at), kept(at))  # type: ignore[misc]
            assert eventually(lambda at=at: not {one.pod for one in remembered(at)} & {*places})  # type: ignore[misc]


def kept(node: Machine) -> list[str]:
    """The agent's records of pods' networks."""
    return sorted(path.name for path in (node.root / "var/lib/sluiceway/networks").glob("*"))


@pytest.fixture
def slots(namespace: Namespace, node: Machine) -> Iterator[None]:
    """The node's kubelet has slots for AF_XDP to give away."""
    config = node.home / "slots-config.json"
    resource = {"resourceName": "slot", "resourcePrefix": "example.com", "deviceType": "afxdp", "count": 2}
    config.write_text(json.dumps({"resourceList": [resource]}))
    command = Path(node.environment()["PATH"].split(":")[0]) / "sluiceway-devices"
    node.daemon("network-devices", [str(command), f"--config-file={config}"])

    def offered() -> str:
        status = namespace.cluster.kubectl.get(f"node/{node.name}")["status"]
        return str(status["allocatable"].get(SLOT, "0"))

    assert eventually(lambda: offered() == "2", 180.0)
    yield
    node.stop("network-devices")


@pytest.mark.usefixtures("slots")
def test_a_network_is_made_of_the_pods_device_and_others_come_while_it_runs(
    namespace: Namespace, node: Machine
) -> None:
    xsk = definition("xsk", type="sluiceway-cni", kind="afxdp")
    xsk["metadata"]["annotations"] = {RESOURCE_NAME: SLOT}
    namespace.apply(xsk, lan(1), definition("ours", type="sluiceway-cni", kind="veth"), definition("no", type="no"))
    pod = client("fast", node=node.name)
    pod["metadata"]["annotations"] = {NETWORKS: "xsk@x0"}
    pod["spec"]["containers"][0]["resources"] = {"limits": {SLOT: "1"}}
    namespace.apply(pod)
    (slot,) = namespace.sh("fast", "echo $AFXDP_DEVICES_SLOT").stdout.split()
    assert namespace.sh("fast", f"test -S /run/sluiceway/afxdp/{slot}/afxdp.sock").returncode == 0
    before = devices(node, "fast")
    assert [*before] == ["eth0", "x0"]

    def annotate(networks: str) -> None:
        namespace.kubectl("annotate", "--overwrite", "pod", "fast", f"{NETWORKS}={networks}")

    annotate("xsk@x0, lan1, ours")
    assert eventually(lambda: len(status(namespace, "fast")) == len(before) + 2)
    there = devices(node, "fast")
    assert ([*there], there["x0"]) == (["eth0", "x0", "net2", "net3"], before["x0"])
    assert {one["interface"]: one["ips"] for one in status(namespace, "fast")} == {**there, "eth0": there["eth0"]}
    annotate("xsk@x0, no")
    assert eventually(lambda: [*devices(node, "fast")] == ["eth0", "x0"])
    assert eventually(lambda: not leases(node)), leases(node)

    def told() -> str:
        found = namespace.get("events", "--field-selector=involvedObject.kind=Pod,involvedObject.name=fast")
        return " ".join(event["message"] for event in found["items"])

    assert eventually(lambda: "net2 cannot be given to the running pod: net2 of" in told()), told()
    namespace.kubectl("annotate", "pod", "fast", f"{NETWORKS}-")
    assert eventually(lambda: [*devices(node, "fast")] == ["eth0"])
    assert eventually(lambda: len(status(namespace, "fast")) == 1)
    namespace.kubectl("delete", "pod", "fast", "--timeout=180s")


@pytest.mark.usefixtures("node")
def test_a_wrong_definition_is_an_event_before_any_pod_names_it(namespace: Namespace) -> None:
    namespace.apply(definition("wrong", type="../bin/sh"))

    def told() -> list[str]:
        found = namespace.get("events", "--field-selector=involvedObject.kind=NetworkAttachmentDefinition")
        return [event["message"] for event in found["items"] if event["involvedObject"]["name"] == "wrong"]

    assert eventually(lambda: bool(told()))
    (message,) = told()
    assert message.startswith("spec.config.type: '../bin/sh' is no name of a plugin")
