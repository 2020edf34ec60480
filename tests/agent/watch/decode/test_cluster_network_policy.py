"""ClusterNetworkPolicies as administrators write them: their pods, their place, and what is not understood of one."""

import json

import pytest

from agent.model.name import ObjectName
from agent.model.policy import Operator, PodPeer, Policy, Requirement, Rule, Selector, Tier, Verdict
from agent.watch.decode.cluster_network_policy import CLUSTER_NETWORK_POLICY
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Decoded

NAME = ObjectName("", "guard")
WEB = Selector((Requirement("app", Operator.IN, frozenset(["web"])),))
SHOP = Selector((Requirement("team", Operator.IN, frozenset(["shop"])),))
ANYONE: list[dict[str, object]] = [{"namespaces": {}}]
RULES = [
    {"name": "one", "action": "Accept", "from": ANYONE},
    {"name": "two", "action": "Pass", "from": ANYONE},
    {"name": "three", "action": "Deny", "from": ANYONE},
]
ALL = (PodPeer(),)


def decoded(**spec: object) -> Decoded:
    whole = {"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, **spec}
    content = {"metadata": {"name": "guard"}, "spec": {key: value for key, value in whole.items() if value is not None}}
    return Decoder("n1").decode(CLUSTER_NETWORK_POLICY, json.dumps(content).encode())


def policy(found: Decoded) -> Policy:
    assert isinstance(found.value, Policy)
    assert {(problem.kind, problem.name) for problem in found.problems} <= {("ClusterNetworkPolicy", NAME)}
    return found.value


def fields(found: Decoded) -> list[str]:
    return [problem.field for problem in found.problems]


def test_every_field_reaches_the_model() -> None:
    found = decoded(
        tier="Baseline",
        priority=1000,
        subject={
            "pods": {
                "podSelector": {"matchLabels": {"app": "web"}},
                "namespaceSelector": {"matchLabels": {"team": "shop"}},
            }
        },
        ingress=RULES,
        egress=[{"action": "Deny", "to": ANYONE}],
    )
    assert found.problems == ()
    assert policy(found) == Policy(
        NAME,
        PodPeer(WEB, SHOP),
        ingress=(
            Rule(Verdict.ACCEPT, ALL, name="one"),
            Rule(Verdict.PASS, ALL, name="two"),
            Rule(Verdict.DENY, ALL, name="three"),
        ),
        egress=(Rule(Verdict.DENY, ALL),),
        tier=Tier.BASELINE,
        priority=1000,
    )


@pytest.mark.parametrize("rules", [{}, {"ingress": []}, {"ingress": None, "egress": []}])
def test_without_rules_a_direction_is_not_the_policys(rules: dict[str, object]) -> None:
    found = policy(decoded(**rules))
    assert (found.ingress, found.egress) == (None, None)


@pytest.mark.parametrize(
    ("subject", "meaning"),
    [
        pytest.param({"namespaces": {}}, PodPeer(), id="all pods"),
        pytest.param({"namespaces": {"matchLabels": {"team": "shop"}}}, PodPeer(namespaces=SHOP), id="of namespaces"),
        pytest.param(
            {"pods": {"podSelector": {"matchLabels": {"app": "web"}}}}, PodPeer(WEB), id="pods of all namespaces"
        ),
    ],
)
def test_a_subject(subject: object, meaning: PodPeer) -> None:
    found = decoded(subject=subject)
    assert (policy(found).subject, found.problems) == (meaning, ())


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"subject": {}}, "spec.subject", id="a kind of subject that is not known"),
        pytest.param({"subject": None}, "spec.subject", id="no subject"),
        pytest.param({"subject": {"nodes": {}}}, "spec.subject", id="an unknown field"),
        pytest.param({"subject": {"namespaces": {}, "pods": {"podSelector": {}}}}, "spec.subject", id="two subjects"),
        pytest.param({"subject": {"pods": {}}}, "spec.subject.pods.podSelector", id="pods without selector"),
        pytest.param(
            {"subject": {"namespaces": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
            "spec.subject.namespaces.matchExpressions[0].values",
            id="a selector that cannot be used",
        ),
        pytest.param({"tier": "Middle"}, "spec.tier", id="an unknown tier"),
        pytest.param({"tier": None}, "spec.tier", id="no tier"),
        pytest.param({"priority": 1001}, "spec.priority", id="a priority too high"),
        pytest.param({"priority": -1}, "spec.priority", id="a priority below 0"),
        pytest.param({"priority": None}, "spec.priority", id="no priority"),
        pytest.param({"priority": "high"}, "spec.priority", id="a priority in words"),
        pytest.param({"priority": True}, "spec.priority", id="a priority that is none"),
    ],
)
def test_of_a_policy_whose_pods_or_place_are_not_known_only_denials_hold(spec: dict[str, object], field: str) -> None:
    found = decoded(**spec, ingress=RULES)
    assert policy(found).ingress == (Rule(Verdict.DENY, ALL, name="two"), Rule(Verdict.DENY, ALL, name="three"))
    assert policy(found).subject == PodPeer()
    assert fields(found) == [field]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"ingress": {}}, id="rules that are no list"),
        pytest.param({"egress": "none"}, id="a text"),
    ],
)
def test_a_policy_of_a_wrong_shape_denies_all(spec: dict[str, object]) -> None:
    found = decoded(**spec)
    assert policy(found) == Policy(NAME, PodPeer(), (Rule(Verdict.DENY),), (Rule(Verdict.DENY),), Tier.ADMIN)
    assert len(found.problems) == 1
