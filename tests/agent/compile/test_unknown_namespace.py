"""Pods whose Namespace is not known yet: what may be so of them by its labels is not taken for what is not so."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from agent.compile.policy_state import Policies
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.node import Namespace
from agent.model.policy import (
    EVERYTHING,
    Operator,
    PeerPod,
    PodPeer,
    Policy,
    Requirement,
    Rule,
    Selector,
    Tier,
    Verdict,
)
from maps import abi
from tests.agent.compile.test_policy import CLUSTER, HOME, governed, labelled, pods, policy, settled


def requiring(operator: Operator) -> Selector:
    values = frozenset({"red"}) if operator in {Operator.IN, Operator.NOT_IN} else frozenset()
    return Selector((Requirement("team", operator, values),))


def guarding(namespaces: Selector, subject: Selector = EVERYTHING) -> Cluster:
    """A cluster without the pods' namespace, and with a policy of all namespaces that are selected."""
    rules = (Rule(Verdict.DENY),)
    guard = Policy(ObjectName("", "guard"), PodPeer(subject, namespaces), rules, rules, Tier.ADMIN)
    return replace(CLUSTER, namespaces={}, policies={}, cluster_policies={"guard": guard})


@pytest.mark.parametrize("operator", Operator)
def test_a_pod_whose_namespace_is_not_known_waits_where_a_policy_may_mean_it(operator: Operator) -> None:
    cluster = guarding(requiring(operator))
    unknown = settled(cluster)
    assert {(one.ingress, one.egress) for one in unknown.pods.values()} == {(abi.RULES_UNKNOWN, abi.RULES_UNKNOWN)}
    for labels in ((), (("team", "red"),)):
        is_meant = requiring(operator).selects(dict(labels))
        known = settled(replace(cluster, namespaces={HOME: Namespace(HOME, labels)}), unknown)
        assert all((one.ingress >= abi.RULES_FIRST) == is_meant for one in known.pods.values())
        assert all((one.ingress == abi.RULES_NONE) != is_meant for one in known.pods.values())
        again = settled(cluster, known)
        assert {one.ingress for one in again.pods.values()} == {abi.RULES_UNKNOWN}, "it went before its pods"


def test_a_pod_whose_namespace_is_not_known_has_its_rules_where_no_policy_asks_for_the_namespaces_labels() -> None:
    for cluster in (replace(CLUSTER, namespaces={}), guarding(requiring(Operator.IN), labelled(app="nobody"))):
        assert all(one.ingress != abi.RULES_UNKNOWN for one in settled(cluster).pods.values())
    assert all(one.ingress >= abi.RULES_FIRST for one in settled(guarding(EVERYTHING)).pods.values())


def test_a_policy_that_comes_and_goes_has_pods_of_an_unknown_namespace_wait_meanwhile() -> None:
    with_it, without = guarding(requiring(Operator.IN)), replace(CLUSTER, namespaces={}, policies={})
    before = settled(without)
    assert {one.ingress for one in before.pods.values()} == {abi.RULES_NONE}
    waits = settled(with_it, before)
    assert {one.ingress for one in waits.pods.values()} == {abi.RULES_UNKNOWN}
    assert {one.ingress for one in settled(without, waits).pods.values()} == {abi.RULES_NONE}


@pytest.mark.parametrize("operator", Operator)
def test_a_peer_is_meant_by_its_namespaces_labels_once_they_are_known(operator: Operator) -> None:
    stranger = PeerPod(ObjectName("new", "s"), (), (IPv4Address("10.0.9.9"),))
    meant = policy("web", pods(app="web"), (Rule(peers=(PodPeer(namespaces=requiring(operator)),)),))
    cluster = replace(governed(meant), peers={stranger.name: stranger})

    def is_let_in(now: Policies) -> bool:
        (rules,) = now.readers.values()
        return rules.table(now.peers.of(stranger.ips[0])) != rules.table(frozenset())

    unknown = settled(cluster)
    assert not is_let_in(unknown)
    for labels in ((), (("team", "red"),)):
        known = {**cluster.namespaces, "new": Namespace("new", labels)}
        now = settled(replace(cluster, namespaces=known), unknown)
        assert is_let_in(now) == requiring(operator).selects(dict(labels))
        assert not is_let_in(settled(cluster, now))


def test_a_peer_of_an_unknown_namespace_is_one_of_all_namespaces() -> None:
    stranger = PeerPod(ObjectName("new", "s"), (), (IPv4Address("10.0.9.9"),))
    meant = policy("web", pods(app="web"), (Rule(peers=(PodPeer(),)),))
    now = settled(replace(governed(meant), peers={stranger.name: stranger}))
    assert now.peers.of(stranger.ips[0])
