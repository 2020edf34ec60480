"""What fails is compared with what is known to fail, in both directions."""

import pytest

from lab.conformance import applicable, known, policy_suite
from lab.conformance.known import KnownFailure
from lab.conformance.results import Result, Verdict
from lab.errors import LabError

NAME = "[sig-network] Services should be rejected when no endpoints exist"
OTHER = "[sig-network] DNS should provide DNS for services [Conformance]"
KNOWN = KnownFailure(NAME, frozenset({"on"}), "it wants a cloud")


@pytest.mark.parametrize(
    ("where", "verdict", "unexpected", "expected", "recovered"),
    [
        pytest.param("on", Verdict.FAIL, 0, 1, 0, id="a known failure"),
        pytest.param("on", Verdict.SKIP, 0, 1, 0, id="a known failure that skips"),
        pytest.param("on", Verdict.PASS, 0, 0, 1, id="a known failure that passes is told"),
        pytest.param("off", Verdict.FAIL, 1, 0, 0, id="a failure in a pass in which it is not known"),
        pytest.param("off", Verdict.PASS, 0, 0, 0, id="a test that passes"),
        pytest.param("off", Verdict.SKIP, 1, 0, 0, id="a skip is no pass"),
        pytest.param("off", Verdict.MISSING, 1, 0, 0, id="a test that did not run is no pass"),
    ],
)
def test_compared_with_the_list(where: str, verdict: Verdict, unexpected: int, expected: int, recovered: int) -> None:
    compared = known.compare({where: [Result(NAME, verdict)]}, [KNOWN])
    assert (len(compared.unexpected), len(compared.known), len(compared.recovered)) == (unexpected, expected, recovered)


def test_a_known_failure_that_was_not_run_is_told() -> None:
    assert known.compare({"on": [Result(OTHER, Verdict.PASS)]}, [KNOWN]).absent == (NAME,)


def test_a_list_has_a_reason_for_each_pass() -> None:
    text = f"# comment\n\n{NAME}\n  on, off: one: two\n  third: another\n{OTHER}\n  on: a third\n"
    assert known.parse(text) == (
        KnownFailure(NAME, frozenset({"on", "off"}), "one: two"),
        KnownFailure(NAME, frozenset({"third"}), "another"),
        KnownFailure(OTHER, frozenset({"on"}), "a third"),
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{NAME}\n  on\n", id="no reason"),
        pytest.param("  on: a reason\n", id="no name"),
    ],
)
def test_a_list_is_refused_that_has(text: str) -> None:
    with pytest.raises(LabError, match="known failures"):
        known.parse(text)


def test_the_list_in_use_names_passes_and_tests_that_there_are() -> None:
    passes = {each.name for each in applicable.passes(["x", "Secondary IP Family", "Traffic Distribution"])}
    passes |= {policy_suite.NAME}
    for failure in known.read():
        assert failure.passes <= passes
        assert applicable.select([failure.name]).applicable
