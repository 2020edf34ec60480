"""The oracle takes the tiers in their order: ClusterNetworkPolicies before and behind NetworkPolicies.

Source: sigs.k8s.io/network-policy-api v0.3.0, apis/v1beta1 and site-src/api-overview.md.
"""

import pytest

from tests.policy.cast import BOTH, EVERYTHING, WORLD, block, flow, has, in_namespaces, network_policy, with_policies
from tests.policy.facts import Object
from tests.policy.oracle import verdict
from tests.policy.table import (
    ALL,
    EGRESS,
    INGRESS,
    NEITHER,
    ONE,
    PASS,
    X,
    admin,
    baseline,
    inbound,
    outbound,
    outcomes,
    port,
    to_a,
)

TIERS = [
    pytest.param(
        [admin(1, X, ingress=[inbound("Deny")]), network_policy("x", types=BOTH, ingress=[{}], egress=[{}])],
        {"y/a > x/a TCP/80": INGRESS, "x/a > y/a TCP/80": PASS},
        id="an Admin Deny goes before what a NetworkPolicy allows",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Accept")]), network_policy("x", types=BOTH)],
        {"y/a > x/a TCP/80": PASS, "x/a > y/a TCP/80": EGRESS, "x/a > x/b TCP/1": EGRESS},
        id="an Admin Accept goes before a NetworkPolicy's isolation, for its own direction",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Pass")]), admin(2, X, ingress=[inbound("Deny")]), to_a()],
        {"y/a > x/a TCP/80": PASS, "y/a > x/b TCP/80": PASS},
        id="an Admin Pass skips the rest of its tier",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Pass")]), network_policy("x", has(pod="a"))],
        {"y/a > x/a TCP/80": INGRESS, "y/a > x/b TCP/80": PASS},
        id="after an Admin Pass the NetworkPolicies decide",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Pass")]), baseline(1, X, ingress=[inbound("Deny")])],
        {"y/a > x/a TCP/80": INGRESS},
        id="after an Admin Pass without a NetworkPolicy the Baseline decides",
    ),
    pytest.param(
        [baseline(1, X, ingress=[inbound("Deny")])],
        {"y/a > x/a TCP/80": INGRESS, "x/a > y/a TCP/80": PASS, "x/a > x/b TCP/80": INGRESS},
        id="a Baseline Deny decides where no NetworkPolicy selects",
    ),
    pytest.param(
        [baseline(1, X, ingress=[inbound("Deny")]), to_a()],
        {"y/a > x/a TCP/80": PASS, "y/a > x/b TCP/80": INGRESS},
        id="a NetworkPolicy that allows goes before a Baseline Deny, for the pods that it selects",
    ),
    pytest.param(
        [baseline(1, X, ingress=[inbound("Accept")]), network_policy("x")],
        {"y/a > x/a TCP/80": INGRESS},
        id="a NetworkPolicy that isolates goes before a Baseline Accept",
    ),
    pytest.param(
        [baseline(1, X, ingress=[inbound("Deny")], egress=[outbound("Deny")]), to_a()],
        {"x/a > y/a TCP/80": EGRESS, "y/a > x/a TCP/80": PASS, "x/b > x/a TCP/80": EGRESS, "x/a > x/b TCP/80": NEITHER},
        id="the Baseline is put aside only in the direction that a NetworkPolicy isolates for",
    ),
    pytest.param(
        [baseline(1, X, ingress=[inbound("Pass", ONE)]), baseline(2, X, ingress=[inbound("Deny")])],
        {"x/a > x/b TCP/80": PASS, "y/a > x/b TCP/80": INGRESS},
        id="a Baseline Pass ends its tier, and the default is to allow",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Accept", ONE)])],
        {"y/a > x/b TCP/80": PASS, "192.0.2.7 > x/b TCP/80": PASS},
        id="a subject is not isolated by being one",
    ),
    pytest.param(
        [admin(1, X), baseline(1, X)],
        {"y/a > x/a TCP/80": PASS, "x/a > y/a TCP/80": PASS},
        id="policies without rules do nothing",
    ),
    pytest.param(
        [admin(1, X, egress=[outbound("Accept")]), network_policy("y", types=BOTH)],
        {"x/a > y/a TCP/80": INGRESS, "x/a > z/a TCP/80": PASS},
        id="an egress Accept leaves the destination's ingress to be judged",
    ),
]

ORDER = [
    pytest.param(
        [admin(7, X, ingress=[inbound("Deny")]), admin(6, X, ingress=[inbound("Accept")])],
        {"y/a > x/a TCP/80": PASS},
        id="the lower priority value goes first, wherever it stands in the list",
    ),
    pytest.param(
        [admin(10, X, ingress=[inbound("Deny")]), admin(9, X, ingress=[inbound("Accept")])],
        {"y/a > x/a TCP/80": PASS},
        id="priorities are numbers, not text",
    ),
    pytest.param(
        [admin(0, X, ingress=[inbound("Deny")]), admin(1000, X, ingress=[inbound("Accept")])],
        {"y/a > x/a TCP/80": INGRESS},
        id="priority 0 is the first, 1000 the last",
    ),
    pytest.param(
        [admin(1000, X, ingress=[inbound("Deny")]), baseline(0, X, ingress=[inbound("Accept")])],
        {"y/a > x/a TCP/80": INGRESS},
        id="a tier goes before any priority",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Accept", ONE), inbound("Deny"), inbound("Accept")])],
        {"x/a > x/b TCP/80": PASS, "y/a > x/b TCP/80": INGRESS},
        id="of one policy's rules the first that matches decides",
    ),
    pytest.param(
        [admin(1, ONE, ingress=[inbound("Deny")]), admin(2, X, ingress=[inbound("Accept")])],
        {"y/a > x/a TCP/80": INGRESS, "y/a > x/b TCP/80": PASS},
        id="a policy whose subject the pod is not is passed over",
    ),
]

UNKNOWN = [
    pytest.param(
        [admin(1, X, ingress=[inbound("Accept", {"future": EVERYTHING}, ALL)]), network_policy("x")],
        {"y/a > x/a TCP/80": INGRESS},
        id="an Accept with a peer without a known field matches nothing, other peers included",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Deny", {}, protocols=[port("tcp", 80)])])],
        {"y/a > x/a UDP/9": INGRESS, "192.0.2.7 > x/a ICMP": INGRESS, "x/a > y/a TCP/80": PASS},
        id="a Deny with a peer without a known field denies everything of its direction",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Pass", {"future": EVERYTHING})]), to_a()],
        {"y/a > x/a TCP/80": INGRESS, "192.0.2.7 > x/a TCP/80": INGRESS},
        id="a Pass with a peer without a known field denies everything of its direction",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Accept", ONE), inbound("Deny", {})])],
        {"x/a > x/b TCP/80": PASS, "y/a > x/b TCP/80": INGRESS},
        id="a rule before the one that fails closed is taken first",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Accept", {"networks": ["0.0.0.0/0"]})]), network_policy("x")],
        {"y/a > x/a TCP/80": INGRESS, "192.0.2.7 > x/a TCP/80": INGRESS},
        id="networks are no peer of ingress",
    ),
    pytest.param(
        [
            admin(
                1,
                X,
                egress=[
                    outbound("Accept", {"domainNames": ["a.example"]}),
                    outbound("Deny", {"networks": ["192.0.2.0/24"]}),
                ],
            )
        ],
        {"x/a > 192.0.2.7 TCP/80": EGRESS, "x/a > y/a TCP/80": PASS},
        id="an Accept of domain names, which are not served, matches nothing",
    ),
    pytest.param(
        [
            admin(
                1, X, ingress=[inbound("Accept", protocols=[{"future": {}}])], egress=[outbound("Deny", protocols=[{}])]
            ),
            network_policy("x"),
        ],
        {"y/a > x/a TCP/80": INGRESS, "x/a > 192.0.2.7 ICMP": EGRESS},
        id="a protocol without a known field fails closed as a peer does",
    ),
    pytest.param(
        [admin(1, {"future": EVERYTHING}, ingress=[inbound("Deny")])],
        {"y/a > x/a TCP/80": PASS},
        id="a subject without a known field is about no pod",
    ),
]


@pytest.mark.parametrize(("policies", "flows"), [*TIERS, *ORDER, *UNKNOWN])
def test_tiers(policies: list[Object], flows: dict[str, str]) -> None:
    assert outcomes(with_policies(WORLD, *policies), flows) == flows


def test_reasons_name_the_tier_the_policy_the_rule_and_the_action() -> None:
    allowed = network_policy("x", types=BOTH, ingress=[{"from": [in_namespaces(EVERYTHING), block("192.0.2.0/24")]}])
    world = with_policies(WORLD, admin(3, X, ingress=[inbound("Pass", ONE), inbound("Deny")]), baseline(4, X), allowed)
    said = [verdict(world, flow(world, f"{who} > x/b TCP/80")).ingress.reason for who in ("y/a", "x/a", "192.0.2.7")]
    assert said == [
        "Admin ClusterNetworkPolicy policy-admin-3 spec.ingress[1]: Deny",
        "NetworkPolicy x/policy spec.ingress[0] allows",
        "NetworkPolicy x/policy spec.ingress[0] allows",
    ]
