"""A shell completes dpctl's commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.prefix) / "bin"


def test_bash_completes_what_dpctl_has() -> None:
    script = """
    source <(dpctl completion bash)
    COMP_WORDS=(dpctl service l) COMP_CWORD=2
    _dpctl_completion dpctl
    echo "${COMPREPLY[@]}"
    """
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["list"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_too(shell: str) -> None:
    done = subprocess.run([BIN / "dpctl", "completion", shell], capture_output=True, text=True, check=True)
    assert f"_DPCTL_COMPLETE={shell}_complete" in done.stdout
