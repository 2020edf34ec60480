"""A MultiNetworkPolicy is a NetworkPolicy of the networks that it names; what is wrong costs no more than itself."""

import json
from typing import Any

import pytest

from agent.model.name import ObjectName
from agent.model.policy import EVERYTHING, Policy
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Decoded
from agent.watch.decode.multi_network_policy import MULTI_NETWORK_POLICY

FIELD = "metadata.annotations['k8s.v1.cni.cncf.io/policy-for']"
A, B = ObjectName("shop", "a"), ObjectName("lab", "b")


def decoded(policy_for: Any = "a", spec: Any = None) -> Decoded:
    annotations = {} if policy_for is None else {"k8s.v1.cni.cncf.io/policy-for": policy_for}
    metadata = {"name": "deny", "namespace": "shop", "annotations": annotations}
    content = {"metadata": metadata, "spec": {"podSelector": {}} if spec is None else spec}
    return Decoder("n1").decode(MULTI_NETWORK_POLICY, json.dumps(content).encode())


def value(found: Decoded) -> Policy:
    assert isinstance(found.value, Policy)
    return found.value


@pytest.mark.parametrize(
    ("text", "networks", "fields"),
    [
        pytest.param("a", {A}, [], id="a definition of the policy's namespace"),
        pytest.param(" a , lab/b", {A, B}, [], id="several, of other namespaces too, with blanks"),
        pytest.param(None, set(), [FIELD], id="without the annotation it is for nobody"),
        pytest.param("", set(), [FIELD], id="nor where that is empty"),
        pytest.param("a,,lab/b", {A, B}, [f"{FIELD}[1].name"], id="an empty name costs itself"),
        pytest.param("A!,lab/b", {B}, [f"{FIELD}[0]"], id="so does what can be no name"),
        pytest.param("/a", set(), [f"{FIELD}[0]"], id="a namespace that is empty"),
    ],
)
def test_the_networks_that_it_is_for(text: str | None, networks: set[ObjectName], fields: list[str]) -> None:
    found = decoded(text)
    assert value(found).networks == frozenset(networks)
    assert [one.field for one in found.problems] == fields
    assert all((one.kind, one.name) == ("MultiNetworkPolicy", ObjectName("shop", "deny")) for one in found.problems)


def test_it_means_pods_on_its_networks_and_ranges_anywhere() -> None:
    peers = [{"podSelector": {}}, {"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.9.0.0/24"}}]
    policy = value(decoded("a,lab/b", {"podSelector": {}, "ingress": [{"from": peers}]}))
    assert policy.ingress is not None
    own, every, cidr = policy.ingress[0].peers or ()
    assert (own.namespace, own.networks) == ("shop", {A, B})  # type: ignore[union-attr]
    assert (every.namespace, every.networks) == ("", {A, B})  # type: ignore[union-attr]
    assert str(cidr.cidr) == "10.9.0.0/24"  # type: ignore[union-attr]
    assert (policy.kind, policy.egress) == ("MultiNetworkPolicy", None)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"podSelector": {}, "policyTypes": "Ingress"}, "spec.policyTypes", id="a text for a list"),
        pytest.param([], "spec", id="no object"),
    ],
)
def test_of_a_wrong_shape_it_lets_nothing_pass_on_its_networks(spec: Any, field: str) -> None:
    found = decoded("a", spec)
    policy = value(found)
    assert (policy.networks, policy.subject.pods, policy.ingress, policy.egress) == (frozenset({A}), EVERYTHING, (), ())
    assert [one.field for one in found.problems] == [field]
