"""The runtime speaks CNI 1.1 to our plugin; what containerd never asks, CHECK and GC, is asked here in its place.

With the conflist that the agent installed on the node and the results that containerd remembers there.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from lab.agents import METRICS_PORT
from lab.machine import Machine
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import client, server

pytestmark = pytest.mark.cluster

BIN, CONFLIST, RESULTS = "/opt/cni/bin", "etc/cni/net.d/10-sluiceway.conflist", "var/lib/cni/results"
STATUS_S = 120  # the kubelet asks every 5


@dataclass(frozen=True, slots=True)
class Attachment:
    """A sandbox's interface, as libcni remembers it on the node."""

    container: str
    interface: str
    netns: str
    pod: str  # its name
    result: Mapping[str, Any]


def remembered(node: Machine) -> list[Attachment]:
    """What the runtime of a node would ask about."""
    saved = [json.loads(path.read_text()) for path in sorted((node.root / RESULTS).iterdir())]
    return [
        Attachment(one["containerId"], one["ifName"], one["netns"], dict(one["cniArgs"])["K8S_POD_NAME"], one["result"])
        for one in saved
    ]


def call(node: Machine, command: str, of: Attachment | None = None, **config: Any) -> tuple[int, Mapping[str, Any]]:
    """Execute the plugin as the runtime would, at the highest version of the conflist; exit code and answer."""
    listed = json.loads((node.root / CONFLIST).read_text())
    (plugin,) = listed["plugins"]
    own = {key: value for key, value in plugin.items() if key != "capabilities"}
    previous = {"prevResult": of.result} if of else {}
    asked = {**own, "cniVersion": max(listed["cniVersions"]), "name": listed["name"], **previous, **config}
    environment = {"CNI_COMMAND": command, "CNI_PATH": BIN}
    if of:
        environment |= {"CNI_CONTAINERID": of.container, "CNI_IFNAME": of.interface, "CNI_NETNS": of.netns}
    done = node.run(f"{BIN}/{plugin['type']}", stdin=json.dumps(asked), environment=environment, check=False)
    return done.returncode, json.loads(done.stdout or "{}")


def valid(attachments: list[Attachment]) -> dict[str, Any]:
    """GC's list of them."""
    return {"cni.dev/valid-attachments": [{"containerID": a.container, "ifname": a.interface} for a in attachments]}


def asked_for(node: Machine, command: str) -> float:
    """How often the agent has answered it with success."""
    page = node.run("curl", "-s", f"http://127.0.0.1:{METRICS_PORT}/metrics").stdout
    counted = re.findall(rf'^sluiceway_cni_requests_total{{code="0",command="{command}"}} (\S+)', page, re.MULTILINE)
    return float(counted[0]) if counted else 0.0


def test_containerd_negotiates_1_1_and_asks_for_status_by_itself(namespace: Namespace) -> None:
    node = namespace.cluster.site.nodes[0]
    namespace.apply(client("one", node=node.name))
    (one,) = (a for a in remembered(node) if a.pod == "one")
    assert one.result["cniVersion"] == "1.1.0"
    assert all(interface["mtu"] for interface in one.result["interfaces"])
    before = asked_for(node, "STATUS")
    assert eventually(lambda: asked_for(node, "STATUS") > before, STATUS_S)


def test_check_finds_pods_as_the_runtime_remembers_them_and_sees_what_was_taken(namespace: Namespace) -> None:
    node = namespace.cluster.site.nodes[0]
    namespace.apply(client("whole", node=node.name), client("hurt", node=node.name))
    found = {a.pod: a for a in remembered(node)}
    for pod in ("whole", "hurt"):
        assert call(node, "CHECK", found[pod]) == (0, {})
    address = found["hurt"].result["ips"][0]["address"]
    node.run("nsenter", f"--net={found['hurt'].netns}", "ip", "addr", "del", address, "dev", "eth0")
    code, error = call(node, "CHECK", found["hurt"])
    assert (code, f"{address.partition('/')[0]} is not on eth0" in error["details"]) == (100, True), error
    assert call(node, "CHECK", found["whole"]) == (0, {})


def test_gc_keeps_the_pods_that_run_and_takes_what_the_runtime_forgot(namespace: Namespace) -> None:
    node = namespace.cluster.site.nodes[0]
    namespace.apply(client("client", node=node.name), server("server", node=node.name))
    lost = Attachment("forgotten", "eth0", "/run/netns/forgotten", "", {})
    node.run("ip", "netns", "add", "forgotten")
    try:
        code, result = call(node, "ADD", lost)
        assert code == 0, result
        address = result["ips"][0]["address"].partition("/")[0]
        assert node.run("ip", "route", "show", address).stdout
        assert call(node, "GC", **valid([*remembered(node), lost])) == (0, {})
        assert node.run("ip", "route", "show", address).stdout, "it was named"
        assert call(node, "GC", **valid(remembered(node))) == (0, {})
        assert not node.run("ip", "route", "show", address).stdout
    finally:
        node.run("ip", "netns", "del", "forgotten")
    for attachment in remembered(node):
        if attachment.pod in {"client", "server"}:
            assert call(node, "CHECK", attachment) == (0, {})
    target = namespace.get("pod", "server")["status"]["podIP"]
    assert namespace.sh("client", f"curl -s -m 5 http://{target}:8080/hostname").stdout == "server"
