"""The oracle matches rules of a ClusterNetworkPolicy: subjects, peers, ports and protocols."""

import dataclasses

import pytest

from tests.policy.cast import EVERYTHING, WORLD, flow, has, network_policy, node, where, with_policies
from tests.policy.facts import Object
from tests.policy.oracle import verdict
from tests.policy.table import ALL, EGRESS, INGRESS, NEITHER, PASS, X, admin, inbound, outbound, outcome, outcomes, port

PEERS = [
    pytest.param(
        [
            admin(
                1,
                {"pods": {"namespaceSelector": has(team="blue"), "podSelector": has(app="shop")}},
                ingress=[inbound("Deny")],
            )
        ],
        {"x/a > y/a TCP/80": INGRESS, "x/a > y/b TCP/80": PASS, "y/a > x/a TCP/80": PASS},
        id="a subject of pods is selected by both selectors",
    ),
    pytest.param(
        [admin(1, {"pods": {"podSelector": has(pod="a")}}, ingress=[inbound("Deny")])],
        {"x/b > x/a TCP/80": INGRESS, "x/b > z/a TCP/80": INGRESS, "x/a > y/b TCP/80": PASS},
        id="a missing namespaceSelector is that of all namespaces",
    ),
    pytest.param(
        [
            admin(
                1,
                X,
                ingress=[
                    inbound("Deny", {"namespaces": where("env", "Exists")}, {"pods": {"podSelector": has(pod="b")}})
                ],
            )
        ],
        {"z/a > x/a TCP/80": INGRESS, "y/b > x/a TCP/80": INGRESS, "y/a > x/a TCP/80": PASS},
        id="of several peers one must match",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Deny")])],
        {"192.0.2.7 > x/a TCP/80": PASS, "n2 > x/a TCP/80": PASS, "10.1.0.200 > x/a TCP/80": PASS},
        id="a peer of all namespaces is pods alone",
    ),
    pytest.param(
        [admin(1, X, egress=[outbound("Deny", {"nodes": has(zone="two")})])],
        {
            "x/a > n2 TCP/80": EGRESS,
            "x/a6 > n26 ICMP": EGRESS,
            "x/a > 198.51.100.2 UDP/1": EGRESS,
            "x/a > n1 TCP/1": PASS,
        },
        id="a peer of nodes is all addresses of the nodes that have the labels",
    ),
    pytest.param(
        [admin(1, X, egress=[outbound("Deny", {"nodes": EVERYTHING})])],
        {
            "x/a > n1 TCP/80": EGRESS,
            "x/a > x/host TCP/80": EGRESS,
            "x/a > y/b TCP/80": PASS,
            "x/a > 192.0.2.7 TCP/1": PASS,
        },
        id="an empty selector of nodes is every node, and with it the pods on its network",
    ),
    pytest.param(
        [admin(1, X, egress=[outbound("Deny", {"networks": ["10.2.0.0/24", "2001:db8::/32", "10.0.0.2/32"]})])],
        {
            "x/a > y/b TCP/80": EGRESS,
            "x/a6 > 2001:db8::7 ICMP": EGRESS,
            "x/a > n2 UDP/1": EGRESS,
            "x/a > y/a TCP/80": PASS,
            "x/a6 > y/b6 TCP/80": PASS,
        },
        id="networks are outside addresses, pods and nodes alike, ICMP too",
    ),
    pytest.param(
        [admin(1, X, egress=[outbound("Deny", {"networks": ["0.0.0.0/0"]})])],
        {"x/a > 192.0.2.7 TCP/80": EGRESS, "x/a6 > 2001:db8::7 TCP/80": PASS},
        id="a network of all of IPv4 holds no IPv6 address",
    ),
    pytest.param(
        [admin(1, ALL, ingress=[inbound("Deny")], egress=[outbound("Deny", ALL)])],
        {
            "x/host > y/b TCP/80": PASS,
            "y/b > x/host TCP/80": PASS,
            "x/done > y/b TCP/1": PASS,
            "x/a > y/b TCP/1": NEITHER,
        },
        id="pods on the host's network and pods that ended are neither subjects nor peers",
    ),
    pytest.param(
        [admin(1, ALL, ingress=[inbound("Deny")], egress=[outbound("Deny", ALL)])],
        {"x/a > x/a TCP/80": PASS, "x/a6 > x/a6 ICMP": PASS},
        id="a pod reaches itself, whatever an Admin denies",
    ),
    pytest.param(
        [
            admin(
                1,
                X,
                ingress=[inbound("Deny", {"unknown": EVERYTHING})],
                egress=[outbound("Deny", {"nodes": EVERYTHING})],
            )
        ],
        {"n1 > x/a TCP/80": PASS, "n2 > x/a TCP/80": INGRESS, "x/a > n1 TCP/80": EGRESS},
        id="the own node reaches its pods, whatever an Admin denies; egress to it is judged",
    ),
]

PROTOCOLS = [
    pytest.param(
        [admin(1, X, ingress=[inbound("Deny", protocols=[port("tcp", 80), port("udp", 53)])])],
        {
            "y/a > x/a TCP/80": INGRESS,
            "y/a > x/a UDP/53": INGRESS,
            "y/a > x/a UDP/80": PASS,
            "y/a > x/a TCP/53": PASS,
            "y/a > x/a ICMP": PASS,
        },
        id="a rule with protocols matches these ports alone",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Deny", protocols=[port("sctp", start=10, end=20)])])],
        {
            "y/a > x/a SCTP/9": PASS,
            "y/a > x/a SCTP/10": INGRESS,
            "y/a > x/a SCTP/20": INGRESS,
            "y/a > x/a SCTP/21": PASS,
            "y/a > x/a TCP/15": PASS,
        },
        id="a range holds both of its ends",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Deny", protocols=[port("tcp")])])],
        {"y/a > x/a TCP/1": INGRESS, "y/a > x/a TCP/65535": INGRESS, "y/a > x/a UDP/1": PASS},
        id="a protocol without a port is all its ports",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Deny")])],
        {"y/a > x/a ICMP": INGRESS, "y/a > x/a SCTP/1": INGRESS, "y/a6 > x/a6 ICMP": INGRESS},
        id="a rule without protocols is all of them, ICMP too",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Deny", protocols=[{"destinationNamedPort": "web"}])])],
        {"y/a > x/a TCP/80": INGRESS, "y/a > x/b TCP/81": INGRESS, "y/a > x/b TCP/80": PASS, "y/a > x/a UDP/80": PASS},
        id="a named port is the subject's at ingress",
    ),
    pytest.param(
        [
            admin(
                1,
                X,
                egress=[outbound("Deny", protocols=[{"destinationNamedPort": "web"}, {"destinationNamedPort": "dns"}])],
            )
        ],
        {
            "x/b > x/a TCP/80": EGRESS,
            "x/b > x/a UDP/53": EGRESS,
            "x/b > x/a TCP/53": PASS,
            "x/a > y/a TCP/8080": EGRESS,
        },
        id="a named port is the destination pod's at egress, with the protocol that it has there",
    ),
    pytest.param(
        [admin(1, X, ingress=[inbound("Accept", protocols=[{"destinationNamedPort": "nobody"}])]), network_policy("x")],
        {"y/a > x/a TCP/80": INGRESS, "y/a > x/a ICMP": INGRESS},
        id="a named port that nobody has does not widen an Accept",
    ),
]


@pytest.mark.parametrize(("policies", "flows"), [*PEERS, *PROTOCOLS])
def test_rules(policies: list[Object], flows: dict[str, str]) -> None:
    assert outcomes(with_policies(WORLD, *policies), flows) == flows


def test_a_node_s_host_name_is_no_address() -> None:
    world = with_policies(WORLD, admin(1, X, egress=[outbound("Deny", {"nodes": EVERYTHING})]))
    world = dataclasses.replace(world, nodes=[node("192.0.2.7", 3)])
    assert outcome(verdict(world, flow(world, "x/a > 10.0.0.3 TCP/1"))) == EGRESS
    world.nodes[0]["status"]["addresses"] = [{"type": "Hostname", "address": "192.0.2.7"}]
    assert outcome(verdict(world, flow(WORLD, "x/a > 192.0.2.7 TCP/1"))) == PASS
