"""A policy that selects a pod with a VF says so where it cannot act, unless the pod's owner has."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from agent.compile.subject import SubjectInputs, SubjectName
from agent.compile.unprotected import Bypass, unprotected
from agent.model.name import ObjectName
from agent.model.node import UNPROTECTED, Pod
from agent.model.policy import PodPeer, Policy
from tests.dpctl.node import labelled

NAME = ObjectName("shop", "web")
POD = Pod(NAME, labels=(("app", "web"),))
THOSE = (
    Bypass(SubjectName(NAME), "net1", "0000:03:02.0", "a VF on vfio-pci"),
    Bypass(SubjectName(NAME), "net2", "0000:03:02.1", "a VF without addresses by ipam"),
)
FAST = ObjectName("shop", "fast")
FURTHER = (
    Bypass(SubjectName(NAME, FAST), "net1", "0000:03:02.0", "a VF on vfio-pci"),
    Bypass(SubjectName(NAME, FAST, is_apart=True), "net2", "shop/fast", "made by the plugin macvlan"),
)
SELECTING = Policy(ObjectName("shop", "deny"), PodPeer(labelled(app="web"), namespace="shop"), ingress=())
LEAVING = Policy(ObjectName("shop", "leaving"), PodPeer(labelled(app="web"), namespace="shop"), egress=())
ELSEWHERE = Policy(ObjectName("shop", "other"), PodPeer(labelled(app="teapot"), namespace="shop"), ingress=())


def policed(policies: Iterable[Policy]) -> SubjectInputs:
    every = tuple(policies)
    multi = {one.name: one for one in every if one.networks is not None}
    return SubjectInputs({}, {}, {one.name: one for one in every if one.networks is None}, {}, multi)


def told(pod: Pod, policies: Iterable[Policy], those: Iterable[Bypass] = THOSE) -> list[str]:
    found = unprotected(those, {pod.name: pod}, policed(policies))
    assert all(one.field == f"metadata.annotations['{UNPROTECTED}']" for one in found)
    return [one.text.split(" (")[0] for one in found]


@pytest.mark.parametrize(
    ("names", "policies", "expected"),
    [
        pytest.param((), (SELECTING,), ["net1", "net2"], id="each interface is told"),
        pytest.param((), (ELSEWHERE,), [], id="a policy of other pods is none of theirs"),
        pytest.param((), (), [], id="without a policy nothing is escaped"),
        pytest.param(("net1",), (SELECTING,), ["net2"], id="an interface that is meant so is not told"),
        pytest.param(("*",), (SELECTING,), [], id="all are meant so"),
        pytest.param(("eth0",), (SELECTING,), ["net1", "net2"], id="another interface is named"),
    ],
)
def test_unprotected(names: tuple[str, ...], policies: tuple[Policy, ...], expected: list[str]) -> None:
    assert told(replace(POD, unprotected=frozenset(names)), policies) == expected


MULTI = replace(SELECTING, networks=frozenset({FAST}))


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param((MULTI,), ["net1", "net2"], id="a MultiNetworkPolicy for their network"),
        pytest.param((replace(MULTI, networks=frozenset({NAME})),), [], id="one for another network"),
        pytest.param((SELECTING,), ["net1"], id="a NetworkPolicy: what goes past the kernel escapes that, too"),
    ],
)
def test_what_a_further_network_escapes(policies: tuple[Policy, ...], expected: list[str]) -> None:
    assert told(POD, policies, FURTHER) == expected


def test_the_policies_are_named_and_not_all_of_many() -> None:
    many = [replace(SELECTING, name=ObjectName("shop", f"p{number}")) for number in range(5)]
    (one, _) = unprotected(THOSE, {NAME: POD}, policed(many))
    assert "p0" in one.text
    assert "and 2 more" in one.text
    assert "(0000:03:02.0) is a VF on vfio-pci, whose packets no policy sees" in one.text


def test_a_pod_that_the_api_does_not_have_is_not_told() -> None:
    assert unprotected(THOSE, {}, policed([SELECTING])) == ()


@pytest.mark.parametrize(
    ("policies", "drops_raw", "expected"),
    [
        pytest.param((LEAVING,), False, ["send past the egress rules of NetworkPolicy shop/leaving;"], id="egress"),
        pytest.param((SELECTING,), False, ["receive what the ingress rules of NetworkPolicy shop/deny"], id="ingress"),
        pytest.param((LEAVING, SELECTING), False, ["rules of NetworkPolicy shop/leaving and receive"], id="both"),
        pytest.param((LEAVING, SELECTING), True, [], id="without NET_RAW there are none"),
        pytest.param((ELSEWHERE,), False, [], id="a policy of other pods"),
    ],
)
def test_raw_packets_go_past_the_rules_of_a_guarded_vf(
    policies: tuple[Policy, ...],
    drops_raw: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    pods = {NAME: replace(POD, drops_raw=drops_raw)}
    those = [Bypass(SubjectName(NAME), "net1", "0000:03:02.0", "a VF", is_guarded=True)]
    found = unprotected(those, pods, policed(policies))
    assert len(found) == bool(expected)
    assert all(words in one.text for one in found for words in ("NET_RAW may", *expected))


@pytest.mark.parametrize(
    ("policies", "below", "has_net_admin", "is_told"),
    [
        pytest.param((SELECTING,), "eth1", True, True, id="it can make another above the same device"),
        pytest.param((SELECTING,), "eth1", False, False, id="without NET_ADMIN it cannot"),
        pytest.param((SELECTING,), "", True, False, id="a device that nothing is above"),
        pytest.param((ELSEWHERE,), "eth1", True, False, id="a policy of other pods"),
    ],
)
def test_who_may_configure_devices_goes_past_a_guarded_one_that_is_shared(
    policies: tuple[Policy, ...], below: str, *, has_net_admin: bool, is_told: bool
) -> None:
    pods = {NAME: replace(POD, drops_raw=True, has_net_admin=has_net_admin)}
    one = Bypass(SubjectName(NAME), "net1", "eth1", "a device of the kind macvlan", is_guarded=True, below=below)
    found = unprotected([one], pods, policed(policies))
    assert [("NET_ADMIN may make another above eth1" in each.text) for each in found] == [True] * is_told
