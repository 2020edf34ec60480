"""`kubectl sluiceway status`: what is well, what is not and where, and waiting until it is."""

from typing import Any

import pytest

from kubectl_sluiceway.app import main
from tests.kubectl_sluiceway.conftest import SYNCED, Fake, agent, rows


def changed(pod: dict[str, Any], **status: Any) -> dict[str, Any]:
    """A pod of which other things are said."""
    return pod | {"status": pod["status"] | status}


def test_all_is_well(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "-o", "json"]) == 0
    seen = rows(capsys)
    assert seen["agent", "n1"][0]
    assert seen["version", "all"] == (True, "sluiceway:1 (sha256:aa)")
    assert seen["node to node", "n1 to n2"] == (True, "SYN IPv4, SYN IPv6")
    assert seen["pod to pod", "n2 to n1"] == (True, "TCP IPv4, UDP IPv4, TCP IPv6, UDP IPv6")
    assert fake.asked[-1][0][:2] == ["delete", "namespace"]


def test_people_read_a_table(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert fake.asked == []
    assert main(["status", "--no-probe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["CHECK", "WHERE", "STATE", "NOTE"]
    assert lines[1].split()[:3] == ["agent", "n1", "well"]
    assert not any("sluiceway-probe" in " ".join(words) for words, _ in fake.asked)


@pytest.mark.parametrize(
    ("words", "content", "where", "note"),
    [
        pytest.param(
            "get pods --all-namespaces",
            {"items": [agent("a1", "n1")]},
            ("agent", "n2"),
            "no agent",
            id="none on a node",
        ),
        pytest.param(
            "get pods --all-namespaces",
            {"items": [agent("a1", "n1"), agent("a2", "n2"), agent("a3", "n2")]},
            ("agent", "n2"),
            "more than one: kube-system/a2, kube-system/a3",
            id="two on a node",
        ),
        pytest.param(
            "get pods --all-namespaces",
            {
                "items": [
                    agent("a1", "n1"),
                    agent(
                        "a2",
                        "n2",
                        ready=False,
                        restartCount=3,
                        state={"waiting": {"reason": "CrashLoopBackOff"}},
                        lastState={"terminated": {"message": "no bpffs is mounted"}},
                    ),
                ]
            },
            ("agent", "n2"),
            "CrashLoopBackOff; no bpffs is mounted; started again 3 times",
            id="one that dies",
        ),
        pytest.param(
            "get pods --all-namespaces",
            {"items": [agent("a1", "n1"), agent("a2", "n2", imageID="sha256:bb")]},
            ("version", "all"),
            "1 of sluiceway:1 (sha256:aa), 1 of sluiceway:1 (sha256:bb)",
            id="two versions",
        ),
        pytest.param(
            "a2 -c agent -- dpctl status",
            [{"about": "cluster", "state": "not synced yet", "note": "waits for Node", "error": ""}],
            ("sync", "n2"),
            "waits for Node",
            id="one that waits",
        ),
        pytest.param(
            "a1 -c agent -- dpctl status",
            [*SYNCED, {"about": "problem", "kind": "Service", "object": "a/b", "field": "spec.x", "text": "is wrong"}],
            ("problem", "n1"),
            "Service a/b spec.x: is wrong",
            id="an object that is no use",
        ),
        pytest.param(
            "get pods --all-namespaces",
            {
                "items": [
                    agent("a1", "n1"),
                    changed(
                        agent("a2", "n2"),
                        conditions=[{"type": "Ready", "status": "False", "reason": "NodeNotReady"}],
                    ),
                ]
            },
            ("agent", "n2"),
            "kube-system/a2 NodeNotReady",
            id="one on a node that is gone, whose container nobody takes back",
        ),
        pytest.param(
            "get pods --all-namespaces",
            {
                "items": [
                    agent("a1", "n1"),
                    changed(agent("a2", "n2", ready=False, state={}), phase="Failed", reason="x"),
                ]
            },
            ("agent", "n2"),
            "kube-system/a2",
            id="one that has ended and none beside it",
        ),
        *(
            pytest.param(
                "a2 -c agent -- dpctl status",
                content,
                ("sync", "n2"),
                "dpctl status of sluiceway:1 prints what is not understood here",
                id=f"another version's {what}",
            )
            for what, content in (
                ("object", {"cluster": "synced"}),
                ("rows", [{"name": "cluster"}]),
                ("words", ["synced"]),
                ("problem", [*SYNCED, {"about": "problem"}]),
                ("nothing", [{"about": "cluster"}]),
            )
        ),
        pytest.param(
            "a1 -c agent -- dpctl status",
            [*SYNCED, {"about": "part", "name": "routes", "failures": 3, "error": "no such device"}],
            ("problem", "n1"),
            "routes: no such device",
            id="a part of the node that cannot be made",
        ),
    ],
)
def test_what_is_not_well_is_said_and_no_packet_is_sent(
    fake: Fake, capsys: pytest.CaptureFixture[str], words: str, content: object, where: tuple[str, str], note: str
) -> None:
    fake.answer(words, content)
    assert main(["status", "-o", "json"]) == 1
    is_well, said = rows(capsys)[where]
    assert not is_well
    assert note in said
    assert not any("python3" in asked for asked, _ in fake.asked)


def test_an_agent_that_was_evicted_is_none_where_another_runs(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    evicted = changed(agent("a0", "n2", ready=False, state={}), phase="Failed", reason="Evicted")
    fake.answer("get pods --all-namespaces", {"items": [agent("a1", "n1"), evicted, agent("a2", "n2")]})
    assert main(["status", "-o", "json", "--no-probe"]) == 0
    assert rows(capsys)["agent", "n2"] == (True, "kube-system/a2 ready")


def test_an_agent_that_cannot_be_asked_is_not_well(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answer("a2 -c agent -- dpctl status", "unable to upgrade connection", code=1)
    assert main(["status", "-o", "json"]) == 1
    assert "unable to upgrade connection" in rows(capsys)["sync", "n2"][1]


def test_waiting_ends_when_all_is_well_or_the_time_is_over(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--wait", "--no-probe"]) == 0
    fake.answer("get nodes", "connection refused", code=1)
    assert main(["status", "--wait", "--no-probe", "--timeout", "0s"]) == 1
    assert "connection refused" in capsys.readouterr().out


def test_a_cluster_without_nodes_is_not_well(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answer("get nodes", {"items": []})
    fake.answer("get pods --all-namespaces", {"items": []})
    assert main(["status"]) == 1
    assert "no node" in capsys.readouterr().err
