"""Whatever JSON stands in a policy: it is decoded, and what is wrong in it opens nothing."""

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.model.name import ObjectName
from agent.model.policy import Policy, Verdict
from agent.watch.decode.cluster_network_policy import CLUSTER_NETWORK_POLICY
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Kind
from agent.watch.decode.network_policy import NETWORK_POLICY

WORDS = """
podSelector namespaceSelector matchLabels matchExpressions key operator values In Exists policyTypes Ingress Egress
ingress egress from to ipBlock cidr except ports port endPort protocol TCP tier Admin priority subject namespaces pods
nodes networks domainNames protocols tcp udp destinationPort number range start end destinationNamedPort action Accept
Deny Pass name 10.0.0.0/8 10.1.0.0/16 fd00::/8 fe80::1%1/64 ::ffff:1.2.3.4 1.2.3 http
"""
TEXTS = st.sampled_from(WORDS.split()) | st.text(max_size=5)
LEAVES = st.none() | st.booleans() | st.integers(-1, 70000) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)
KINDS = st.sampled_from(["podSelector", "namespaceSelector", "ipBlock", "namespaces", "pods", "nodes", "networks"])
PEERS = st.lists(st.dictionaries(KINDS, JSON, min_size=1, max_size=2) | JSON, max_size=3)
RULES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={"action": TEXTS, "from": PEERS, "to": PEERS, "ports": st.lists(JSON), "protocols": st.lists(JSON)},
    )
    | JSON,
    max_size=3,
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "podSelector": JSON,
        "policyTypes": st.lists(TEXTS) | JSON,
        "tier": TEXTS,
        "priority": LEAVES,
        "subject": st.fixed_dictionaries({"namespaces": JSON}) | JSON,
        "ingress": RULES | JSON,
        "egress": RULES | JSON,
    },
)


def decoded(kind: Kind, namespace: str, spec: object) -> tuple[Policy, int]:
    """The policy, and how much is wrong in it."""
    metadata = {"name": "x", "namespace": namespace}
    found = Decoder("n1").decode(kind, json.dumps({"metadata": metadata, "spec": spec}).encode())
    assert found.name == ObjectName(namespace, "x")
    assert isinstance(found.value, Policy)
    return found.value, len(found.problems)


@given(SPECS | JSON)
def test_a_network_policy_selects_pods_of_its_namespace_alone_and_judges_one_direction_at_least(spec: object) -> None:
    policy, _ = decoded(NETWORK_POLICY, "shop", spec)
    assert policy.subject.namespace == "shop"
    assert (policy.ingress, policy.egress) != (None, None)
    assert all(rule.verdict is Verdict.ACCEPT for rule in (*(policy.ingress or ()), *(policy.egress or ())))


@given(SPECS | JSON)
def test_of_a_cluster_network_policy_with_mistakes_each_rule_that_lost_something_is_closed(spec: object) -> None:
    policy, wrong = decoded(CLUSTER_NETWORK_POLICY, "", spec)
    rules = (*(policy.ingress or ()), *(policy.egress or ()))
    assert all(rule.verdict is Verdict.DENY for rule in rules if rule.peers is None)
    assert wrong or all(rule.peers for rule in rules)
