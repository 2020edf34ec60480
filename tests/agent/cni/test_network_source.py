"""Which Pod's annotations count for an ADD, where the runtime tells none."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.cni.network_source import NetworkSource
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.network import NETWORKS, NetworkDefinition, NetworkRules
from agent.model.node import MIRROR, Pod
from agent.pods.errors import NotSynced

WEB = ObjectName("shop", "web")
STATIC = "5d41402abc4b2a76b9719d911017c592"


@dataclass
class Answer:
    """A Pod as the API server has it."""

    uid: str
    annotations: Mapping[str, str]


def source(folder: Path, cluster: Cluster, answer: Answer | None) -> NetworkSource:
    """One whose time is always up."""
    times = iter(range(0, 1000, 10))
    ask, clock = (lambda _: answer), (lambda: float(next(times)))
    return NetworkSource(lambda: cluster, NetworkRules(), folder, ask_pod=ask, clock=clock, sleep=lambda _: None)


@pytest.mark.parametrize("is_watched", [pytest.param(True, id="watched"), pytest.param(False, id="asked for")])
def test_a_static_pods_mirror_is_the_pod(tmp_path: Path, is_watched: bool) -> None:  # noqa: FBT001
    watched = {WEB: Pod(WEB, "u1", static_uid=STATIC)} if is_watched else {}
    found = source(tmp_path, Cluster(pods=watched), Answer("u1", {MIRROR: STATIC}))
    assert found.interfaces(WEB, STATIC, {}, "eth0") is None, "it asks for nothing, and may start"


def test_another_pod_of_the_name_is_not(tmp_path: Path) -> None:
    there = Answer("u1", {NETWORKS: "lan"})
    with pytest.raises(NotSynced, match="Pod shop/web with uid u2 is not in the API"):
        source(tmp_path, Cluster(pods={WEB: Pod(WEB, "u1")}), there).interfaces(WEB, "u2", {}, "eth0")


def test_a_file_that_comes_ends_the_problem_of_its_definition(tmp_path: Path) -> None:
    lan = ObjectName("shop", "lan")
    pods = {WEB: Pod(WEB, "u1", networks=((NETWORKS, "lan"),))}
    found = source(tmp_path / "net.d", Cluster(pods=pods, networks={lan: NetworkDefinition(lan)}), None)
    (problem,) = found.problems()
    assert "no file of this node has its name" in problem.text
    assert found.problems() is found.problems(), "nothing has changed"
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d/10-lan.conf").write_text('{"name": "lan", "type": "bridge"}')
    assert found.problems() == ()
    (tmp_path / "net.d/10-lan.conf").write_text('{"name": "lan"}')
    assert "10-lan.conf.type: is missing" in found.problems()[0].text
