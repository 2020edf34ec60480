"""What stands on the lab's machines for what kubeadm finds on others."""

import subprocess
from pathlib import Path

import pytest

from lab.kubernetes import kubeadm
from tests.vagrant.page import PAGE


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        pytest.param("init --token a.b", f"init --token a.b {kubeadm.MORE}", id="init is told more, at its end"),
        pytest.param("join 10.0.0.1:6443", f"join 10.0.0.1:6443 {kubeadm.MORE}", id="join is"),
        pytest.param("reset --force", "reset --force", id="reset is told what was typed"),
        pytest.param("token generate", "token generate", id="so are all others"),
    ],
)
def test_kubeadm_as_it_is_typed(tmp_path: Path, typed: str, told: str) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    command = tmp_path / "kubeadm"
    kubeadm.write_command(command, program)
    done = subprocess.run([command, *typed.split()], capture_output=True, text=True, check=True)
    assert done.stdout == f"{told}\n"


def test_the_page_names_every_flag_that_is_told_more() -> None:
    text = PAGE.read_text()
    assert all(flag.partition("=/")[0] in text for flag in kubeadm.MORE.split())


def test_systemctl_passes_shellcheck_and_knows_kubelet_alone() -> None:
    done = subprocess.run(["shellcheck", kubeadm.SYSTEMCTL], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)
    for verb in ("is-active", "restart"):
        said = subprocess.run([kubeadm.SYSTEMCTL, verb, "firewalld"], capture_output=True, text=True, check=False)
        assert (said.stdout, said.returncode) == ("Unit firewalld.service could not be found.\n", 4)
