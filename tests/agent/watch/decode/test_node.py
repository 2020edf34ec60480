"""Nodes as the API server and their users write them."""

import json
from ipaddress import ip_address, ip_network

import pytest

from agent.model.node import Node
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.node import NODE


def test_a_node() -> None:
    found = Decoder("n1").decode(
        NODE,
        json.dumps(
            {
                "metadata": {"name": "n2", "labels": {"topology.kubernetes.io/zone": "a", "b": "2"}},
                "spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24", "fd00:2::/64"]},
                "status": {
                    "addresses": [
                        {"type": "Hostname", "address": "n2"},
                        {"type": "InternalIP", "address": "192.0.2.2"},
                        {"type": "ExternalIP", "address": "198.51.100.2"},
                        {"type": "InternalIP", "address": "2001:db8::2"},
                    ]
                },
            }
        ).encode(),
    )
    assert found.problems == ()
    assert found.value == Node(
        "n2",
        (ip_address("192.0.2.2"), ip_address("2001:db8::2")),
        (ip_network("10.244.2.0/24"), ip_network("fd00:2::/64")),
        "a",
        external_ips=(ip_address("198.51.100.2"),),
        labels=(("b", "2"), ("topology.kubernetes.io/zone", "a")),
    )


@pytest.mark.parametrize(
    ("metadata", "spec", "leaving"),
    [
        pytest.param({}, {}, False, id="84 a node that stays"),
        pytest.param({"deletionTimestamp": "2026-05-04T03:02:01Z"}, {}, True, id="84 one that is deleted"),
        pytest.param(
            {},
            {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "ToBeDeletedByClusterAutoscaler", "value": "1"}]},
            True,
            id="84 one that the autoscaler takes away",
        ),
        pytest.param(
            {}, {"taints": [{"key": "a", "effect": "NoSchedule"}]}, False, id="84 another taint means nothing"
        ),
        pytest.param({}, {"taints": None}, False, id="84 nor does a list that is null"),
    ],
)
def test_a_node_that_goes(metadata: dict[str, str], spec: dict[str, object], *, leaving: bool) -> None:
    content = json.dumps({"metadata": {"name": "n2", **metadata}, "spec": spec}).encode()
    found = Decoder("n1").decode(NODE, content)
    assert isinstance(found.value, Node)
    assert found.value.is_leaving is leaving


@pytest.mark.parametrize(
    ("annotations", "imports", "problems"),
    [
        pytest.param({}, False, [], id="none"),
        pytest.param({"sluiceway.io/ipam": "host-local"}, True, [], id="host-local"),
        pytest.param({"sluiceway.io/ipam": "dhcp"}, False, ["metadata.annotations['sluiceway.io/ipam']"], id="another"),
        pytest.param(
            {"sluiceway.io/ipam": ""}, False, ["metadata.annotations['sluiceway.io/ipam']"], id="an empty one"
        ),
    ],
)
def test_a_node_that_keeps_the_addresses_of_pods_from_before(
    annotations: dict[str, str],
    imports: bool,  # noqa: FBT001
    problems: list[str],
) -> None:
    content = {"metadata": {"name": "n2", "annotations": annotations}, "spec": {"podCIDR": "10.244.2.0/24"}}
    found = Decoder("n1").decode(NODE, json.dumps(content).encode())
    assert isinstance(found.value, Node)
    assert (found.value.imports_host_local, [problem.field for problem in found.problems]) == (imports, problems)
    assert found.value.pod_cidrs == (ip_network("10.244.2.0/24"),)
