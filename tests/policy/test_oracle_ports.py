"""The oracle matches ports of a NetworkPolicy: numbers, ranges, names, protocols and ICMP."""

import pytest

from tests.policy.cast import BOTH, EVERYTHING, WORLD, block, has, in_namespaces, network_policy, pods, with_policies
from tests.policy.facts import Object
from tests.policy.table import EGRESS, INGRESS, NEITHER, PASS, from_a, outcomes, to_a

PORTS = [
    pytest.param(
        [to_a(ports=[{"port": 80}])],
        {"y/a > x/a TCP/80": PASS, "y/a > x/a TCP/81": INGRESS, "y/a > x/a UDP/80": INGRESS},
        id="98: a port is allowed and no other; without a protocol it is TCP's",
    ),
    pytest.param(
        [to_a(ports=[{"port": 80}, {"port": 443, "protocol": "UDP"}])],
        {"y/a > x/a TCP/80": PASS, "y/a > x/a UDP/443": PASS, "y/a > x/a TCP/443": INGRESS},
        id="98: of several ports one must match",
    ),
    pytest.param(
        [to_a(ports=[{"port": "nobody"}], **{"from": [in_namespaces(EVERYTHING)]})],
        {"y/a > x/a TCP/80": INGRESS, "y/a > x/a TCP/1": INGRESS, "y/a > x/a ICMP": INGRESS},
        id="99: a port that nobody has does not widen the rule to all ports",
    ),
    pytest.param(
        [to_a(ports=[{"port": 80}]), to_a(ports=[{"port": 81}], **{"from": [pods(has(pod="b"))]})],
        {"y/a > x/a TCP/80": PASS, "x/b > x/a TCP/81": PASS, "y/a > x/a TCP/81": INGRESS, "x/b > x/a TCP/82": INGRESS},
        id="100: policies that overlap allow what one of them allows, peer and port in one rule",
    ),
    pytest.param(
        [network_policy("x", types=BOTH), network_policy("x", types=BOTH, ingress=[{}], egress=[{}])],
        {"y/a > x/a TCP/80": PASS, "x/a > y/a TCP/80": PASS},
        id="101: allow-all goes before deny-all, for ingress and for egress",
    ),
    pytest.param(
        [to_a(ports=[{"protocol": "UDP"}])],
        {"y/a > x/a UDP/1": PASS, "y/a > x/a UDP/65535": PASS, "y/a > x/a TCP/1": INGRESS},
        id="102: a protocol without a port is all its ports",
    ),
    pytest.param(
        [to_a(ports=[{"port": "web"}])],
        {"y/a > x/a TCP/80": PASS, "y/a > x/a TCP/8080": INGRESS, "y/a > x/a TCP/81": INGRESS},
        id="103: a named port of ingress is the selected pod's",
    ),
    pytest.param(
        [network_policy("x", ingress=[{"ports": [{"port": "web"}]}])],
        {
            "y/a > x/a TCP/80": PASS,
            "y/a > x/b TCP/81": PASS,
            "y/a > x/a TCP/81": INGRESS,
            "y/a > x/b TCP/80": INGRESS,
        },
        id="103: a named port is another number on each of the selected pods",
    ),
    pytest.param(
        [from_a(ports=[{"port": "web"}])],
        {
            "x/a > x/b TCP/81": PASS,
            "x/a > y/a TCP/8080": PASS,
            "x/a > y/a TCP/80": EGRESS,
            "x/a > y/b TCP/80": EGRESS,
            "x/a > 192.0.2.7 TCP/80": EGRESS,
            "x/a > n2 TCP/80": EGRESS,
        },
        id="103: a named port of egress is the destination pod's, of any namespace, and nothing outside has one",
    ),
    pytest.param(
        [from_a(ports=[{"port": "web"}], to=[block("10.1.0.0/24")])],
        {"x/a > y/a TCP/8080": PASS, "x/a > y/a TCP/80": EGRESS, "x/a > 10.1.0.200 TCP/8080": EGRESS},
        id="103: a named port beside a block is the port of the pod at the address",
    ),
    pytest.param(
        [to_a(ports=[{"port": "web"}], **{"from": [in_namespaces(has(env="prod"))]})],
        {"z/a > x/a TCP/80": PASS, "z/a > x/a TCP/81": INGRESS, "y/a > x/a TCP/80": INGRESS},
        id="103: a named port from a namespace",
    ),
    pytest.param(
        [to_a(ports=[{"port": "dns"}])],
        {"y/a > x/a TCP/53": INGRESS, "y/a > x/a UDP/53": INGRESS},
        id="103: a named port of another protocol is none",
    ),
    pytest.param(
        [to_a(ports=[{"port": "dns", "protocol": "UDP"}])],
        {"y/a > x/a UDP/53": PASS, "y/a > x/a TCP/53": INGRESS},
        id="103: a named port is one of its protocol",
    ),
    pytest.param(
        [network_policy("x", ingress=[{"ports": [{"port": "web"}]}], egress=[{"ports": [{"port": "web"}]}])],
        {"x/a > x/b TCP/81": PASS, "x/b > x/a TCP/80": PASS, "x/a > x/b TCP/80": NEITHER, "x/a > y/a TCP/8080": PASS},
        id="103: both ends of a flow take a named port as the destination's",
    ),
    pytest.param(
        [to_a(ports=[{"protocol": "UDP"}])],
        {"y/a > x/a TCP/53": INGRESS},
        id="116: a policy of UDP alone denies TCP",
    ),
    pytest.param(
        [to_a(ports=[{"protocol": "SCTP", "port": 80}])],
        {"y/a > x/a TCP/80": INGRESS, "y/a > x/a UDP/80": INGRESS},
        id="117: a port of SCTP is not taken for TCP's",
    ),
    pytest.param(
        [to_a(ports=[{"protocol": "SCTP", "port": 80}])],
        {"y/a > x/a TCP/81": INGRESS, "y/a > x/a SCTP/81": INGRESS, "x/a > y/a TCP/81": PASS},
        id="118: a policy of SCTP isolates for every protocol",
    ),
    pytest.param(
        [network_policy("x")],
        {"y/a > x/a UDP/53": INGRESS, "x/a > y/a UDP/53": PASS},
        id="119: UDP is isolated by default-deny-ingress",
    ),
    pytest.param(
        [to_a(ports=[{"protocol": "UDP", "port": 53}], **{"from": [in_namespaces(has(team="blue"), has(pod="a"))]})],
        {"y/a > x/a UDP/53": PASS, "y/b > x/a UDP/53": INGRESS, "y/a > x/a UDP/54": INGRESS},
        id="119: UDP by peer and port",
    ),
    pytest.param(
        [network_policy("x")],
        {"y/a > x/a SCTP/53": INGRESS, "x/a > y/a SCTP/53": PASS},
        id="120: SCTP is isolated by default-deny-ingress",
    ),
    pytest.param(
        [to_a(ports=[{"protocol": "SCTP", "port": 80}], **{"from": [in_namespaces(has(team="blue"), has(pod="a"))]})],
        {"y/a > x/a SCTP/80": PASS, "y/b > x/a SCTP/80": INGRESS, "y/a > x/a SCTP/81": INGRESS},
        id="120: SCTP by peer and port",
    ),
    pytest.param(
        [to_a(ports=[{"port": 100, "endPort": 200}])],
        {
            "y/a > x/a TCP/99": INGRESS,
            "y/a > x/a TCP/100": PASS,
            "y/a > x/a TCP/200": PASS,
            "y/a > x/a TCP/201": INGRESS,
            "y/a > x/a UDP/150": INGRESS,
        },
        id="121: a range holds both of its ends and nothing beside them",
    ),
    pytest.param(
        [from_a(ports=[{"port": 1, "endPort": 65535, "protocol": "UDP"}])],
        {"x/a > y/a UDP/1": PASS, "x/a > y/a UDP/65535": PASS, "x/a > y/a TCP/5": EGRESS, "x/a > y/a ICMP": EGRESS},
        id="121: a range of all ports of egress is of its protocol alone",
    ),
    pytest.param(
        [to_a(ports=[{"port": 80, "endPort": 80}])],
        {"y/a > x/a TCP/80": PASS, "y/a > x/a TCP/81": INGRESS},
        id="121: a range may hold one port",
    ),
    pytest.param(
        [to_a(**{"from": [pods(has(pod="b"))]})],
        {"x/b > x/a ICMP": PASS, "y/a > x/a ICMP": INGRESS, "x/b6 > x/a6 ICMP": PASS},
        id="127: ICMP is matched by a rule without ports, from its peers",
    ),
    pytest.param(
        [to_a(ports=[{"protocol": "TCP"}, {"protocol": "UDP"}, {"protocol": "SCTP"}])],
        {"x/b > x/a ICMP": INGRESS, "x/b > x/a TCP/1": PASS},
        id="127: ICMP is matched by no rule with ports, although they are all ports",
    ),
]


@pytest.mark.parametrize(("policies", "flows"), [*PORTS])
def test_ports(policies: list[Object], flows: dict[str, str]) -> None:
    assert outcomes(with_policies(WORLD, *policies), flows) == flows
