"""NetworkPolicies as users write them: what each part means, and that a mistake never makes one wider."""

import json
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.name import ObjectName
from agent.model.policy import (
    EVERYTHING,
    CidrPeer,
    NamedPort,
    Operator,
    PodPeer,
    Policy,
    PortRange,
    Requirement,
    Rule,
    Selector,
    Tier,
    Verdict,
)
from agent.model.service import Protocol
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Decoded
from agent.watch.decode.network_policy import MOST_SELECTED, NETWORK_POLICY

NAME = ObjectName("shop", "web")
WEB = Selector((Requirement("app", Operator.IN, frozenset(["web"])),))
TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP


def decoded(**spec: object) -> Decoded:
    content = {"metadata": {"namespace": "shop", "name": "web"}, "spec": spec}
    return Decoder("n1").decode(NETWORK_POLICY, json.dumps(content).encode())


def policy(found: Decoded) -> Policy:
    assert isinstance(found.value, Policy)
    return found.value


def rule(found: Decoded) -> Rule:
    """The one rule for ingress."""
    (one,) = policy(found).ingress or ()
    return one


def sources(*peers: object) -> Decoded:
    return decoded(podSelector={}, ingress=[{"from": list(peers)}])


def at_ports(*ports: object) -> Decoded:
    return decoded(podSelector={}, ingress=[{"ports": list(ports)}])


def fields(found: Decoded) -> list[str]:
    assert {(problem.kind, problem.name) for problem in found.problems} <= {("NetworkPolicy", NAME)}
    return [problem.field for problem in found.problems]


def test_every_field_reaches_the_model() -> None:
    found = decoded(
        podSelector={"matchLabels": {"app": "web"}},
        policyTypes=["Ingress", "Egress"],
        ingress=[
            {
                "from": [{"podSelector": {"matchLabels": {"app": "web"}}}, {"namespaceSelector": {}}],
                "ports": [{"port": 80}, {"protocol": "UDP", "port": 1000, "endPort": 2000}],
            },
            {},
        ],
        egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": "dns"}]}],
    )
    assert found.problems == ()
    assert policy(found) == Policy(
        NAME,
        PodPeer(WEB, namespace="shop"),
        ingress=(
            Rule(
                Verdict.ACCEPT,
                (PodPeer(WEB, namespace="shop"), PodPeer()),
                (PortRange(TCP, 80, 80), PortRange(UDP, 1000, 2000)),
            ),
            Rule(),
        ),
        egress=(
            Rule(
                Verdict.ACCEPT,
                (CidrPeer(ip_network("10.0.0.0/8"), (ip_network("10.1.0.0/16"),)),),
                (NamedPort("dns", TCP),),
            ),
        ),
        tier=Tier.NAMESPACE,
    )


ALL = (Rule(),)
OPEN: list[dict[str, object]] = [{}]


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        pytest.param({}, (), None, id="without types and rules it judges ingress"),
        pytest.param({"policyTypes": []}, (), None, id="so with an empty list of types"),
        pytest.param({"egress": OPEN}, (), ALL, id="rules for egress make it judge that too"),
        pytest.param({"egress": []}, (), None, id="an empty list of them does not"),
        pytest.param({"policyTypes": ["Egress"]}, None, (), id="types alone deny their direction"),
        pytest.param(
            {"policyTypes": ["Egress"], "ingress": OPEN}, None, (), id="rules of other directions do not count"
        ),
        pytest.param({"policyTypes": ["Ingress"], "egress": OPEN}, (), None, id="nor do they for egress"),
        pytest.param({"policyTypes": ["Egress", "Ingress"], "egress": OPEN}, (), ALL, id="both"),
        pytest.param(
            {"ingress": [{"from": [], "ports": []}]}, ALL, None, id="empty lists are everybody and every port"
        ),
        pytest.param({"ingress": [{"from": None, "ports": None}]}, ALL, None, id="and so is null"),
    ],
)
def test_directions(spec: dict[str, object], ingress: object, egress: object) -> None:
    found = decoded(podSelector={}, **spec)
    assert (policy(found).ingress, policy(found).egress, found.problems) == (ingress, egress, ())


def test_a_direction_that_is_misspelt_opens_nothing() -> None:
    found = decoded(podSelector={}, policyTypes=["Ingress", "egress"], ingress=OPEN, egress=OPEN)
    assert (policy(found).ingress, policy(found).egress) == (ALL, ())
    assert fields(found) == ["spec.policyTypes[1]"]
    alone = policy(decoded(podSelector={}, policyTypes=["egress"], ingress=OPEN, egress=OPEN))
    assert (alone.ingress, alone.egress) == ((), ())


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param({"matchExpressions": [{"key": "a", "operator": "Near"}]}, id="an unknown operator"),
        pytest.param({"matchExpressions": [{"key": "a", "operator": "In"}]}, id="In without values"),
        pytest.param({"matchLabel": {"app": "web"}}, id="a misspelt field"),
        pytest.param([], id="no selector at all"),
    ],
)
def test_a_policy_whose_pods_are_not_known_denies_its_namespace_and_lets_nobody_in(selector: object) -> None:
    found = decoded(podSelector=selector, ingress=OPEN)
    assert policy(found) == Policy(NAME, PodPeer(namespace="shop"), ingress=(), egress=None)
    assert all(field.startswith("spec.podSelector") for field in fields(found))
    assert fields(found)


@pytest.mark.parametrize("spec", [{}, {"podSelector": None}, {"podSelector": {}}])
def test_a_selector_that_is_left_out_selects_the_namespace(spec: dict[str, object]) -> None:
    found = decoded(ingress=OPEN, **spec)
    assert (policy(found).subject, policy(found).ingress, found.problems) == (PodPeer(namespace="shop"), ALL, ())


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"podSelector": {}, "ingress": {"from": []}}, id="rules that are no list"),
        pytest.param({"podSelector": {}, "policyTypes": "Ingress"}, id="types that are no list"),
    ],
)
def test_a_policy_of_a_wrong_shape_lets_nothing_pass(spec: dict[str, object]) -> None:
    found = decoded(**spec)
    assert policy(found) == Policy(NAME, PodPeer(namespace="shop"), ingress=(), egress=())
    assert len(found.problems) == 1


def test_a_policy_with_labels_of_a_wrong_shape_lets_nothing_pass_either() -> None:
    content = {"metadata": {"namespace": "shop", "name": "web", "labels": {"version": 1}}, "spec": {"ingress": OPEN}}
    found = Decoder("n1").decode(NETWORK_POLICY, json.dumps(content).encode())
    assert policy(found) == Policy(NAME, PodPeer(namespace="shop"), ingress=(), egress=())
    assert fields(found) == ["metadata.labels[...]"]


def test_a_policy_without_a_readable_name_is_none() -> None:
    found = Decoder("n1").decode(NETWORK_POLICY, b'{"metadata": 7}')
    assert (found.value, len(found.problems)) == (None, 1)


@pytest.mark.parametrize(
    ("peer", "meaning"),
    [
        pytest.param({"podSelector": {}}, PodPeer(namespace="shop"), id="all pods of the policy's namespace"),
        pytest.param({"namespaceSelector": {}}, PodPeer(), id="all pods"),
        pytest.param(
            {"namespaceSelector": {"matchLabels": {"app": "web"}}}, PodPeer(EVERYTHING, WEB), id="of some namespaces"
        ),
        pytest.param(
            {"podSelector": {"matchLabels": {"app": "web"}}, "namespaceSelector": {}},
            PodPeer(WEB),
            id="both are to be met",
        ),
        pytest.param(
            {"ipBlock": {"cidr": "10.1.2.3/8"}}, CidrPeer(ip_network("10.0.0.0/8")), id="host bits do not count"
        ),
        pytest.param({"ipBlock": {"cidr": "fd00::/8"}}, CidrPeer(ip_network("fd00::/8")), id="IPv6"),
        pytest.param(
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16", "10.1.0.0/16"]}},
            CidrPeer(ip_network("10.0.0.0/8"), (ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16"))),
            id="an exception given twice counts once",
        ),
    ],
)
def test_a_peer(peer: object, meaning: object) -> None:
    found = sources(peer)
    assert (rule(found).peers, found.problems) == ((meaning,), ())


PEER = "spec.ingress[0].from[0]"
BAD_PEERS = [
    pytest.param({}, PEER, id="nothing said"),
    pytest.param({"ipblock": {"cidr": "10.0.0.0/8"}}, PEER, id="a kind of peer that is not known"),
    pytest.param({"podSelector": {}, "pods": {}}, PEER, id="an unknown field beside a known one"),
    pytest.param(None, PEER, id="null"),
    pytest.param("everybody", PEER, id="a text"),
    pytest.param({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}, PEER, id="a range and a selector"),
    pytest.param(
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "="}]}},
        f"{PEER}.podSelector.matchExpressions[0].operator",
        id="a podSelector that cannot be used",
    ),
    pytest.param(
        {"podSelector": {}, "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        f"{PEER}.namespaceSelector.matchExpressions[0].values",
        id="a namespaceSelector that cannot be used",
    ),
    pytest.param({"ipBlock": {}}, f"{PEER}.ipBlock.cidr", id="no range"),
    pytest.param({"ipBlock": {"cidr": "10.0.0.0/33"}}, f"{PEER}.ipBlock.cidr", id="a range that is none"),
    pytest.param({"ipBlock": {"cidr": "::ffff:10.0.0.0/112"}}, f"{PEER}.ipBlock.cidr", id="IPv4 in IPv6"),
    pytest.param(
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "lan"]}},
        f"{PEER}.ipBlock.except[1]",
        id="an exception that is none, of which nobody knows what it keeps out",
    ),
    pytest.param(
        {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.0.0.0/8"]}},
        f"{PEER}.ipBlock.except[0]",
        id="an exception of more than the range",
    ),
    pytest.param(
        {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.0.0/16"]}},
        f"{PEER}.ipBlock.except[0]",
        id="an exception of all of it",
    ),
]


@pytest.mark.parametrize(("peer", "field"), BAD_PEERS)
def test_a_peer_that_cannot_be_used_matches_nothing_and_leaves_the_others(peer: object, field: str) -> None:
    assert rule(sources(peer)).peers == ()
    found = sources(peer, {"podSelector": {}})
    assert rule(found).peers == (PodPeer(namespace="shop"),)
    assert fields(found) == [field]


@pytest.mark.parametrize("network", ["192.168.0.0/16", "fd00::/8"])
def test_an_exception_outside_its_range_is_left_out(network: str) -> None:
    found = sources({"ipBlock": {"cidr": "10.0.0.0/8", "except": [network, "10.1.0.0/16"]}})
    assert rule(found).peers == (CidrPeer(ip_network("10.0.0.0/8"), (ip_network("10.1.0.0/16"),)),)
    assert fields(found) == [f"{PEER}.ipBlock.except[0]"]


@pytest.mark.parametrize(
    ("port", "meaning"),
    [
        pytest.param({}, PortRange(TCP), id="every port of TCP"),
        pytest.param({"protocol": "SCTP"}, PortRange(SCTP), id="every port of a protocol"),
        pytest.param({"port": 80}, PortRange(TCP, 80, 80), id="a port"),
        pytest.param({"protocol": "UDP", "port": 53}, PortRange(UDP, 53, 53), id="a port of UDP"),
        pytest.param({"port": 80, "endPort": 80}, PortRange(TCP, 80, 80), id="a range of one"),
        pytest.param({"port": 1, "endPort": 65535}, PortRange(TCP, 1, 65535), id="a range"),
        pytest.param({"port": "http"}, NamedPort("http", TCP), id="a named port"),
        pytest.param({"protocol": "UDP", "port": "dns-1"}, NamedPort("dns-1", UDP), id="a named port of UDP"),
    ],
)
def test_a_port(port: object, meaning: object) -> None:
    found = at_ports(port)
    assert (rule(found).ports, found.problems) == ((meaning,), ())


PORT = "spec.ingress[0].ports[0]"


@pytest.mark.parametrize(
    ("port", "field"),
    [
        pytest.param({"protocol": "ICMP"}, f"{PORT}.protocol", id="a protocol that has no ports"),
        pytest.param({"protocol": "tcp", "port": 80}, f"{PORT}.protocol", id="a protocol in small letters"),
        pytest.param({"port": 0}, f"{PORT}.port", id="port 0"),
        pytest.param({"port": 65536}, f"{PORT}.port", id="a port too high"),
        pytest.param({"port": "80"}, f"{PORT}.port", id="a number as a text"),
        pytest.param({"port": ""}, f"{PORT}.port", id="an empty name"),
        pytest.param({"port": 80, "endPort": 79}, f"{PORT}.endPort", id="a range that ends before it begins"),
        pytest.param({"port": 80, "endPort": 70000}, f"{PORT}.endPort", id="a range that ends too high"),
        pytest.param({"port": "http", "endPort": 90}, f"{PORT}.endPort", id="a range from a named port"),
        pytest.param({"endPort": 90}, f"{PORT}.endPort", id="a range from nowhere"),
        pytest.param({"port": 80.5}, f"{PORT}.port", id="half a port"),
        pytest.param({"ports": 80}, PORT, id="an unknown field"),
        pytest.param(None, PORT, id="null"),
    ],
)
def test_a_port_that_cannot_be_used_matches_nothing_and_leaves_the_others(port: object, field: str) -> None:
    assert rule(at_ports(port)).ports == ()
    found = at_ports(port, {"port": 443})
    assert rule(found).ports == (PortRange(TCP, 443, 443),)
    assert fields(found) == [field]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(None, id="null, which would be everything"),
        pytest.param({"form": [{"podSelector": {}}]}, id="a misspelt field, without which it would be everything"),
        pytest.param({"to": [{"podSelector": {}}]}, id="the other direction's field"),
        pytest.param({"from": {"podSelector": {}}}, id="peers that are no list"),
    ],
)
def test_a_rule_that_cannot_be_used_is_left_out(bad: object) -> None:
    found = decoded(podSelector={}, ingress=[bad, {"ports": [{"port": 443}]}])
    assert policy(found).ingress == (Rule(ports=(PortRange(TCP, 443, 443),)),)
    assert [field.startswith("spec.ingress[0]") for field in fields(found)] == [True]


GOOD = st.sampled_from(
    [{"podSelector": {}}, {"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]
)
BAD = st.sampled_from([case.values[0] for case in BAD_PEERS])


@given(st.lists(GOOD, max_size=3), st.lists(BAD, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_a_rule_with_mistakes_is_one_without_those_peers_and_never_everybodys(
    good: list[object], bad: list[object], order: object
) -> None:
    mixed = [*good, *bad]
    order.shuffle(mixed)  # type: ignore[attr-defined]
    found = rule(sources(*mixed)).peers
    assert found is not None
    assert sorted(map(str, found)) == sorted(map(str, rule(sources(*good)).peers or () if good else ()))


def test_of_very_many_peers_by_selectors_the_first_count_and_no_rule_becomes_everybodys() -> None:
    """Each is asked of every group of pods: 2,000 took 20 s where 5,000 groups were."""

    def pods(first: int, count: int) -> list[object]:
        return [{"podSelector": {"matchLabels": {"a": str(at)}}} for at in range(first, first + count)]

    block = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    rules = [
        {"from": pods(0, MOST_SELECTED - 1)},
        {"from": [*pods(MOST_SELECTED, 5), block]},
        {"from": pods(2 * MOST_SELECTED, 5)},
        {"from": [block]},
        {},
    ]
    found = decoded(ingress=rules)
    counts = [None if one.peers is None else len(one.peers) for one in policy(found).ingress or ()]
    assert counts == [MOST_SELECTED - 1, 2, 0, 1, None]
    assert fields(found) == ["spec.ingress[1].from", "spec.ingress[2].from"]
