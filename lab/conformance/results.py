"""The results of a run of upstream's tests, as values: from ginkgo's reports to lines of a table, and a verdict."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from xml.etree import ElementTree as ET

LISTS = Path(__file__).parent
SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")  # what Go's regular expressions read otherwise


class Verdict(StrEnum):
    """How a test ended."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    SKIP = "skip"
    MISSING = "missing"  # required, and did not run


@dataclass(frozen=True, slots=True)
class Result:
    """One test's end; *reason* is empty when it passed."""

    name: str
    verdict: Verdict
    seconds: float = 0.0
    reason: str = ""

    def first_line(self) -> str:
        """The reason's first line, in which no tab is left."""
        return next(iter(self.reason.strip().splitlines()), "").strip().replace("\t", " ")

    def line(self) -> str:
        """A line of ``results.tsv``."""
        return "\t".join((self.name, self.verdict, f"{self.seconds:.1f}", self.first_line()))


def required(listed: str) -> tuple[str, ...]:
    """The names of the tests that must pass, as the file of this name lists them."""
    lines = (LISTS / listed).read_text().splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def focus(names: Iterable[str]) -> str:
    """A Go regular expression that matches these names, and none that only begins like one of them."""
    alternatives = "|".join(SPECIAL.sub(r"\\\g<0>", name) for name in names)
    return f"(?:{alternatives})$"


def read(folder: Path, pattern: str) -> tuple[Result, ...]:
    """The results in *folder*'s JUnit reports whose names match *pattern*, by name.

    Each of ginkgo's processes reports every test; those that another process ran, or that were not
    in focus, are listed as skipped and do not count against one that ended.
    """
    wanted = re.compile(pattern)
    found: dict[str, Result] = {}
    for report in sorted(folder.glob("junit*.xml")):
        for case in ET.parse(report).iter("testcase"):  # noqa: S314  # our own test binary wrote it
            kind, _, name = case.get("name", "").partition("] ")
            if kind != "[It" or not wanted.search(name):
                continue
            result = _result(name, case)
            if name not in found or found[name].verdict is Verdict.SKIP:
                found[name] = result
    return tuple(found[name] for name in sorted(found))


def with_missing(results: Sequence[Result], names: Iterable[str]) -> tuple[Result, ...]:
    """The results and, for each required name that has none, one that says so."""
    ran = {result.name for result in results}
    absent = (Result(name, Verdict.MISSING, reason="it did not run") for name in names if name not in ran)
    return tuple(sorted((*results, *absent), key=lambda result: result.name))


def bad(results: Iterable[Result], names: Iterable[str]) -> tuple[Result, ...]:
    """Those that failed, and the required ones that did not pass."""
    needed = frozenset(names)
    fine = (Verdict.PASS, Verdict.SKIP)
    return tuple(
        result
        for result in results
        if result.verdict not in fine or (result.name in needed and result.verdict is not Verdict.PASS)
    )


def _result(name: str, case: ET.Element) -> Result:
    seconds = float(case.get("time") or 0)
    for tag, verdict in (("failure", Verdict.FAIL), ("error", Verdict.FAIL), ("skipped", Verdict.SKIP)):
        element = case.find(tag)
        if element is not None:
            reason = "\n".join(filter(None, (element.get("message"), element.text)))
            return Result(name, verdict, seconds, reason)
    return Result(name, Verdict.PASS, seconds)
