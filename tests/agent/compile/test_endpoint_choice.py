"""Kubernetes' rules of which endpoints serve a node, as one table: traffic policy, readiness, topology.

A row's endpoints are words: where it is (h this node, o another node of this zone, f a node of another zone), its
state (r ready, n not ready, e ending and serving, x ending and not serving), and hints behind a slash (z this zone,
y another zone, k this node, j another node).

Source: Kubernetes' "Virtual IPs and Service Proxies", "Traffic policies" and "Topology Aware Routing"; KEP-1669,
KEP-2086, KEP-2433, KEP-3015 and KEP-4444.
"""

import pytest

from agent.compile.context import NodeContext
from agent.compile.topology import Target, serving
from agent.model.node import Node
from agent.model.service import EndpointState
from tests.agent.compile.objects import HERE

ZONE = "zone-z"
STATES = {"r": (True, True, False), "n": (False, False, False), "e": (False, True, True), "x": (False, False, True)}
NODES = {"h": (HERE, ZONE), "o": ("other", ZONE), "f": ("far", "zone-y")}
CLUSTER, LOCAL, PUBLISHES = "Cluster", "Local", "Cluster, publishNotReadyAddresses"

ROWS = [
    # readiness
    pytest.param(CLUSTER, "hr or fr", "hr or fr", id="1 every ready endpoint serves, wherever it is"),
    pytest.param(CLUSTER, "hr on", "hr", id="23 one that is not ready does not"),
    pytest.param(CLUSTER, "hn on", "", id="20 none that is ready, and nobody serves"),
    pytest.param(CLUSTER, "", "", id="21 no endpoint at all"),
    pytest.param(PUBLISHES, "hr on fx", "hr on fx", id="22 publishNotReadyAddresses takes unready and ending ones"),
    # termination
    pytest.param(CLUSTER, "hr oe", "hr", id="31 one that ends gets no new flow while another is ready"),
    pytest.param(CLUSTER, "he oe", "he oe", id="24 26 where all end those that serve stand in"),
    pytest.param(CLUSTER, "he ox", "he", id="24 those that do not serve do not"),
    pytest.param(CLUSTER, "hn oe", "oe", id="24 one that is not ready and does not end stands in for nobody"),
    pytest.param(CLUSTER, "hx ox", "", id="24 where none serves nobody does"),
    # traffic policy Local
    pytest.param(LOCAL, "hr or fr", "hr", id="59 60 61 policy Local takes this node's"),
    pytest.param(LOCAL, "or fr", "", id="62 and never another node's"),
    pytest.param(LOCAL, "he or", "he", id="25 27 137 this node's that ends stands in, though another node's is ready"),
    pytest.param(LOCAL, "hr he or", "hr", id="25 27 one that ends gives way to a ready one of this node"),
    pytest.param(LOCAL, "hn or", "", id="62 one that is not ready stands in for nobody"),
    pytest.param(LOCAL, "oe", "", id="27 another node's that ends does not"),
    # topology
    pytest.param(CLUSTER, "hr/z or/z fr/y", "hr/z or/z", id="63 64 hints for the zone keep traffic in it"),
    pytest.param(CLUSTER, "hr/y or/y fr/z", "fr/z", id="64 the hint counts, not where the endpoint is"),
    pytest.param(CLUSTER, "hr/y fr/y", "hr/y fr/y", id="65 a zone that no hint names takes all"),
    pytest.param(CLUSTER, "hr/z fr", "hr/z fr", id="65 one endpoint without a hint, and all serve"),
    pytest.param(CLUSTER, "hr fr", "hr fr", id="138 no hints, no topology"),
    pytest.param(CLUSTER, "hr/z fn", "hr/z", id="65 one that is not ready needs no hint"),
    pytest.param(CLUSTER, "hn/z fr/y", "fr/y", id="65 a zone without a ready endpoint takes all"),
    pytest.param(CLUSTER, "hr/zk or/zj", "hr/zk", id="63 hints for nodes come before those for zones"),
    pytest.param(CLUSTER, "hr/zj or/zj fr/yj", "hr/zj or/zj", id="63 a node that no hint names takes its zone's"),
    pytest.param(CLUSTER, "he/z fe/y", "he/z fe/y", id="24 65 hints mean nothing among those that end"),
    pytest.param(LOCAL, "hr/y or/z", "hr/y", id="66 policy Local wins over hints"),
    pytest.param(PUBLISHES, "hn/z fn/y", "hn/z", id="22 64 hints hold among those that are not ready, too"),
]


def target(word: str) -> Target:
    place, _, hints = word.partition("/")
    node, zone = NODES[place[0]]
    zones = tuple({"z": ZONE, "y": "zone-y"}[hint] for hint in hints if hint in "zy")
    nodes = tuple({"k": HERE, "j": "other"}[hint] for hint in hints if hint in "kj")
    return EndpointState(*STATES[place[1]], node, zone, zones, nodes), word.encode(), 80


@pytest.mark.parametrize(("policy", "endpoints", "expected"), ROWS)
def test_rule(policy: str, endpoints: str, expected: str) -> None:
    targets = [target(word) for word in endpoints.split()]
    context = NodeContext(Node(HERE, zone=ZONE))
    chosen = serving(targets, context, local=policy == LOCAL, not_ready_too=policy == PUBLISHES)
    assert b" ".join(word for _, word, _ in chosen).decode() == expected
