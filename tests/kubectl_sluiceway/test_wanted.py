"""Agents, and the pods that probe, are asked for on the nodes that the agents' DaemonSet is for."""

from typing import Any

import pytest

from kubectl_sluiceway.app import main
from kubectl_sluiceway.checks import LEFT_OUT
from tests.kubectl_sluiceway.conftest import Fake, agent, daemon_set, node, rows

LINUX, WINDOWS = node("n1", "192.0.2.1"), node("n3", "192.0.2.3", system="windows")


def test_a_node_that_is_to_have_no_agent_is_asked_for_none(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answer("get nodes", {"items": [LINUX, node("n2", "192.0.2.2"), WINDOWS, node("virtual", "192.0.2.4")]})
    fake.bad = ["192.0.2.3", "192.0.2.4"]
    fake.write()
    assert main(["status", "-o", "json"]) == 0
    seen = rows(capsys)
    for name in ("n3", "virtual"):
        assert seen["agent", name] == (True, LEFT_OUT)
    assert ("node to node", "n1 to n3") not in seen
    pod = fake.applied[1]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}


@pytest.mark.parametrize(
    ("found", "sets", "bad"),
    [
        pytest.param([agent("a1", "n1")], [daemon_set(2)], {"n2"}, id="one is missing, and not on Windows"),
        pytest.param([], [daemon_set(0)], {"n1", "n2", "n3"}, id="a selector that no node has"),
        pytest.param([agent("a1", "n1")], [], {"n2", "n3"}, id="agents without a DaemonSet"),
        pytest.param(
            [agent("a1", "n1")],
            [daemon_set(1) | {"status": {"observedGeneration": 1, "desiredNumberScheduled": 1}}],
            {"n2"},
            id="a count of before",
        ),
    ],
)
def test_a_node_that_lacks_its_agent_is_told(
    fake: Fake,
    capsys: pytest.CaptureFixture[str],
    found: list[dict[str, Any]],
    sets: list[dict[str, Any]],
    bad: set[str],
) -> None:
    fake.answer("get nodes", {"items": [LINUX, node("n2", "192.0.2.2"), WINDOWS]})
    fake.answer("get pods --all-namespaces", {"items": found})
    fake.answer("get daemonsets --all-namespaces", {"items": sets})
    assert main(["status", "-o", "json"]) == 1
    told = {where for (check, where), (is_well, _) in rows(capsys).items() if check == "agent" and not is_well}
    assert told == bad


def test_who_may_not_list_daemon_sets_is_told_of_the_agents_all_the_same(fake: Fake) -> None:
    fake.answer("get daemonsets --all-namespaces", "Error: daemonsets.apps is forbidden", 1)
    assert main(["status"]) == 0


def test_probe_pods_are_where_agents_are_and_pull_their_image_as_these_do(fake: Fake) -> None:
    here: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    spec = {
        "imagePullSecrets": [{"name": "registry"}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": here, "podAntiAffinity": {}},
    }
    fake.answer("get daemonsets --all-namespaces", {"items": [daemon_set(2, **spec)]})
    assert main(["status"]) == 0
    (made,) = fake.applied
    assert made["metadata"]["namespace"] == "kube-system", "where the Secrets are"
    pod = made["spec"]["template"]["spec"]
    assert {key: pod[key] for key in spec} == spec | {"affinity": {"nodeAffinity": here}}
    assert fake.asked[-1][0][:3] == ["delete", "daemonset", made["metadata"]["name"]]
