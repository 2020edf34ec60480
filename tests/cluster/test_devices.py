"""The real kubelet takes devices from our plugin, gives them to pods, and tells which pod has which."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.kubernetes.cluster import Cluster
from lab.machine import Machine
from tests.agent.devices.tree import VF, Tree
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import Manifest, client

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

NODE, DAEMON = "n1", "devices"
XSK, NET = "sluiceway.io/xsk", "example.com/net"
RESOURCES = [
    {"resourceName": "xsk", "resourcePrefix": "sluiceway.io", "deviceType": "afxdp", "count": 3},
    {"resourceName": "net", "selectors": {"pfNames": ["pf0#1-2"], "drivers": ["iavf"]}},
]
PATIENCE_S = 180.0


@pytest.fixture
def node(cluster: Cluster) -> Machine:
    """The node that has devices."""
    return cluster.site.machine(NODE)


@pytest.fixture
def tree(node: Machine, tmp_path: Path) -> Tree:
    """What the plugin takes for the node's sysfs: a PF of four VFs."""
    made = Tree(node.home / f"tree-{tmp_path.name}")
    made.pf("pf0", driver="iavf", numa=0)
    return made


@pytest.fixture
def plugin(node: Machine, tree: Tree) -> Iterator[None]:
    """Runs on the node as a process of it."""
    config = node.home / "devices-config.json"
    config.write_text(json.dumps({"resourceList": RESOURCES}))
    flags = [f"--config-file={config}", f"--root={tree.root}", "--resource-prefix=example.com"]
    node.daemon(DAEMON, [str(Path(node.environment()["PATH"].split(":")[0]) / "sluiceway-devices"), *flags])
    yield
    node.stop(DAEMON)


def offered(cluster: Cluster) -> Mapping[str, str]:
    """How many devices of each resource the scheduler may give away."""
    status = cluster.kubectl.get(f"node/{NODE}")["status"]
    return {name: status["allocatable"].get(name, "0") for name in (XSK, NET)}


def asking(name: str, **resources: int) -> Manifest:
    """A pod that wants devices."""
    pod = client(name, node=NODE)
    wanted = {{"xsk": XSK, "net": NET}[key]: str(number) for key, number in resources.items()}
    pod["spec"]["containers"][0]["resources"] = {"limits": wanted}
    return pod


def environment(namespace: Namespace, pod: str) -> Mapping[str, str]:
    """What a pod's processes find in their environment."""
    lines = namespace.sh(pod, "env").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def listed(node: Machine) -> Mapping[str, Any]:
    """The devices that pods have, as dpctl shows them."""
    rows = json.loads(node.run("dpctl", "device", "list", "-o", "json").stdout)
    return {row["device"]: row["pod"] for row in rows if row.get("pod")}


@pytest.mark.usefixtures("plugin")
def test_pods_get_devices_and_the_kubelet_says_whose_they_are(
    cluster: Cluster, namespace: Namespace, node: Machine, tree: Tree
) -> None:
    assert eventually(lambda: offered(cluster) == {XSK: "3", NET: "2"}, PATIENCE_S)
    namespace.apply(asking("a", xsk=2, net=1))
    seen = environment(namespace, "a")
    slots = seen["AFXDP_DEVICES_XSK"].split()
    [vf] = seen["PCIDEVICE_EXAMPLE_COM_NET"].split(",")
    assert len({*slots} & {"xsk-0", "xsk-1", "xsk-2"}) == 2
    assert vf in {VF.format(1), VF.format(2)}
    assert json.loads(seen["PCIDEVICE_EXAMPLE_COM_NET_INFO"]) == {vf: {"generic": {"deviceID": vf}}}
    folders = " ".join(f"/run/sluiceway/afxdp/{slot}" for slot in slots)
    assert namespace.sh("a", f"ls -d {folders}").returncode == 0
    assert listed(node) == dict.fromkeys((*slots, vf), f"{namespace.name}/a/main")

    tree.link("pf0", carrier=False)
    assert eventually(lambda: offered(cluster)[NET] == "0", PATIENCE_S)
    tree.link("pf0")
    assert eventually(lambda: offered(cluster)[NET] == "2", PATIENCE_S)

    node.stop("kubelet")
    node.start_again("kubelet")
    assert eventually(lambda: offered(cluster) == {XSK: "3", NET: "2"} and len(listed(node)) == 3, PATIENCE_S)
    namespace.apply(asking("b", xsk=1))
    [last] = environment(namespace, "b")["AFXDP_DEVICES_XSK"].split()
    assert {*slots, last} == {"xsk-0", "xsk-1", "xsk-2"}

    node.stop(DAEMON)
    assert eventually(lambda: offered(cluster) == {XSK: "0", NET: "0"}, PATIENCE_S)
    assert environment(namespace, "a")["AFXDP_DEVICES_XSK"].split() == slots
    node.start_again(DAEMON)
    assert eventually(lambda: offered(cluster) == {XSK: "3", NET: "2"}, PATIENCE_S)
    assert listed(node)[last] == f"{namespace.name}/b/main"


def scheduled(pod: Manifest) -> Manifest:
    """The same, whose node the scheduler finds: the one that has devices."""
    del pod["spec"]["nodeName"]
    return {**pod, "spec": {**pod["spec"], "nodeSelector": {"kubernetes.io/hostname": NODE}}}


@pytest.mark.usefixtures("plugin")
def test_a_pod_that_wants_more_than_there_is_waits_until_one_is_free(cluster: Cluster, namespace: Namespace) -> None:
    assert eventually(lambda: offered(cluster)[XSK] == "3", PATIENCE_S)
    namespace.apply(*(scheduled(asking(name, xsk=number)) for name, number in {"two": 2, "one": 1}.items()))
    had = {name: environment(namespace, name)["AFXDP_DEVICES_XSK"].split() for name in ("two", "one")}
    before = {name: running(namespace, name) for name in had}
    namespace.kubectl("apply", "-f", "-", stdin=json.dumps(scheduled(asking("waits", xsk=1))))

    def told() -> str:
        found = namespace.get("events", "--field-selector=involvedObject.name=waits,reason=FailedScheduling")
        return " ".join(event["message"] for event in found["items"])

    assert eventually(lambda: f"Insufficient {XSK}" in told(), PATIENCE_S), told()
    assert namespace.get("pod", "waits")["status"]["phase"] == "Pending"
    assert {name: running(namespace, name) for name in had} == before
    assert {name: environment(namespace, name)["AFXDP_DEVICES_XSK"].split() for name in had} == had
    namespace.kubectl("delete", "pod", "one", "--timeout=180s")
    namespace.kubectl("wait", "--for=condition=Ready", "pod/waits", f"--timeout={PATIENCE_S:.0f}s")
    assert environment(namespace, "waits")["AFXDP_DEVICES_XSK"].split() == had["one"]
    assert running(namespace, "two") == before["two"]


def running(namespace: Namespace, pod: str) -> tuple[str, str, int]:
    """Which run of a pod it is: its uid, its container, and how often that began."""
    found = namespace.get("pod", pod)
    (container,) = found["status"]["containerStatuses"]
    return found["metadata"]["uid"], container["containerID"], container["restartCount"]
