"""The problems of VFs: found out anew when a VF, a Pod or a policy changes, and not ten times a second."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.compile.subject import SubjectInputs
from agent.compile.unprotected import Bypass, unprotected
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.node import Pod
from agent.model.policy import PodPeer, Policy
from agent.model.vf import VfKind, VfSettings, VfSpec
from agent.pods.vf_request import VfRequest
from agent.serve import vf_problems
from agent.serve.vf_problems import VfProblems
from tests.agent.pods.vf_card import ADDRESS, VfNode
from tests.dpctl.node import labelled

NAME = ObjectName("shop", "web")
POD = Pod(NAME, labels=(("app", "web"),))
DENY = Policy(ObjectName("shop", "deny"), PodPeer(labelled(app="web"), namespace="shop"), ingress=())
CLUSTER = Cluster(pods={NAME: POD}, policies={DENY.name: DENY})
WISH = VfSpec(VfKind.DPDK, VfSettings())
REQUEST = VfRequest(ADDRESS, WISH, "fast", "c1", "net1", "/run/netns/p1", NAME)


def test_problems_follow_vfs_pods_and_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = VfNode(tmp_path)
    vfs, counted = node.agent(), list[SubjectInputs]()

    def count(those: Iterable[Bypass], inputs: SubjectInputs) -> tuple[Problem, ...]:
        counted.append(inputs)
        return unprotected(those, inputs)

    monkeypatch.setattr(vf_problems, "unprotected", count)
    problems = VfProblems(vfs, "n1")
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
    told = [one.text for one in VfProblems(vfs, "n1").problems(CLUSTER)]
    assert [words in text for text in told] == ([True] if words else [])
