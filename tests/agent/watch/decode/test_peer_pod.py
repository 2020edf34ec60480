"""Pods of all nodes as policies' peers: which, what is kept of them, and how much memory that takes."""

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

import pytest

from agent.model.name import ObjectName
from agent.model.node import Pod
from agent.model.policy import ContainerPort, PeerPod
from agent.model.service import Protocol
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Decoded, Value
from agent.watch.decode.peer_pod import PEER_POD
from agent.watch.decode.pod import POD

NAME = ObjectName("shop", "web-1")
CONTAINERS = [
    {"ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9}]},
    {"ports": [{"name": "dns", "protocol": "UDP", "containerPort": 53}, {"name": "http", "containerPort": 8081}]},
    {"ports": [{"name": "http", "containerPort": 8080}]},
]
INIT = [
    {"restartPolicy": "Always", "ports": [{"name": "mesh", "containerPort": 15001}]},
    {"ports": [{"name": "setup", "containerPort": 1}]},
]
PORTS = (
    ContainerPort("http", Protocol.TCP, 8080),
    ContainerPort("dns", Protocol.UDP, 53),
    ContainerPort("http", Protocol.TCP, 8081),
    ContainerPort("mesh", Protocol.TCP, 15001),
)


def content(spec: object = None, status: object = None, labels: object = None) -> bytes:
    whole_status = {"phase": "Running", "podIP": "10.1.0.2", "podIPs": [{"ip": "10.1.0.2"}, {"ip": "fd00::2"}]}
    return json.dumps(
        {
            "metadata": {"namespace": "shop", "name": "web-1", "uid": "u", "labels": labels},
            "spec": {"nodeName": "n2", **(spec if isinstance(spec, dict) else {})},
            "status": {**whole_status, **(status if isinstance(status, dict) else {})},
        }
    ).encode()


def peer(spec: object = None, status: object = None, labels: object = None) -> Decoded:
    return Decoder("n1").decode(PEER_POD, content(spec, status, labels))


def test_labels_addresses_and_named_ports_are_kept() -> None:
    found = peer({"containers": CONTAINERS, "initContainers": INIT}, labels={"b": "2", "a": "1"})
    assert found.problems == ()
    ips = (ip_address("10.1.0.2"), ip_address("fd00::2"))
    assert found.value == PeerPod(NAME, (("a", "1"), ("b", "2")), ips, PORTS)


def test_a_pod_that_is_being_deleted_is_ending() -> None:
    given = json.loads(content())
    given["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    found = Decoder("n1").decode(PEER_POD, json.dumps(given).encode()).value
    assert isinstance(found, PeerPod)
    assert found.is_ending


def test_a_pod_of_this_node_has_them_too() -> None:
    given = content({"nodeName": "n1", "containers": CONTAINERS, "initContainers": INIT}, labels={"b": "2", "a": "1"})
    found = Decoder("n1").decode(POD, given).value
    assert isinstance(found, Pod)
    assert (found.labels, found.ports) == ((("a", "1"), ("b", "2")), PORTS)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(peer({"hostNetwork": True}), id="a pod in its node's network is its node"),
        pytest.param(peer(status={"phase": "Succeeded"}), id="one that is done has no address"),
        pytest.param(peer(status={"phase": "Failed"}), id="nor has one that failed"),
        pytest.param(peer(status={"phase": "Pending", "podIP": "", "podIPs": None}), id="nor one that has not begun"),
    ],
)
def test_pods_that_are_nobodys_peers(found: Decoded) -> None:
    assert (found.name, found.value, found.problems) == (NAME, None, ())


def test_what_is_wrong_in_a_pod_is_told_by_its_node_alone() -> None:
    containers = [{"ports": [{"name": "a", "containerPort": 0}, {"name": "b", "containerPort": 1}]}]
    found = peer({"containers": containers})
    assert isinstance(found.value, PeerPod)
    assert found.value.ports == (ContainerPort("b", Protocol.TCP, 1),)
    assert found.problems == ()
    own = Decoder("n2").decode(POD, content({"containers": containers}))
    assert [(problem.kind, problem.field) for problem in own.problems] == [
        ("Pod", "spec.containers[0].ports[0].containerPort")
    ]


def test_the_api_server_selects_what_is_kept() -> None:
    assert PEER_POD.field_selector == "status.phase!=Succeeded,status.phase!=Failed,spec.hostNetwork=false"
    assert (PEER_POD.path, PEER_POD.is_needed) == (POD.path, False)


def kept(decoder: Decoder, texts: Iterable[bytes]) -> Iterator[tuple[ObjectName, Value | None]]:
    for text in texts:
        found = decoder.decode(PEER_POD, text)
        yield found.name, found.value


def test_a_pod_takes_less_than_a_kibibyte() -> None:
    count = 5_000
    decoder = Decoder("n1")
    texts = [
        json.dumps(
            {
                "metadata": {
                    "namespace": f"team-{n % 100}",
                    "name": f"web-{n // 20:010x}-{n:05x}",
                    "labels": {
                        "app.kubernetes.io/name": f"web-{n // 20}",
                        "app.kubernetes.io/instance": f"web-{n // 20}",
                        "pod-template-hash": f"{n // 20:010x}",
                        "apps.kubernetes.io/pod-index": str(n),
                        "statefulset.kubernetes.io/pod-name": f"web-{n}",
                    },
                },
                "spec": {"nodeName": f"n{n % 100}", "containers": CONTAINERS},
                "status": {"podIPs": [{"ip": f"10.{n >> 8}.{n & 255}.9"}, {"ip": f"fd00::{n:x}"}]},
            }
        ).encode()
        for n in range(count)
    ]
    tracemalloc.start()
    held: dict[ObjectName, Value | None] = dict(kept(decoder, texts))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(held) == count
    assert size / count < 1024
