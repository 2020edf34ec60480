"""Ids that begin with the numbers of behaviours, as docs/services.md has them; tests/build/test_behaviours.py looks."""

from collections.abc import Iterable
from enum import Enum
from typing import Any

import pytest

NAME = "shows"  # of the marker


def shows(behaviour: str, table: pytest.MarkDecorator | None = None) -> pytest.MarkDecorator:
    """A table's rows under ids that begin with *behaviour*; without a table the test itself has that id.

    The part comes first in an id, before those of fixtures and of other tables (``tests/conftest.py``).
    """
    if table is None:
        return pytest.mark.shows((), [pytest.param(id=behaviour)])
    names, rows = table.args
    ids = table.kwargs.get("ids") or [None] * len(rows)
    return pytest.mark.shows(names, [_row(behaviour, *each) for each in zip(rows, ids, strict=True)])


def _row(behaviour: str, row: Any, own: str | None) -> Any:
    """The row, named; one without a name of its own is named by its values."""
    if hasattr(row, "marks"):
        return pytest.param(*row.values, marks=row.marks, id=f"{behaviour}, {row.id or _named(row.values)}")
    values = row if isinstance(row, tuple) else (row,)
    return pytest.param(*values, id=f"{behaviour}, {own or _named(values)}")


def _named(values: Iterable[Any]) -> str:
    return "-".join(value.name if isinstance(value, Enum) else str(value) for value in values)
