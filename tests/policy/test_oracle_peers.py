"""The oracle matches peers of a NetworkPolicy: selectors and address blocks."""

import pytest

from tests.policy.cast import (
    EVERYTHING,
    NOBODY,
    WORLD,
    block,
    has,
    in_namespaces,
    network_policy,
    pods,
    where,
    with_policies,
)
from tests.policy.facts import Object
from tests.policy.table import EGRESS, INGRESS, PASS, from_a, outcomes, to_a

PEERS = [
    pytest.param(
        [to_a(**{"from": [in_namespaces(EVERYTHING)]})],
        {
            "y/a > x/a TCP/80": PASS,
            "z/a > x/a TCP/80": PASS,
            "x/b > x/a TCP/80": PASS,
            "192.0.2.7 > x/a TCP/1": INGRESS,
        },
        id="89: all namespaces are all pods, and nothing that is no pod",
    ),
    pytest.param(
        [to_a(**{"from": [pods(EVERYTHING)]})],
        {"x/b > x/a TCP/80": PASS, "y/a > x/a TCP/80": INGRESS},
        id="90: a podSelector alone is about the policy's own namespace",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(has(team="blue"))]})],
        {"y/a > x/a TCP/80": PASS, "z/a > x/a TCP/80": PASS, "x/b > x/a TCP/80": INGRESS},
        id="91: a namespaceSelector alone is all pods of these namespaces",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(has(team="blue"), has(pod="b"))]})],
        {"y/b > x/a TCP/80": PASS, "y/a > x/a TCP/80": INGRESS, "x/b > x/a TCP/80": INGRESS},
        id="92: both selectors in one item must both hold",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(has(team="blue")), pods(has(pod="b"))]})],
        {"y/a > x/a TCP/80": PASS, "x/b > x/a TCP/80": PASS},
        id="93: of separate items one must hold",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(where("team", "NotIn", "red"), where("app", "DoesNotExist"))]})],
        {"y/b > x/a TCP/80": PASS, "y/a > x/a TCP/80": INGRESS, "x/b > x/a TCP/80": INGRESS},
        id="94: expressions select namespaces and pods",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(where("env", "In", "prod", "test"))]})],
        {"z/a > x/a TCP/80": PASS, "y/a > x/a TCP/80": INGRESS, "x/b > x/a TCP/80": INGRESS},
        id="94: In holds only for who has the label",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(where("env", "NotIn", "prod"))]})],
        {"z/a > x/a TCP/80": INGRESS, "y/a > x/a TCP/80": PASS, "x/b > x/a TCP/80": PASS},
        id="94: NotIn holds also for who lacks the label",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(where("env", "Exists"), EVERYTHING)]})],
        {"z/a > x/a TCP/80": PASS, "y/a > x/a TCP/80": INGRESS},
        id="94: Exists holds for any value",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces({**has(team="blue"), **where("env", "DoesNotExist")})]})],
        {"y/a > x/a TCP/80": PASS, "z/a > x/a TCP/80": INGRESS, "x/b > x/a TCP/80": INGRESS},
        id="94: labels and expressions of one selector must all hold",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(has(team="red"))]})],
        {"x/b > x/a TCP/80": PASS, "z/a > x/a TCP/80": INGRESS},
        id="94: a pod's label is not its namespace's",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(has(**{"kubernetes.io/metadata.name": "y"}))]})],
        {"y/a > x/a TCP/80": PASS, "z/a > x/a TCP/80": INGRESS},
        id="95: a namespace is selected by the label of its name, which it always has",
    ),
    pytest.param(
        [to_a(**{"from": [pods(has(pod="b")), in_namespaces(has(env="prod")), in_namespaces(has(team="x"))]})],
        {"x/b > x/a TCP/80": PASS, "z/a > x/a TCP/80": PASS, "y/a > x/a TCP/80": INGRESS},
        id="96: several selectors of both kinds are a union",
    ),
    pytest.param(
        [to_a(**{"from": [in_namespaces(has(team="blue"), EVERYTHING)]})],
        {"y/a > x/a TCP/80": PASS, "y/b > x/a TCP/80": PASS, "x/b > x/a TCP/80": INGRESS},
        id="97: an empty podSelector beside a namespaceSelector is any pod there",
    ),
    pytest.param(
        [to_a(**{"from": [NOBODY]})],
        {"y/a > x/a TCP/80": INGRESS, "192.0.2.7 > x/a TCP/80": INGRESS},
        id="a peer that names nothing is nobody",
    ),
    pytest.param(
        [from_a(to=[in_namespaces(has(team="blue"), has(app="shop"))])],
        {
            "x/a > y/a TCP/8": PASS,
            "x/a > y/b TCP/8": EGRESS,
            "x/a > x/b TCP/8": EGRESS,
            "x/a > 192.0.2.7 TCP/8": EGRESS,
        },
        id="107: egress to another namespace by both selectors",
    ),
    pytest.param(
        [from_a(to=[pods(has(pod="b"))]), network_policy("y", ingress=[{}])],
        {"x/a > y/a TCP/80": EGRESS, "x/a > x/b TCP/80": PASS},
        id="108: egress is denied at the client although the server allows it",
    ),
    pytest.param(
        [network_policy("x", types=["Egress"])],
        {"x/a > y/a TCP/80": EGRESS, "x/b > x/a TCP/80": EGRESS, "y/a > x/a TCP/80": PASS},
        id="109: egress is denied from all pods of a namespace",
    ),
    pytest.param(
        [network_policy("x", has(pod="b"), types=["Egress"])],
        {"x/b > y/a TCP/80": EGRESS, "x/a > y/a TCP/80": PASS},
        id="109: egress is denied from the pods that a podSelector selects",
    ),
]

BLOCKS = [
    pytest.param(
        [from_a(to=[block("10.2.0.0/24")])],
        {"x/a > y/b TCP/80": PASS, "x/a > y/a TCP/80": EGRESS, "x/a6 > y/b6 TCP/80": EGRESS},
        id="104: egress to a CIDR reaches the pods in it, of its own family alone",
    ),
    pytest.param(
        [from_a(to=[block("10.2.0.0/24", "10.2.0.1/32")])],
        {"x/a > y/b TCP/80": EGRESS, "x/a > z/a TCP/80": PASS},
        id="105: what is excepted is not allowed",
    ),
    pytest.param(
        [from_a(to=[block("10.2.0.0/24", "10.2.0.1/32")]), from_a(to=[block("10.2.0.1/32")])],
        {"x/a > y/b TCP/80": PASS, "x/a > z/a TCP/80": PASS},
        id="106: excepted by one policy and in the CIDR of another is allowed",
    ),
    pytest.param(
        [from_a(to=[block("10.2.0.0/24", "10.2.0.1/32"), block("10.2.0.0/31", "10.2.0.0/32")])],
        {"x/a > y/b TCP/80": PASS},
        id="106: excepted by one item and in the CIDR of another of the same rule is allowed",
    ),
    pytest.param(
        [to_a(**{"from": [block("0.0.0.0/0", "10.0.0.0/8")]})],
        {"192.0.2.7 > x/a TCP/80": PASS, "n2 > x/a TCP/80": INGRESS, "y/a > x/a TCP/80": INGRESS},
        id="a block and its exceptions hold for pods, nodes and outside addresses alike",
    ),
    pytest.param(
        [to_a(**{"from": [block("10.0.0.2/32")]})],
        {"n2 > x/a TCP/80": PASS, "198.51.100.2 > x/a TCP/80": INGRESS},
        id="a node is matched by the address that it uses",
    ),
    pytest.param(
        [to_a(**{"from": [block("::/0", "fd02::/16")]})],
        {"fe80::1 > x/a6 TCP/80": PASS, "z/a6 > x/a6 TCP/80": INGRESS, "192.0.2.7 > x/a TCP/80": INGRESS},
        id="::/0 holds every IPv6 address, link-local ones too, and no IPv4 address",
    ),
    pytest.param(
        [to_a(**{"from": [block("192.0.2.7/24")]})],
        {"192.0.2.200 > x/a TCP/80": PASS, "192.0.3.1 > x/a TCP/80": INGRESS},
        id="bits behind a CIDR's prefix do not count",
    ),
    pytest.param(
        [to_a(**{"from": [block("192.0.2.7/32")]})],
        {"192.0.2.7 > x/a TCP/80": PASS, "192.0.2.8 > x/a TCP/80": INGRESS},
        id="128: an outside client is judged by the address that it has at the pod",
    ),
]


@pytest.mark.parametrize(("policies", "flows"), [*PEERS, *BLOCKS])
def test_peers(policies: list[Object], flows: dict[str, str]) -> None:
    assert outcomes(with_policies(WORLD, *policies), flows) == flows
