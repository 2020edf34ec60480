"""Named ports that nobody has are told, of policies that select pods of this node."""

from dataclasses import replace

import pytest

from agent.compile.desired import Desired
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.policy import ContainerPort, NamedPort, PodPeer, Policy, PortRange, Rule, Tier
from tests.dpctl import node as cast
from tests.dpctl.node import TCP, UDP, compiled, labelled

WEB = PodPeer(labelled(app="web"), namespace="shop")
NOBODY = PodPeer(labelled(app="teapot"), namespace="shop")
NAME = ObjectName("shop", "p")


def problems(of: Desired) -> list[tuple[str, str]]:
    return [(problem.field, problem.text.split(",")[0]) for problem in of.problems if problem.name == NAME]


def cluster(policy: Policy) -> Cluster:
    if policy.tier is Tier.NAMESPACE:
        return replace(cast.cluster(), policies={policy.name: policy}, cluster_policies={})
    return replace(cast.cluster(), policies={}, cluster_policies={policy.name.name: policy})


def rule(*ports: PortRange | NamedPort) -> Rule:
    return Rule(ports=ports)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param(
            Policy(NAME, WEB, ingress=(rule(), rule(PortRange(TCP, 1, 1), NamedPort("nope", TCP)))),
            [("spec.ingress[1].ports[1].port", "no pod of this node that it selects has a TCP port named 'nope'")],
            id="none of the selected pods has it",
        ),
        pytest.param(
            Policy(NAME, WEB, ingress=(rule(NamedPort("http", UDP)),)),
            [("spec.ingress[0].ports[0].port", "no pod of this node that it selects has a UDP port named 'http'")],
            id="they have it of another protocol",
        ),
        pytest.param(Policy(NAME, WEB, ingress=(rule(NamedPort("http", TCP)),)), [], id="they have it"),
        pytest.param(Policy(NAME, NOBODY, ingress=(rule(NamedPort("nope", TCP)),)), [], id="it selects nobody here"),
        pytest.param(
            Policy(NAME, WEB, egress=(rule(NamedPort("nope", TCP)),)),
            [("spec.egress[0].ports[0].port", "no pod has a TCP port named 'nope'")],
            id="no pod at all has it",
        ),
        pytest.param(
            Policy(NAME, PodPeer(labelled(app="db"), namespace="quiet"), egress=(rule(NamedPort("dns", UDP)),)),
            [],
            id="some pod has it",
        ),
    ],
)
def test_a_named_port_that_nobody_has_is_a_problem(policy: Policy, expected: list[tuple[str, str]]) -> None:
    assert problems(compiled(cluster(policy))) == expected


def test_of_a_cluster_network_policy_the_rule_is_named() -> None:
    name = ObjectName("", "admin")
    policy = Policy(name, PodPeer(labelled(app="web")), ingress=(rule(NamedPort("nope")),), tier=Tier.ADMIN)
    (found,) = compiled(cluster(policy)).problems
    assert (found.kind, found.name, found.field) == ("ClusterNetworkPolicy", name, "spec.ingress[0]")
    assert found.text.startswith("no pod of this node that it selects has a port named 'nope'")


def test_a_problem_goes_when_somebody_has_the_port_and_stays_the_same_meanwhile() -> None:
    policy = Policy(NAME, WEB, ingress=(rule(NamedPort("late", TCP)),))
    first = compiled(cluster(policy))
    assert problems(first)
    other = replace(first.source, nodes={**first.source.nodes})
    second = compiled(replace(other, local=cast.cluster().local), first)
    assert second.problems is first.problems
    late = replace(first.source.pods[cast.name("shop/web")], ports=(ContainerPort("late", TCP, 1),))
    third = compiled(replace(first.source, pods={**first.source.pods, late.name: late}), second)
    assert not problems(third)


def test_what_pods_have_is_asked_when_they_have_been_listed() -> None:
    policy = Policy(NAME, WEB, egress=(rule(NamedPort("nope", TCP)),))
    early = compiled(replace(cluster(policy), listed=cast.KINDS - {"PeerPod"}))
    assert not problems(early)
    assert problems(compiled(cluster(policy), early))


def test_other_problems_stay() -> None:
    policy = Policy(NAME, WEB, ingress=(rule(NamedPort("nope", TCP)),))
    decoded = Problem("NetworkPolicy", NAME, "spec.ingress[3]", "is no rule")
    found = compiled(replace(cluster(policy), problems=(decoded,)))
    assert decoded in found.problems
    assert len(found.problems) == 2
