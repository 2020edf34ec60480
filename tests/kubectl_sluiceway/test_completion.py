"""Completion: what may follow on the command line, as kubectl and its users are told."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from deploy.build.plugin import build
from kubectl_sluiceway.app import main
from kubectl_sluiceway.completion import COMMANDS
from tests.kubectl_sluiceway.conftest import Fake


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


def test_kubectl_is_told_what_may_follow(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "made").parent
    monkeypatch.setenv("PATH", f"{folder}:{fake.home}:{os.environ['PATH']}")
    done = subprocess.run(["kubectl_complete-sluiceway", "rep"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["report\tan archive for whoever is to help", ":4"]
