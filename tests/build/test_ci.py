"""``.ci/run`` compiles the cluster's programs beside the make targets, and ends with what they say."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / ".ci" / "run"


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose targets and compiler only write what they are asked for."""
    (tmp_path / "build").mkdir()
    (tmp_path / ".ci").mkdir()
    shutil.copy(RUN, tmp_path / ".ci/run")
    script(tmp_path / "deploy/build/packages.sh", "echo packages $* >>asked")
    script(tmp_path / "bin/make", "echo make $* >>asked")
    script(tmp_path / ".venv/bin/python", "sleep 0.5; echo compiled >>asked")
    return tmp_path


def run(checkout: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run([checkout / ".ci/run"], env=environment, capture_output=True, text=True, check=False)


def asked(checkout: Path) -> list[str]:
    return (checkout / "asked").read_text().splitlines()


def test_the_cluster_waits_for_its_programs_and_nothing_else_does(checkout: Path) -> None:
    assert run(checkout).returncode == 0
    assert asked(checkout) == [
        "make setup cnitool",
        "packages kernels cluster",
        "make check",
        "make test",
        "make kernels",
        "compiled",
        "make conformance",
    ]


def test_what_does_not_compile_is_told_in_the_compilers_words(checkout: Path) -> None:
    script(checkout / ".venv/bin/python", "echo undefined: main; exit 1")
    done = run(checkout)
    assert (done.returncode, "undefined: main" in done.stdout) == (1, True)
    assert "make conformance" not in asked(checkout)


def test_a_make_target_that_fails_ends_the_compiler_too(checkout: Path) -> None:
    script(checkout / "bin/make", '[[ $1 != "test" ]]')
    script(checkout / ".venv/bin/python", "touch began; sleep 1; touch ended")
    assert run(checkout).returncode == 1
    time.sleep(1.2)  # longer than the compiler would have needed
    assert not (checkout / "ended").exists()
