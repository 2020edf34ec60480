"""The plugin's commands, against a kubectl that answers as a test says."""

import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.build.plugin import build
from kubectl_sluiceway.app import main
from kubectl_sluiceway.completion import COMMANDS
from kubectl_sluiceway.kubectl import Kubectl
from tests.kubectl_sluiceway.conftest import SYNCED, Fake, agent, node, rows


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


def test_what_kubectl_prints_may_be_no_text(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    (fake.home / "kubectl").write_text("#!/bin/sh\nprintf '\\377\\376' >&2\nexit 1\n")
    assert main(["status"]) == 1
    assert "kubectl get nodes -o json: \ufffd" in capsys.readouterr().err


def test_an_agent_that_cannot_be_asked_is_not_well(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answer("a2 -c agent -- dpctl status", "unable to upgrade connection", code=1)
    assert main(["status", "-o", "json"]) == 1
    assert "unable to upgrade connection" in rows(capsys)["sync", "n2"][1]


@pytest.mark.parametrize(
    ("bad", "check", "note"),
    [
        ("2001:db8::2", "node to node", "SYN 2001:db8::2 port 10250: timed out"),
        ("fd00:2::2", "pod to pod", "TCP fd00:2::2 port 8080: timed out; UDP fd00:2::2 port 8080: timed out"),
    ],
)
def test_an_address_that_does_not_answer_is_named(
    fake: Fake, capsys: pytest.CaptureFixture[str], bad: str, check: str, note: str
) -> None:
    fake.bad = [bad]
    fake.write()
    assert main(["status", "-o", "json"]) == 1
    seen = rows(capsys)
    assert seen[check, "n1 to n2"] == (False, note)
    assert seen[check, "n2 to n1"][0]
    assert fake.asked[-1][0][:2] == ["delete", "namespace"]  # whatever was found


def test_what_was_made_of_a_probe_that_is_refused_goes_too(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """As where an admission webhook takes the namespace, and not the DaemonSet."""
    fake.answer("apply", "admission webhook denied the request", code=1)
    assert main(["status"]) == 1
    assert "denied the request" in capsys.readouterr().err
    assert fake.asked[-1][0][:2] == ["delete", "namespace"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_probe_that_is_stopped_leaves_nothing(fake: Fake, number: signal.Signals) -> None:
    fake.answer("get pods --namespace sluiceway-probe-", {"items": []})  # which never come
    # whoever runs the tests may have them ignored, as nohup does
    argv = ["env", "--default-signal", sys.executable, "-m", "kubectl_sluiceway", "status", "--wait"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any("apply" in words for words, _ in fake.asked):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    assert process.communicate(timeout=60)[1] == "kubectl sluiceway: stopped\n"
    assert process.returncode == 1
    assert fake.asked[-1][0][:2] == ["delete", "namespace"]


def test_a_report_has_the_options_that_the_agents_were_given(fake: Fake, tmp_path: Path) -> None:
    pods = [agent("a1", "n1"), agent("a2", "n2")]
    pods[0]["spec"]["containers"][0] |= {"command": ["sluiceway-agent"], "args": ["run", "--mtu=1400", "--xdp", "off"]}
    pods[1]["spec"]["containers"][0] |= {"command": ["sluiceway-agent", "run", "--mtu=1300"]}
    fake.answer("get pods --all-namespaces", {"items": pods})
    assert main(["report", "--output", str(tmp_path / "report.tar.gz")]) == 1  # much else is not there
    asked = [words[words.index("sluiceway-agent") :] for words, _ in fake.asked if "config" in words]
    assert sorted(asked) == [
        ["sluiceway-agent", "config", "--mtu=1300"],
        ["sluiceway-agent", "config", "--mtu=1400", "--xdp", "off"],
    ]


def test_probe_pods_have_no_rights_and_the_agents_image(fake: Fake) -> None:
    assert main(["status"]) == 0
    pod = fake.applied[1]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "sluiceway:1"
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False


def test_waiting_ends_when_all_is_well_or_the_time_is_over(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--wait", "--no-probe"]) == 0
    fake.answer("get nodes", "connection refused", code=1)
    assert main(["status", "--wait", "--no-probe", "--timeout", "0s"]) == 1
    assert "connection refused" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--timeout", "soon"], ["--output", "yaml"], ["--unknown"]])
def test_a_wrong_command_line_is_told(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as found:
        main(["status", *wrong])
    assert found.value.code == 2


@pytest.mark.parametrize(
    ("where", "pod"), [(["--node", "n2"], "a2"), (["--pod", "web"], "a1"), (["--pod", "shop/web"], "a2")]
)
def test_dpctl_runs_on_the_node_that_is_meant(
    fake: Fake, capfd: pytest.CaptureFixture[str], where: list[str], pod: str
) -> None:
    fake.answer("get pod web --namespace default", {"spec": {"nodeName": "n1"}})
    fake.answer("get pod web --namespace shop", {"spec": {"nodeName": "n2"}})
    fake.answer("dpctl service list", "shown")
    assert main(["dpctl", *where, "service", "list", "-o", "json"]) == 0
    assert capfd.readouterr().out == "shown"
    expected = [
        "exec",
        "--namespace",
        "kube-system",
        pod,
        "-c",
        "agent",
        "--",
        "dpctl",
        "service",
        "list",
        "-o",
        "json",
    ]
    assert fake.asked[-1][0] == expected


def test_dpctl_says_which_nodes_there_are(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert fake.asked == []
    assert main(["dpctl", "status"]) == 1
    assert "nodes with an agent: n1, n2" in capsys.readouterr().err
    assert main(["dpctl", "--node", "n9", "status"]) == 1
    assert "node n9 has no agent; nodes with one: n1, n2" in capsys.readouterr().err


def test_dpctl_ends_with_the_code_that_dpctl_has(fake: Fake) -> None:
    fake.answer("dpctl service show", "", code=7)
    assert main(["dpctl", "--node", "n1", "service", "show", "a/b"]) == 7


def test_a_report_has_what_was_there_and_says_what_was_not(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ("logs", "exec"):
        fake.answer(words, f"said of {words}")
    for words in ("services", "endpointslices", "networkpolicies", "daemonsets"):
        fake.answer(f"get {words}", {"items": []})
    fake.answer("get events", "not JSON")
    secret = "c2VjcmV0"  # noqa: S105
    fake.answer("get nodes", {"items": [{"metadata": {"annotations": {"kube-router.io/peer.passwords": secret}}}]})
    fake.answer("a2 -c agent -- dpctl drops", "killed", code=137)
    path = tmp_path / "report.tar.gz"
    assert main(["report", "--output", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == f"{path}\n"
    assert "nodes/n2/drops.json" in err
    with tarfile.open(path) as archive:
        names = {name.removeprefix("sluiceway-report/") for name in archive.getnames()}
        missing = archive.extractfile("sluiceway-report/missing.txt")
        assert missing
        said = missing.read()
        assert (b"killed" in said, b"objects/events.json" in said) == (True, True)
        assert not any(secret.encode() in file.read() for file in map(archive.extractfile, archive) if file)
    assert {"objects/services.json", "nodes/n1/agent.log", "nodes/n1/drops.json", "nodes/n2/options.yaml"} <= names
    assert not any("secret" in " ".join(words) for words, _ in fake.asked)


def test_a_cluster_without_nodes_is_not_well(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answer("get nodes", {"items": []})
    fake.answer("get pods --all-namespaces", {"items": []})
    assert main(["status"]) == 1
    assert "no node" in capsys.readouterr().err


def test_kubectls_flags_are_passed_on(fake: Fake) -> None:
    assert main(["--context", "x", "--kubeconfig", "/k", "status", "--no-probe"]) == 0
    assert all(words[:2] == ["--context=x", "--kubeconfig=/k"] for words, _ in fake.asked)


def test_no_kubectl_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["status"]) == 1
    assert "kubectl is not on the PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ([""], ["status", "dpctl", "report", "--namespace", "--context", "--kubeconfig"]),
        (["sta"], ["status"]),
        (["status", "--n"], ["--no-probe"]),
        (["dpctl", "--"], ["--node", "--pod"]),
    ],
)
def test_completion(capsys: pytest.CaptureFixture[str], typed: list[str], found: list[str]) -> None:
    assert main(["__complete", *typed]) == 0
    *lines, directive = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == found
    assert directive == ":4"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_flag_is_completed(capsys: pytest.CaptureFixture[str], command: str) -> None:
    words = [command] if command else []
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    told = set(re.findall(r"^  (?:-\w(?: \S+)?, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)) - {"--help"}
    main(["__complete", *words, "--"])
    *completed, _ = capsys.readouterr().out.split()
    assert told == set(completed)


def test_it_runs_as_one_file_with_no_library(fake: Fake, tmp_path: Path) -> None:
    file = build(tmp_path / "made")
    argv = [sys.executable, "-I", "-S", str(file), "status", "--no-probe"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert "n2" in done.stdout
    fake.answer("get nodes", "connection refused", code=1)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (1, "")
    assert "connection refused" in done.stderr


def test_the_same_sources_make_the_same_file(tmp_path: Path) -> None:
    assert build(tmp_path / "one").read_bytes() == build(tmp_path / "two").read_bytes()


def test_kubectl_is_told_what_may_follow(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "made").parent
    monkeypatch.setenv("PATH", f"{folder}:{fake.home}:{os.environ['PATH']}")
    done = subprocess.run(["kubectl_complete-sluiceway", "rep"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["report\tan archive for whoever is to help", ":4"]


def test_a_large_cluster_is_asked_in_a_circle(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"n{number:02}" for number in range(10)]
    fake.answer("get nodes", {"items": [node(name, f"192.0.2.{at}") for at, name in enumerate(names)]})
    fake.answer("get pods --all-namespaces", {"items": [agent(f"a-{name}", name) for name in names]})
    fake.answer("get pods --namespace sluiceway-probe-", {"items": []})
    fake.bad = ["192.0.2.3"]
    fake.write()
    main(["status", "-o", "json", "--wait", "--timeout", "1s"])
    capsys.readouterr()
    asked = [words for words, _ in fake.asked if "python3" in words]
    assert len(asked) % 30 == 0
    assert asked


def test_a_signal_leaves_no_command_behind_that_has_begun(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.answer("apply", "")
    ended: list[str] = []

    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        ended.append("apply")
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            Kubectl().run("apply")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["apply"], "what it makes is there before it is deleted"
