"""The problems of interfaces: found out anew when one, a Pod or a policy changes, and not ten times a second."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.compile.subject import SubjectInputs
from agent.compile.unprotected import Bypass, unprotected
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.nic import NicKind, NicSpec
from agent.model.node import Pod
from agent.model.policy import PodPeer, Policy
from agent.model.vf import VfKind, VfSettings, VfSpec
from agent.pods.network_record import InterfaceRecord, NetworkSet, PluginRecord, Step
from agent.pods.nic.request import NicRequest
from agent.pods.vf.request import VfRequest
from agent.serve import interface_problems
from agent.serve.interface_problems import InterfaceProblems
from tests.agent.pods.nic.nic_node import NicNode
from tests.agent.pods.vf.vf_card import ADDRESS, VfNode
from tests.dpctl.node import labelled

NAME = ObjectName("shop", "web")
POD = Pod(NAME, labels=(("app", "web"),))
ADMIN = replace(POD, has_net_admin=True)
DENY = Policy(ObjectName("shop", "deny"), PodPeer(labelled(app="web"), namespace="shop"), ingress=())
CLUSTER = Cluster(pods={NAME: POD}, policies={DENY.name: DENY})
WISH = VfSpec(VfKind.DPDK, VfSettings())
REQUEST = VfRequest(WISH, "fast", "c1", "net1", "/run/netns/p1", NAME, address=ADDRESS)
FAST = ObjectName("shop", "fast")
MULTI = replace(DENY, networks=frozenset({FAST}))


@dataclass
class Sets:
    """What pods have of other plugins."""

    sets: tuple[NetworkSet, ...] = ()

    def all(self) -> tuple[NetworkSet, ...]:
        """All of it."""
        return self.sets


def made_by(kind: str, *, is_first: bool = False) -> NetworkSet:
    plugin = PluginRecord(kind, (), "{}")
    one = InterfaceRecord(FAST, "eth0" if is_first else "net1", "fast", "1.0.0", (plugin,), step=Step.MADE)
    return NetworkSet("c1", "eth0", "", "sluiceway", "", (one,), pod=NAME, replaces_first=is_first)


def test_problems_follow_vfs_pods_and_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = VfNode(tmp_path)
    vfs, counted = node.agent(), list[SubjectInputs]()

    def count(those: Iterable[Bypass], pods: Mapping[ObjectName, Pod], inputs: SubjectInputs) -> tuple[Problem, ...]:
        counted.append(inputs)
        return unprotected(those, pods, inputs)

    monkeypatch.setattr(interface_problems, "unprotected", count)
    problems = InterfaceProblems(vfs, NicNode(tmp_path).agent(), Sets(), "n1", has_multi=True)
    assert problems.problems(CLUSTER) == ()
    vfs.add(REQUEST)
    (told,) = problems.problems(CLUSTER)
    assert (told.kind, told.name) == ("Pod", NAME)
    assert problems.problems(CLUSTER) == (told,)
    assert len(counted) == 1, "nothing has changed in between"
    assert problems.problems(replace(CLUSTER, pods={NAME: replace(POD, unprotected=frozenset({"net1"}))})) == ()
    assert problems.problems(replace(CLUSTER, policies={})) == ()
    node.card.pages = {}
    (told,) = problems.problems(replace(CLUSTER, policies={}))
    assert "huge pages" in told.text
    vfs.delete(("c1", "net1"))
    assert problems.problems(CLUSTER) == ()


@pytest.mark.parametrize(
    ("kind", "lacks", "words"),
    [
        pytest.param(VfKind.NETDEV, "", "", id="with programs there is none"),
        pytest.param(VfKind.NETDEV, "drop", "receive what the ingress rules of", id="but for what NET_RAW hears"),
        pytest.param(VfKind.NETDEV, "ipam", "without addresses by ipam", id="layer 2 alone"),
        pytest.param(VfKind.NETDEV, "tcx", "on a kernel without tcx", id="a kernel without hooks"),
        pytest.param(VfKind.DPDK, "", "on vfio-pci", id="past the kernel"),
    ],
)
def test_a_vf_that_policy_does_not_see_is_told_with_the_reason(
    tmp_path: Path, kind: VfKind, lacks: str, words: str
) -> None:
    node = VfNode(tmp_path)
    node.programs.is_possible = lacks != "tcx"
    if lacks == "ipam":
        node.ipam.gives = {}
    vfs = node.agent()
    vfs.add(replace(REQUEST, spec=VfSpec(kind, VfSettings())))
    cluster = replace(CLUSTER, pods={NAME: replace(POD, drops_raw=lacks != "drop")})
    told = [
        one.text
        for one in InterfaceProblems(vfs, NicNode(tmp_path).agent(), Sets(), "n1", has_multi=True).problems(cluster)
    ]
    assert [words in text for text in told] == ([True] if words else [])


@pytest.mark.parametrize(
    ("has", "policies", "words"),
    [
        pytest.param(made_by("macvlan"), [MULTI], "net1 (shop/fast) is made by the plugin macvlan", id="by exec"),
        pytest.param(made_by("macvlan"), [DENY], "", id="a NetworkPolicy is for no further network"),
        pytest.param(made_by("macvlan", is_first=True), [DENY], "eth0 (shop/fast) is", id="but for the first one"),
        pytest.param(made_by("macvlan", is_first=True), [MULTI], "", id="for which the other is not"),
        pytest.param(made_by("sluiceway-cni"), [MULTI], "", id="ours are in other books"),
    ],
)
def test_what_other_plugins_make_is_told_where_a_policy_is_for_it(
    tmp_path: Path, has: NetworkSet, policies: list[Policy], words: str
) -> None:
    problems = InterfaceProblems(
        VfNode(tmp_path).agent(), NicNode(tmp_path).agent(), Sets((has,)), "n1", has_multi=True
    )
    multi = {one.name: one for one in policies if one.networks is not None}
    own = {one.name: one for one in policies if one.networks is None}
    told = [one.text for one in problems.problems(replace(CLUSTER, policies=own, multi_policies=multi))]
    assert [text.startswith(words) for text in told] == ([True] if words else [])


@pytest.mark.parametrize(
    ("kind", "has_multi", "policy", "is_told"),
    [
        pytest.param(VfKind.NETDEV, True, DENY, False, id="of a further VF the pod's NetworkPolicies are none"),
        pytest.param(VfKind.NETDEV, True, MULTI, True, id="but those of its network"),
        pytest.param(VfKind.NETDEV, False, DENY, True, id="where nobody watches these, NetworkPolicies are"),
        pytest.param(VfKind.DPDK, True, DENY, True, id="past the kernel each counts"),
        pytest.param(VfKind.DPDK, True, MULTI, True, id="past the kernel each counts, of the network too"),
    ],
)
def test_which_policies_a_further_vf_escapes(
    tmp_path: Path,
    kind: VfKind,
    has_multi: bool,  # noqa: FBT001
    policy: Policy,
    is_told: bool,  # noqa: FBT001
) -> None:
    node = VfNode(tmp_path)
    node.ipam.gives = {}
    vfs = node.agent()
    vfs.add(replace(REQUEST, spec=VfSpec(kind, VfSettings()), definition=FAST))
    multi = {policy.name: policy} if policy.networks is not None else {}
    cluster = replace(CLUSTER, policies={} if multi else {policy.name: policy}, multi_policies=multi)
    assert (
        bool(InterfaceProblems(vfs, NicNode(tmp_path).agent(), Sets(), "n1", has_multi=has_multi).problems(cluster))
        == is_told
    )


@pytest.mark.parametrize(
    ("kind", "lacks", "words"),
    [
        pytest.param(NicKind.MACVLAN, "", [], id="with programs there is none"),
        pytest.param(NicKind.MACVLAN, "raw", ["receive what the ingress rules"], id="but for what NET_RAW hears"),
        pytest.param(
            NicKind.MACVLAN, "admin", ["NET_ADMIN may make another above eth1"], id="and what NET_ADMIN makes"
        ),
        pytest.param(
            NicKind.IPVLAN,
            "admin",
            ["NET_ADMIN may make another above eth1", "NET_ADMIN may switch the mode of all above eth1"],
            id="and what it does to all ipvlan devices",
        ),
        pytest.param(NicKind.VLAN, "admin", [], id="which of a VLAN's passes its programs"),
        pytest.param(NicKind.HOST_DEVICE, "ipam", ["the node's own device without addresses"], id="layer 2 alone"),
        pytest.param(NicKind.MACVLAN, "tcx", ["kind macvlan on a kernel without tcx"], id="a kernel without hooks"),
    ],
)
def test_what_is_made_of_a_device_of_the_node_is_told_where_policy_does_not_see_all(
    tmp_path: Path, kind: NicKind, lacks: str, words: list[str]
) -> None:
    node = NicNode(tmp_path)
    node.programs.is_possible = lacks != "tcx"
    if lacks == "ipam":
        node.ipam.gives = {}
    nics = node.agent()
    nics.add(NicRequest(NicSpec(kind, "eth1"), "lan", "c1", "net1", "/run/netns/p1", NAME))
    pod = replace(POD, drops_raw=lacks != "raw", has_net_admin=lacks == "admin")
    problems = InterfaceProblems(VfNode(tmp_path / "vf").agent(), nics, Sets(), "n1", has_multi=True)
    told = [one.text for one in problems.problems(replace(CLUSTER, pods={NAME: pod}))]
    assert len(told) == len(words)
    assert all(word in text for word, text in zip(words, told, strict=True))


@pytest.mark.parametrize(
    ("kind", "pod", "is_told"),
    [
        pytest.param(NicKind.IPVLAN, ADMIN, True, id="its mode is others', too"),
        pytest.param(NicKind.IPVLAN, POD, False, id="without NET_ADMIN nobody switches it"),
        pytest.param(NicKind.IPVLAN, replace(ADMIN, unprotected=frozenset({"net1"})), False, id="as it is meant"),
        pytest.param(NicKind.MACVLAN, ADMIN, False, id="a macvlan has its own"),
    ],
)
def test_an_ipvlan_of_who_may_configure_devices_is_told_without_a_policy(
    tmp_path: Path, kind: NicKind, pod: Pod, *, is_told: bool
) -> None:
    nics = NicNode(tmp_path).agent()
    nics.add(NicRequest(NicSpec(kind, "eth1"), "lan", "c1", "net1", "/run/netns/p1", NAME))
    problems = InterfaceProblems(VfNode(tmp_path / "vf").agent(), nics, Sets(), "n1", has_multi=True)
    told = [one.text for one in problems.problems(replace(CLUSTER, pods={NAME: pod}, policies={}))]
    assert ["past other pods' policies, and take the node's own addresses" in text for text in told] == [True] * is_told
