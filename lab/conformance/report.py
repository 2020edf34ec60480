"""What all applicable tests ended with, as the two files that ``make conformance-all`` leaves."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lab.conformance.applicable import Selection
from lab.conformance.known import Comparison, Results
from lab.conformance.origin import Origin
from lab.conformance.results import Result, Verdict

_HEADING = ("pass", "test", "end", "seconds", "reason")


@dataclass(frozen=True, slots=True)
class Report:
    """The results of every pass, what they are of, and how they compare with the known failures."""

    origin: Origin
    selection: Selection
    results: Results
    seconds: float
    comparison: Comparison

    @property
    def is_good(self) -> bool:
        """Whether nothing failed but what is known to."""
        return not self.comparison.unexpected

    def table(self) -> str:
        """Every test with its end, and those left out with the reason: ``results.tsv``."""
        lines = [f"# {self.origin.line()}", "\t".join(_HEADING)]
        lines += [f"{name}\t{result.line()}" for name, found in self.results.items() for result in found]
        for exclusion, names in self.selection.left_out.items():
            lines += [f"-\t{name}\tleft out\t0.0\t{exclusion.subject}: {exclusion.reason}" for name in names]
        return _text(lines)

    def summary(self) -> str:
        """The same for people, in Markdown: ``summary.md``."""
        total, run = self.selection.total, len(self.selection.applicable)
        counts = f"{total} [sig-network] tests, {run} run, {total - run} left out"
        return _text(
            (
                f"{self.origin.line()}: {counts}, in {self.seconds / 60:.0f} minutes.",
                *("", "| pass | tests | passed | failed | skipped | did not run |", "|---|---|---|---|---|---|"),
                *(_counts(name, found) for name, found in self.results.items()),
                *("", "| left out | tests | why |", "|---|---|---|"),
                *(f"| {of.subject} | {len(names)} | {of.reason} |" for of, names in self.selection.left_out.items()),
                *_section("Did not pass, and is not known to fail:", self._unexpected()),
                *_section("Did not pass, as known:", self._known()),
                *_section("Passed, although known to fail:", self._recovered()),
                *_section("Known to fail, and not run:", (f"`{name}`" for name in self.comparison.absent)),
            )
        )

    def _unexpected(self) -> Iterator[str]:
        ends = ((result, where, result.first_line()) for where, result in self.comparison.unexpected)
        return _by_test(ends)

    def _known(self) -> Iterator[str]:
        return _by_test((result, where, reason) for where, result, reason in self.comparison.known)

    def _recovered(self) -> Iterator[str]:
        return (f"`{name}` ({where})" for where, name in self.comparison.recovered)


def _by_test(ends: Iterable[tuple[Result, str, str]]) -> Iterator[str]:
    """A line for each test, verdict and reason, with the passes that ended so."""
    passes: dict[tuple[str, Verdict, str], list[str]] = {}
    for result, where, reason in ends:
        passes.setdefault((result.name, result.verdict, reason), []).append(where)
    for (name, verdict, reason), found in passes.items():
        yield f"`{name}` ({', '.join(found)}): {verdict}: {reason}"


def _counts(name: str, found: Sequence[Result]) -> str:
    order = (Verdict.PASS, Verdict.FAIL, Verdict.SKIP, Verdict.MISSING)
    counts = (sum(result.verdict is verdict for result in found) for verdict in order)
    return f"| {name} | {len(found)} | {' | '.join(map(str, counts))} |"


def _section(title: str, lines: Iterable[str]) -> tuple[str, ...]:
    items = [f"- {line}" for line in lines]
    return ("", title, "", *items) if items else ()


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
