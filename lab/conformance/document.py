"""The results as they stand in ``docs/conformance.md``: the last whole run, and network policy test by test."""

from collections.abc import Iterable, Iterator, Sequence

from lab.conformance import policy_suite
from lab.conformance.known import Results
from lab.conformance.report import Report
from lab.conformance.results import Result

WHOLE_RUN = "## The last whole run"
POLICY = "## Network policy, test by test"
_OF_POLICY = "[Feature:NetworkPolicy]"
_PREFIXES = ("[sig-network] Netpol ", "NetworkPolicy between server and client should ")


def updated(page: str, report: Report) -> str:
    """The page with the report's results in place of those of an earlier run."""
    with_run = replaced(page, WHOLE_RUN, report.summary())
    return replaced(with_run, POLICY, policy(report.origin.line(), report.results))


def replaced(page: str, heading: str, text: str) -> str:
    """The page with another text below a heading, which comes last when the page has none like it."""
    before, found, after = page.partition(f"{heading}\n")
    if not found:
        before, after = f"{page.rstrip()}\n\n", ""
    _, next_heading, rest = after.partition("\n## ")
    return f"{before}{heading}\n\n{text.strip()}\n{next_heading}{rest}"


def policy(origin: str, results: Results) -> str:
    """What each test of network policy ended with, as tables: upstream's by pass, and those of the policy API."""
    passes = {name: {one.name: one for one in found} for name, found in results.items() if name != policy_suite.NAME}
    names = sorted({name for found in passes.values() for name in found if _OF_POLICY in name})
    ran = [name for name, found in passes.items() if any(_OF_POLICY in test for test in found)]
    rows = [(_short(test), *(_end(passes[name].get(test)) for name in ran)) for test in names]
    lines = [f"{origin}.", "", *_table(("upstream: should", *ran), rows)]
    if found := results.get(policy_suite.NAME, ()):
        lines += ["", *_table((f"{policy_suite.NAME}: sigs.k8s.io/network-policy-api", "end", "note"), _suite(found))]
    return "".join(f"{line}\n" for line in lines)


def _suite(found: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    return ((result.name, result.verdict, result.first_line()) for result in found)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(heading)
    yield "|---" * len(heading) + "|"
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _short(name: str) -> str:
    """The name without what all of them have."""
    without = name.replace(_OF_POLICY, "").strip()
    for prefix in _PREFIXES:
        without = without.removeprefix(prefix)
    return without.replace("[LinuxOnly] NetworkPolicy between server and client using UDP should", "(UDP)")


def _end(result: Result | None) -> str:
    return "-" if result is None else str(result.verdict)
