"""What ginkgo reported becomes a table and a verdict."""

import re
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from agent.options.choices import Encapsulation
from lab.conformance import results, runs
from lab.conformance.results import Result, Verdict
from lab.site import Options

NAME = "[sig-network] Services should serve a basic endpoint from pods [Conformance]"
OTHER = "[sig-network] DNS should provide DNS for services [Conformance]"


def report(folder: Path, number: int, *cases: tuple[str, str]) -> None:
    """Write the JUnit report of ginkgo's process *number*: names, and what stands inside their element."""
    inside = "".join(f'<testcase name={quoteattr(name)} time="1.5">{body}</testcase>' for name, body in cases)
    (folder / f"junit_{number}.xml").write_text(f"<testsuites><testsuite>{inside}</testsuite></testsuites>")


@pytest.mark.parametrize(
    ("body", "verdict", "reason"),
    [
        pytest.param("", Verdict.PASS, "", id="a test without a word passed"),
        pytest.param('<failure message="timed out">at x.go:1</failure>', Verdict.FAIL, "timed out", id="a failure"),
        pytest.param('<error message="panic"/>', Verdict.FAIL, "panic", id="a crash is a failure"),
        pytest.param('<skipped message="wants 3 zones"/>', Verdict.SKIP, "wants 3 zones", id="a skip has its reason"),
    ],
)
def test_a_test_ends_in_one_of_three_ways(tmp_path: Path, body: str, verdict: Verdict, reason: str) -> None:
    report(tmp_path, 1, (f"[It] {NAME}", body))
    [result] = results.read(tmp_path, "sig-network")
    assert (result.name, result.verdict, result.seconds) == (NAME, verdict, 1.5)
    assert result.line() == f"{NAME}\t{verdict}\t1.5\t{reason}"


def test_the_process_that_ran_a_test_is_believed(tmp_path: Path) -> None:
    report(tmp_path, 1, (f"[It] {NAME}", '<failure message="refused"/>'))
    report(tmp_path, 2, (f"[It] {NAME}", "<skipped/>"))
    assert [result.verdict for result in results.read(tmp_path, "sig-network")] == [Verdict.FAIL]


def test_set_up_and_tests_out_of_focus_are_no_results(tmp_path: Path) -> None:
    report(tmp_path, 1, ("[SynchronizedBeforeSuite]", ""), (f"[It] {NAME}", ""), (f"[It] {OTHER}", "<skipped/>"))
    assert [result.name for result in results.read(tmp_path, results.focus([NAME]))] == [NAME]


def test_a_required_test_that_did_not_run_is_bad() -> None:
    found = results.with_missing([Result(NAME, Verdict.PASS)], [NAME, OTHER])
    assert [(result.name, result.verdict) for result in results.bad(found, [NAME, OTHER])] == [(OTHER, Verdict.MISSING)]


@pytest.mark.parametrize(
    ("verdict", "names", "is_bad"),
    [
        pytest.param(Verdict.SKIP, [NAME], True, id="a required test that skipped"),
        pytest.param(Verdict.SKIP, [], False, id="any other that skipped is fine"),
        pytest.param(Verdict.FAIL, [], True, id="a failure, required or not"),
        pytest.param(Verdict.PASS, [NAME], False, id="a required test that passed is fine"),
    ],
)
def test_bad_is(verdict: Verdict, names: list[str], is_bad: bool) -> None:  # noqa: FBT001
    assert bool(results.bad([Result(NAME, verdict)], names)) == is_bad


def test_focus_matches_a_name_as_it_stands() -> None:
    pattern = results.focus([NAME, OTHER])
    assert re.fullmatch(pattern, NAME)
    assert re.fullmatch(pattern, OTHER)
    assert not re.search(pattern, NAME.replace("[", "("))


@pytest.mark.parametrize(
    ("listed", "count", "words"),
    [
        pytest.param(runs.CONFORMANCE, 47, "[Conformance]", id="all of Conformance"),
        pytest.param(runs.GRANULAR, 22, "", id="host ports and all granular checks"),
        pytest.param(runs.SECONDARY, 13, "Secondary IP Family", id="all granular checks of the second family"),
        pytest.param(runs.BGP, 17, "", id="a part of what goes between nodes"),
    ],
)
def test_a_list_names_each_of_its_tests_once(listed: str, count: int, words: str) -> None:
    names = results.required(listed)
    assert len(names) == len(set(names)) == count
    assert all(name.startswith("[sig-network] ") and words in name and "SCTP" not in name for name in names)


def test_every_encapsulation_has_the_granular_checks_without_the_socket_hook() -> None:
    modes = {run.encapsulation for run in runs.chosen(()) if runs.GRANULAR in run.lists and not run.socket_lb}
    assert modes == set(Encapsulation)
    assert len(set(runs.NAMES)) == len(runs.RUNS)


def test_a_run_that_wants_to_be_named_is_made_only_then() -> None:
    asked_for = [run for run in runs.RUNS if run.by_name]
    assert asked_for
    for one in asked_for:
        assert one not in runs.chosen(())
        assert runs.chosen((one.name, "ipip")) == tuple(run for run in runs.RUNS if run.name in (one.name, "ipip"))


def test_nodes_are_joined_by_bgp_alone_in_one_run_and_in_one_of_every_test_by_its_name() -> None:
    (joined,) = (run for run in runs.chosen(()) if run.router)
    (whole,) = runs.chosen(("bgp-whole",))
    assert (joined.subnets, joined.encapsulation, joined.socket_lb, whole.router) == (2, "native", False, True)
    assert set(joined.required()) < set(whole.required())
    assert joined.options(Options()).router


def test_a_run_asks_for_each_test_once() -> None:
    both = runs.Run("both", (runs.CONFORMANCE, runs.GRANULAR))
    assert len(both.required()) == len(set(both.required())) == 47 + 22 - 5
