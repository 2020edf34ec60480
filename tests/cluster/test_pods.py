"""Pods that a real kubelet and a real runtime start have our network."""

import json
from ipaddress import ip_address

import pytest

from lab.kubernetes.cluster import pod_cidrs
from lab.kubernetes.kubelet import STATIC_PODS
from tests.cluster.conftest import Namespace, eventually
from tests.cluster.objects import PORT, client, server

pytestmark = pytest.mark.cluster


def test_a_pod_has_an_address_of_its_node_in_both_families(namespace: Namespace) -> None:
    namespace.apply(client("one", node="n1"))
    addresses = [ip_address(entry["ip"]) for entry in namespace.get("pod", "one")["status"]["podIPs"]]
    cidrs = pod_cidrs(namespace.cluster)["n1"]
    assert [address.version for address in addresses] == [4, 6]
    assert all(any(address in cidr for cidr in cidrs) for address in addresses)


@pytest.mark.parametrize("peer", [pytest.param("n1", id="on its node"), pytest.param("n2", id="on another node")])
def test_a_pod_reaches_a_pod(namespace: Namespace, peer: str) -> None:
    namespace.apply(client("client", node="n1"), server("server", node=peer))
    for entry in namespace.get("pod", "server")["status"]["podIPs"]:
        url = f"[{entry['ip']}]" if ":" in entry["ip"] else entry["ip"]
        answer = namespace.sh("client", f"curl -sS -m 5 http://{url}:{PORT}/hostname")
        assert answer.stdout == "server", answer.stderr


def test_a_pod_is_seen_with_its_own_address(namespace: Namespace) -> None:
    namespace.apply(client("client", node="n1"), server("server", node="n2"))
    address = namespace.get("pod", "server")["status"]["podIP"]
    seen = namespace.sh("client", f"curl -sS -m 5 http://{address}:{PORT}/clientip").stdout
    assert seen.rsplit(":", 1)[0] == namespace.get("pod", "client")["status"]["podIP"]


def test_the_node_forgets_a_pod_that_is_gone(namespace: Namespace) -> None:
    node = namespace.cluster.site.nodes[0]
    namespace.apply(client("one", node="n1"))
    address = namespace.get("pod", "one")["status"]["podIP"]

    def is_known() -> bool:
        return f"{address} dev" in node.run("ip", "route", "show").stdout

    assert is_known()
    namespace.kubectl("delete", "pod", "one")
    assert eventually(lambda: not is_known())


def test_a_static_pod_reaches_and_is_reached_though_the_api_has_another_uid(namespace: Namespace) -> None:
    node = namespace.cluster.site.nodes[0]
    pod = server("static", node=node.name)
    pod["metadata"]["namespace"] = namespace.name
    del pod["spec"]["nodeName"]
    folder = node.root / STATIC_PODS.relative_to("/")
    folder.mkdir(parents=True, exist_ok=True)
    mirror = f"static-{node.name}"
    (folder / "static.json").write_text(json.dumps(pod))
    try:
        assert eventually(lambda: mirror in namespace.kubectl("get", "pods", "-o", "name"), 180.0)
        namespace.kubectl("wait", "--for=condition=Ready", f"pod/{mirror}", "--timeout=180s")
        namespace.apply(client("client", node="n2"))
        address = namespace.get("pod", mirror)["status"]["podIP"]
        assert namespace.sh("client", f"curl -sS -m 5 http://{address}:{PORT}/hostname").stdout == mirror
        asked = namespace.get("pod", "client")["status"]["podIP"]
        assert namespace.sh(mirror, f"ping -c1 -W5 {asked}").returncode == 0
    finally:
        (folder / "static.json").unlink()
    assert eventually(lambda: mirror not in namespace.kubectl("get", "pods", "-o", "name"), 180.0)
