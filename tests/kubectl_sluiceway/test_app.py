"""The plugin's command line: dpctl on a node that is meant, kubectl with its flags, all as one file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.build.plugin import build
from kubectl_sluiceway.app import main
from tests.kubectl_sluiceway.conftest import Fake


def test_what_kubectl_prints_may_be_no_text(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    (fake.home / "kubectl").write_text("#!/bin/sh\nprintf '\\377\\376' >&2\nexit 1\n")
    assert main(["status"]) == 1
    assert "kubectl get nodes -o json: \ufffd" in capsys.readouterr().err


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


def test_kubectls_flags_are_passed_on(fake: Fake) -> None:
    assert main(["--context", "x", "--kubeconfig", "/k", "status", "--no-probe"]) == 0
    assert all(words[:2] == ["--context=x", "--kubeconfig=/k"] for words, _ in fake.asked)


def test_no_kubectl_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["status"]) == 1
    assert "kubectl is not on the PATH" in capsys.readouterr().err


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
