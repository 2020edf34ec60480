"""The agent's latest report of itself, and how old it is: the one thing in dpctl that is in no map."""

import time
from dataclasses import dataclass
from pathlib import Path

from agent.serve.report import Report, read
from dpctl.format import Fact, duration
from dpctl.output import Column, Table


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """One thing that the agent cannot use as it stands, and what to do."""

    about: str
    kind: str
    object: str
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part of the node that is not as it should be, and what is in the way."""

    about: str
    name: str
    failures: int
    error: str


PARTS: tuple[Column[PartRow], ...] = (
    Column("PART", lambda r: r.name),
    Column("FAILURES", lambda r: str(r.failures), right=True),
    Column("ERROR", lambda r: r.error),
)
COLUMNS: tuple[Column[ProblemRow], ...] = (
    Column("PROBLEM", lambda r: f"{r.kind} {r.object}"),
    Column("FIELD", lambda r: r.field),
    Column("WHAT", lambda r: r.text),
)


def last_report(run_dir: Path, pin_root: Path) -> Report | None:
    """The report of the agent with this pin root; None: it left none here.

    Raises:
        PermissionError: this user may not look.
    """
    report = read(run_dir)
    return report if report and report.pin_root == str(pin_root) else None


def cluster_fact(report: Report | None, run_dir: Path, now_s: float | None = None) -> Fact:
    """Whether the maps are what the cluster asks for, as the agent reported; *now_s* is the clock's when not given."""
    if report is None:
        return Fact("cluster", "unknown", f"the agent has left no report in {run_dir}", {"reported_s": None})
    status = report.status
    age_s = max(0.0, (time.time() if now_s is None else now_s) - report.at_s)
    count = len(status.problems)
    problems = {0: "no problems", 1: "1 problem"}.get(count, f"{count} problems")
    trouble = "".join(f"{text}; " for text in (*report.waits_for, status.error) if text)
    values = {
        "synced": status.synced,
        "waits_for": list(report.waits_for),
        "error": status.error,
        "problems": count,
        "reported_s": round(age_s, 1),
    }
    note = f"{trouble}{problems}; reported {duration(age_s)} ago"
    return Fact("cluster", "synced" if status.synced else "not synced yet", note, values)


def problem_table(report: Report | None) -> Table[ProblemRow]:
    """What the agent cannot use, by kind and name."""
    problems = sorted(report.status.problems) if report else ()
    return Table(COLUMNS, [ProblemRow("problem", p.kind, str(p.name), p.field, p.text) for p in problems])


def part_table(report: Report | None) -> Table[PartRow]:
    """The parts of the node that the agent could not make as they should be, and tries again."""
    parts = report.status.parts if report else ()
    return Table(PARTS, [PartRow("part", part.name, part.failures, part.error) for part in parts if part.error])
