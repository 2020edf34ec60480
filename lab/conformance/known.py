"""The tests that are known to fail, each with its reason, beside those that are required to pass."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.conformance.results import Result, Verdict
from lab.errors import LabError

KNOWN_FAILURES = Path(__file__).with_name("known_failures.txt")

# what each pass ended with, by the pass's name
Results = Mapping[str, Sequence[Result]]


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """A test that does not pass in these passes, and why, as far as that is known."""

    name: str
    passes: frozenset[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The results beside the list of known failures, as pairs of a pass's name and a result."""

    unexpected: tuple[tuple[str, Result], ...]
    known: tuple[tuple[str, Result, str], ...]  # with the reason
    recovered: tuple[tuple[str, str], ...]  # known to fail, and passed: a pass's name, a test's name
    absent: tuple[str, ...]  # known to fail, and not among the tests that were run


def compare(results: Results, known: Iterable[KnownFailure]) -> Comparison:
    """What of *results* did not pass, known to fail or not, and what passed although it was known to fail."""
    reasons = {(where, failure.name): failure.reason for failure in known for where in failure.passes}
    ends = {(where, result.name): result for where, found in results.items() for result in found}
    not_passed = {key: result for key, result in ends.items() if result.verdict is not Verdict.PASS}
    return Comparison(
        tuple((where, result) for (where, name), result in not_passed.items() if (where, name) not in reasons),
        tuple((key[0], result, reasons[key]) for key, result in not_passed.items() if key in reasons),
        tuple(key for key in reasons if key in ends and key not in not_passed),
        tuple(sorted({name for where, name in reasons if where in results and (where, name) not in ends})),
    )


def read(path: Path = KNOWN_FAILURES) -> tuple[KnownFailure, ...]:
    """The known failures of a file.

    Raises:
        LabError: a line is not one of those that ``parse`` takes.
    """
    return parse(path.read_text())


def parse(text: str) -> tuple[KnownFailure, ...]:
    """The known failures of a file's text: a test's name, and below it, indented, ``PASS, PASS: REASON`` lines.

    Raises:
        LabError: an indented line names no passes or no reason, or stands below no name.
    """
    found: list[KnownFailure] = []
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            name = line
            continue
        passes, _, reason = line.strip().partition(": ")
        if not name or not reason:
            raise LabError(f"known failures: {line.strip()!r} is no PASS: REASON below a test's name")
        found.append(KnownFailure(name, frozenset(passes.split(", ")), reason))
    return tuple(found)
