"""Rows to text, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

GAP = "  "
TITLES = ("CHECK", "WHERE", "STATE", "NOTE")


@dataclass(frozen=True, slots=True)
class Row:
    """What one look at the cluster has found."""

    check: str
    where: str
    is_well: bool
    note: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As they are shown."""
        return self.check, self.where, "well" if self.is_well else "BAD", self.note


def shown(rows: Sequence[Row], output: str) -> str:
    """A table, or a JSON list."""
    if output == "json":
        return json.dumps([asdict(row) for row in rows], indent=1)
    lines = [TITLES, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(TITLES))]
    return "\n".join(GAP.join(map(str.ljust, line, widths)).rstrip() for line in lines)
