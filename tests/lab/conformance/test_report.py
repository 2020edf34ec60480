"""A report names what it is of, and hides no test."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.conformance import applicable, known
from lab.conformance.known import KnownFailure
from lab.conformance.origin import Origin, origin
from lab.conformance.report import Report
from lab.conformance.results import Result, Verdict

FINE = "[sig-network] Services should be found"
BAD = "[sig-network] Services should be rejected"
OLD = "[sig-network] Services should be old"
CLOUD = "[sig-network] X should x [Provider:GCE]"
WHERE = "socket-lb-on"
ORIGIN = Origin("0123456789ab", "2026-11-28 07:00 UTC", "v1.36.3", "6.18.44", "2 CPUs, x86_64")


def report(*results: Result) -> Report:
    """The report of one pass, of which OLD is known to fail."""
    selection = applicable.select([*(result.name for result in results), CLOUD])
    compared = known.compare({WHERE: results}, [KnownFailure(OLD, frozenset({WHERE}), "it is old")])
    return Report(ORIGIN, selection, {WHERE: results}, 120.0, compared)


def test_a_report_without_a_new_failure_is_good() -> None:
    made = report(Result(FINE, Verdict.PASS), Result(OLD, Verdict.FAIL))
    assert made.is_good
    assert f"| {WHERE} | 2 | 1 | 1 | 0 | 0 |" in made.summary()
    assert f"as known:\n\n- `{OLD}` ({WHERE}): fail: it is old" in made.summary()


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.SKIP, Verdict.MISSING])
def test_a_new_failure_is_named_with_its_first_line(verdict: Verdict) -> None:
    made = report(Result(BAD, verdict, reason="refused\nat x.go"), Result(OLD, Verdict.FAIL))
    assert not made.is_good
    assert f"not known to fail:\n\n- `{BAD}` ({WHERE}): {verdict}: refused\n" in made.summary()


def test_a_test_that_fails_alike_in_two_passes_has_one_line() -> None:
    results = {where: [Result(BAD, Verdict.FAIL, reason="refused")] for where in ("on", "off")}
    made = Report(ORIGIN, applicable.select([BAD]), results, 60.0, known.compare(results, []))
    assert f"\n- `{BAD}` (on, off): fail: refused\n" in made.summary()
    assert made.summary().count(BAD) == 1


def test_a_known_failure_that_passes_is_named() -> None:
    made = report(Result(OLD, Verdict.PASS))
    assert made.is_good
    assert f"although known to fail:\n\n- `{OLD}` ({WHERE})" in made.summary()


def test_a_report_names_commit_date_and_versions_and_every_test() -> None:
    made = report(Result(FINE, Verdict.PASS, 1.0), Result(BAD, Verdict.FAIL, 2.0, "refused"))
    heading, _, *rows = made.table().splitlines()
    assert heading == f"# {ORIGIN.line()}"
    assert made.summary().startswith(ORIGIN.line())
    assert rows == [
        f"{WHERE}\t{FINE}\tpass\t1.0\t",
        f"{WHERE}\t{BAD}\tfail\t2.0\trefused",
        f"-\t{CLOUD}\tleft out\t0.0\tcloud: they look for one cloud's own names",
    ]
    assert "| cloud | 1 | they look for one cloud's own names |" in made.summary()


def test_the_origin_is_the_commit_and_says_when_files_differ_from_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    now = datetime(2026, 11, 28, 7, 5, tzinfo=UTC)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "x")
    clean = origin(tmp_path, now)
    assert git("rev-parse", "HEAD").startswith(clean.commit)
    assert clean.date == "2026-11-28 07:05 UTC"
    (tmp_path / "changed").write_text("x")
    assert origin(tmp_path, now).commit == f"{clean.commit} with changes"


def test_a_copy_without_history_has_no_commit(tmp_path: Path) -> None:
    assert origin(tmp_path, datetime(2026, 11, 28, tzinfo=UTC)).commit == "unknown"
