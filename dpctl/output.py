"""Rows to text: every command ends here. A table for people, or the same rows as a JSON list.

A row is a frozen dataclass of plain values, which JSON shows as they are; columns say what the table shows of it.
On a terminal rich folds what is too wide into its column; anywhere else a row is one line, however wide.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R")
_GAP = "  "
NOTHING = "-"  # an empty cell: columns can be counted


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """One column of a table."""

    title: str
    text: Callable[[R], str]
    right: bool = False  # numbers stand to the right


@dataclass(frozen=True, slots=True)
class Table(Generic[R]):
    """Rows, and how people read them."""

    columns: Sequence[Column[R]]
    rows: Sequence[R]

    def cells(self) -> list[list[str]]:
        """The text of every cell, row by row."""
        return [[_inert(column.text(row)) or NOTHING for column in self.columns] for row in self.rows]

    def lines(self) -> Iterator[str]:
        """The table as wide as it needs to be, the titles first; no line ends in blanks."""
        grid = [[column.title for column in self.columns], *self.cells()]
        widths = [max(map(len, texts)) for texts in zip(*grid, strict=True)]
        for texts in grid:
            padded = (
                text.rjust(width) if column.right else text.ljust(width)
                for column, text, width in zip(self.columns, texts, widths, strict=True)
            )
            yield _GAP.join(padded).rstrip()

    def lines_after(self, widths: list[int]) -> Iterator[str]:
        """The rows of a table that goes on, with the titles first where *widths* is empty: its columns' until now."""
        grid = self.cells() if widths else [[column.title for column in self.columns], *self.cells()]
        widths[:] = widths or [0] * len(self.columns)
        for texts in grid:
            widths[:] = map(max, widths, map(len, texts))
        for texts in grid:
            yield _GAP.join(map(str.ljust, texts, widths)).rstrip()

    def folded(self, width: int, *, color: bool = False) -> str:
        """The table within *width* characters, long cells on several lines."""
        from rich.console import Console  # noqa: PLC0415 - 0.1 s that a pipe has no use for
        from rich.table import Table as RichTable  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        drawn = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, len(_GAP), 0, 0))
        for column in self.columns:
            drawn.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
        for texts in self.cells():
            drawn.add_row(*map(Text, texts))
        console = Console(width=width, force_terminal=color, color_system="standard" if color else None)
        with console.capture() as captured:
            console.print(drawn)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _inert(text: str) -> str:
    """A text without what a terminal would obey: a pod says how its processes are called, and a Pod's author more."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def json_lines(rows: Iterable["DataclassInstance"]) -> Iterator[str]:
    """A JSON list with one row on each line, so that it can be read while it is written."""
    before = "["
    for row in rows:
        yield f"{before}{json.dumps(row, default=_fields)}"
        before = ","
    yield "]" if before == "," else "[]"


def json_rows(rows: Iterable["DataclassInstance"]) -> Iterator[str]:
    """Each row as JSON on a line of its own, for what has no end."""
    return (json.dumps(row, default=_fields) for row in rows)


def _fields(row: "DataclassInstance") -> dict[str, Any]:
    """What JSON makes of a row, and of the dataclasses in it."""
    return {field.name: getattr(row, field.name) for field in fields(row)}


def json_text(value: Any) -> str:
    """A value on one line, numbers and text bare."""
    return value if isinstance(value, str) else json.dumps(value)
