"""Rules of ClusterNetworkPolicies: peers and protocols, and how a rule that is not understood opens nothing."""

from ipaddress import ip_network

import pytest

from agent.model.policy import (
    CidrPeer,
    NamedPort,
    NodePeer,
    Operator,
    Peer,
    PodPeer,
    PortRange,
    Requirement,
    Rule,
    Selector,
    Verdict,
)
from agent.model.service import Protocol
from agent.watch.decode.kind import Decoded
from tests.agent.watch.decode.test_cluster_network_policy import ANYONE, SHOP, WEB, decoded, fields, policy

TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP


def ingress(*rules: object) -> Decoded:
    return decoded(ingress=list(rules))


def egress(*rules: object) -> Decoded:
    return decoded(egress=list(rules))


def reaching(peer: object, action: str = "Accept") -> Decoded:
    return egress({"name": "r", "action": action, "to": [{"namespaces": {}}, peer]})


def by(protocol: object, action: str = "Accept") -> Decoded:
    return ingress({"name": "r", "action": action, "from": ANYONE, "protocols": [protocol]})


def one(found: Decoded) -> Rule:
    (rule,) = policy(found).ingress or policy(found).egress or ()
    return rule


@pytest.mark.parametrize(
    ("peer", "meaning"),
    [
        pytest.param({"namespaces": {"matchLabels": {"team": "shop"}}}, [PodPeer(namespaces=SHOP)], id="namespaces"),
        pytest.param({"pods": {"podSelector": {"matchLabels": {"app": "web"}}}}, [PodPeer(WEB)], id="pods anywhere"),
        pytest.param(
            {
                "pods": {
                    "podSelector": {"matchLabels": {"app": "web"}},
                    "namespaceSelector": {"matchLabels": {"team": "shop"}},
                }
            },
            [PodPeer(WEB, SHOP)],
            id="pods of some namespaces",
        ),
        pytest.param({"nodes": {}}, [NodePeer()], id="all nodes"),
        pytest.param(
            {"nodes": {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}},
            [NodePeer(Selector((Requirement("gpu", Operator.EXISTS),)))],
            id="some nodes",
        ),
        pytest.param(
            {"networks": ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"]},
            [CidrPeer(ip_network(text)) for text in ("10.0.0.0/8", "fd00::/8", "192.0.2.1/32")],
            id="networks",
        ),
    ],
)
def test_a_destination(peer: object, meaning: list[Peer]) -> None:
    found = reaching(peer)
    assert (one(found).peers, found.problems) == ((PodPeer(), *meaning), ())


@pytest.mark.parametrize(
    ("protocol", "meaning"),
    [
        pytest.param({"tcp": {"destinationPort": {"number": 80}}}, PortRange(TCP, 80, 80), id="a port of TCP"),
        pytest.param({"udp": {"destinationPort": {"number": 53}}}, PortRange(UDP, 53, 53), id="of UDP"),
        pytest.param(
            {"sctp": {"destinationPort": {"range": {"start": 1, "end": 65535}}}},
            PortRange(SCTP, 1, 65535),
            id="a range",
        ),
        pytest.param({"destinationNamedPort": "http"}, NamedPort("http"), id="a named port of any protocol"),
    ],
)
def test_a_protocol(protocol: object, meaning: object) -> None:
    found = by(protocol)
    assert (one(found).ports, found.problems) == ((meaning,), ())


@pytest.mark.parametrize("protocols", [{}, {"protocols": None}, {"protocols": []}])
def test_without_protocols_a_rule_is_for_all(protocols: dict[str, object]) -> None:
    assert one(ingress({"action": "Deny", "from": ANYONE, **protocols})).ports is None


BAD_PEERS = [
    pytest.param({}, "", id="a kind of peer that is not known"),
    pytest.param({"services": {}}, "", id="an unknown field"),
    pytest.param(None, "", id="null"),
    pytest.param({"namespaces": {}, "nodes": {}}, "", id="two kinds in one"),
    pytest.param({"networks": []}, "", id="no network"),
    pytest.param({"networks": ["10.0.0.0/8", "lan"]}, ".networks[1]", id="a network that is none"),
    pytest.param({"networks": ["fe80::1%1/64"]}, ".networks[0]", id="a network with a zone"),
    pytest.param({"networks": ["10.1.2.3/8"]}, ".networks[0]", id="a network with host bits"),
    pytest.param({"domainNames": ["example.org"]}, ".domainNames", id="domain names, which are not served"),
    pytest.param({"pods": {"namespaceSelector": {}}}, ".pods.podSelector", id="pods without selector"),
    pytest.param({"namespaces": {"matchLabel": {}}}, ".namespaces", id="a selector with an unknown field"),
    pytest.param(
        {"nodes": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}},
        ".nodes.matchExpressions[0].operator",
        id="an operator of other selectors",
    ),
]
PEER = "spec.egress[0].to[1]"


@pytest.mark.parametrize(("peer", "field"), BAD_PEERS)
def test_a_peer_that_is_not_understood_makes_a_rule_that_accepts_match_nothing(peer: object, field: str) -> None:
    found = reaching(peer)
    assert one(found) == Rule(Verdict.ACCEPT, peers=(), name="r")
    assert fields(found) == [PEER + field]


@pytest.mark.parametrize("action", ["Deny", "Pass"])
@pytest.mark.parametrize(("peer", "field"), BAD_PEERS)
def test_and_one_that_denies_or_passes_deny_all(peer: object, field: str, action: str) -> None:
    found = reaching(peer, action)
    assert one(found) == Rule(Verdict.DENY, name="r")
    assert fields(found) == [PEER + field, "spec.egress[0]"]


@pytest.mark.parametrize("peer", [{"networks": ["10.0.0.0/8"]}, {"nodes": {}}])
def test_sources_are_pods(peer: object) -> None:
    found = ingress({"action": "Pass", "from": [peer]})
    assert one(found) == Rule(Verdict.DENY)
    assert fields(found) == ["spec.ingress[0].from[0]", "spec.ingress[0]"]


@pytest.mark.parametrize("peers", [{}, {"from": []}, {"from": None}])
def test_a_rule_has_a_peer(peers: dict[str, object]) -> None:
    assert one(ingress({"action": "Accept", **peers})).peers == ()
    assert one(ingress({"action": "Deny", **peers})) == Rule(Verdict.DENY)


PORT = "spec.ingress[0].protocols[0]"


@pytest.mark.parametrize(
    ("protocol", "field"),
    [
        pytest.param({}, "", id="a protocol that is not known"),
        pytest.param({"icmp": {}}, "", id="an unknown field"),
        pytest.param({"tcp": {}}, ".tcp.destinationPort", id="something else of TCP"),
        pytest.param({"tcp": {"destinationPort": {}}}, ".tcp.destinationPort", id="neither number nor range"),
        pytest.param(
            {"tcp": {"destinationPort": {"number": 1, "range": {"start": 1, "end": 2}}}},
            ".tcp.destinationPort",
            id="number and range",
        ),
        pytest.param({"udp": {"destinationPort": {"number": 0}}}, ".udp.destinationPort.number", id="port 0"),
        pytest.param({"udp": {"destinationPort": {"number": 65536}}}, ".udp.destinationPort.number", id="too high"),
        pytest.param(
            {"sctp": {"destinationPort": {"range": {"start": 9, "end": 9}}}},
            ".sctp.destinationPort.range.end",
            id="a range of one",
        ),
        pytest.param(
            {"tcp": {"destinationPort": {"range": {"start": 9}}}}, ".tcp.destinationPort.range.end", id="half a range"
        ),
        pytest.param(
            {"tcp": {"destinationPort": {"number": 1}}, "udp": {"destinationPort": {"number": 1}}}, "", id="two in one"
        ),
        pytest.param(
            {"tcp": {"destinationPort": {"number": 1}}, "destinationNamedPort": "a"}, "", id="a named one beside TCP"
        ),
    ],
)
def test_a_protocol_that_is_not_understood_opens_nothing(protocol: object, field: str) -> None:
    assert one(by(protocol)) == Rule(Verdict.ACCEPT, peers=(), name="r")
    assert one(by(protocol, "Deny")) == one(by(protocol, "Pass")) == Rule(Verdict.DENY, name="r")
    assert fields(by(protocol)) == [PORT + field]


@pytest.mark.parametrize("peer", [{"networks": ["10.0.0.0/8"]}, {"nodes": {}}])
def test_nodes_and_networks_have_no_named_ports(peer: object) -> None:
    found = egress({"action": "Accept", "to": [peer], "protocols": [{"destinationNamedPort": "http"}]})
    assert one(found).peers == ()
    assert fields(found) == ["spec.egress[0].protocols[0].destinationNamedPort"]


def test_an_unknown_action_denies_what_the_rule_matches() -> None:
    found = ingress({"name": "r", "action": "Allow", "from": ANYONE})
    assert one(found) == Rule(Verdict.DENY, (PodPeer(),), name="r")
    assert fields(found) == ["spec.ingress[0].action"]


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(None, id="null"),
        pytest.param({"action": 1, "from": ANYONE}, id="an action that is a number"),
        pytest.param({"action": "Deny", "from": {}}, id="peers that are no list"),
        pytest.param({"action": "Pass", "from": ANYONE, "ports": []}, id="an unknown field"),
    ],
)
def test_a_rule_of_a_wrong_shape_denies_all_and_leaves_the_others(rule: object) -> None:
    found = policy(ingress(rule, {"action": "Accept", "from": ANYONE}))
    assert found.ingress == (Rule(Verdict.DENY), Rule(Verdict.ACCEPT, (PodPeer(),)))
