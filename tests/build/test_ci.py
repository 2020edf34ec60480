"""``.ci/run`` compiles the cluster's programs beside the make targets, and holds these to their budget."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.patience import until

RUN = Path(__file__).resolve().parents[2] / ".ci" / "run"
BUDGET = RUN.with_name("budget.txt")
TARGETS = ("setup", "check", "test", "kernels", "fastpath", "conformance")


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
    shutil.copy(BUDGET, tmp_path / ".ci/budget.txt")
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
        "packages kernels cluster image vagrant",
        "make check",
        "make test",
        "make kernels",
        "make fastpath",
        "compiled",
        "make conformance",
    ]


def test_what_does_not_compile_is_told_in_the_compilers_words(checkout: Path) -> None:
    script(checkout / ".venv/bin/python", "echo undefined: main; exit 1")
    done = run(checkout)
    assert (done.returncode, "undefined: main" in done.stdout) == (1, True)
    assert "make conformance" not in asked(checkout)


def is_alive(process: int) -> bool:
    """Whether it has not ended; one that nobody has waited for has no command line any more."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_make_target_that_fails_ends_the_compiler_too(checkout: Path) -> None:
    script(checkout / "bin/make", '[[ $1 != "test" ]] || { until [[ -e began ]]; do sleep 0.01; done; exit 1; }')
    script(checkout / ".venv/bin/python", "echo $$ >said; mv said began; sleep 300")
    assert run(checkout).returncode == 1
    compiler = int((checkout / "began").read_text())
    until(lambda: not is_alive(compiler), "the compiler goes on")


def test_every_target_has_a_budget_and_all_together_have_an_hour() -> None:
    lines = [line.split() for line in BUDGET.read_text().splitlines() if not line.startswith("#")]
    assert tuple(line[0] for line in lines) == TARGETS
    assert sum(int(line[1]) for line in lines) == 60


def test_each_target_says_what_it_took_of_its_budget(checkout: Path) -> None:
    said = run(checkout).stdout
    assert all(f"==== make {target}: " in said for target in TARGETS)
    assert "s of 120 s\n" in said  # check's two minutes
    assert "over by" not in said


def test_a_target_over_its_budget_is_reported_and_fails_nothing(checkout: Path) -> None:
    (checkout / ".ci/budget.txt").write_text("check 0\ntest 60\n")
    script(checkout / "bin/make", '[[ $1 != "check" ]] || sleep 1.1')
    done = run(checkout)
    assert re.search(r"^==== make check: ([1-9]\d*) s of 0 s, over by \1 s$", done.stdout, re.MULTILINE)
    assert done.returncode == 0


def test_all_together_over_the_budget_by_a_third_fail(checkout: Path) -> None:
    (checkout / ".ci/budget.txt").write_text("check 0\n")
    script(checkout / "bin/make", '[[ $1 != "check" ]] || sleep 1.1')
    done = run(checkout)
    assert ("==== all together: " in done.stdout, done.returncode) == (True, 1)
