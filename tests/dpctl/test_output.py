"""Rows become a table or a JSON list, and lose nothing on the way."""

import json
from dataclasses import dataclass

from dpctl.output import Column, Table, json_lines


@dataclass(frozen=True, slots=True)
class Lamp:
    """A row."""

    name: str
    watts: int | None


COLUMNS: tuple[Column[Lamp], ...] = (
    Column("NAME", lambda r: r.name),
    Column("WATTS", lambda r: str(r.watts or ""), right=True),
)
LAMPS = (Lamp("hall", 7), Lamp("a long way down the corridor", 1500), Lamp("cellar", None))


def test_a_table_is_as_wide_as_its_widest_cells_and_no_line_ends_in_blanks() -> None:
    assert list(Table(COLUMNS, LAMPS).lines()) == [
        "NAME                          WATTS",
        "hall                              7",
        "a long way down the corridor   1500",
        "cellar                            -",
    ]


def test_what_a_terminal_obeys_is_written_out_and_makes_no_line_of_its_own() -> None:
    """Whoever runs in a pod chooses what its processes are called."""
    table = Table(COLUMNS, [Lamp("a\x1b[2Jb\nc\x9bd\u202ee", 1)])
    assert list(table.lines())[1].split() == ["a\\x1b[2Jb\\nc\\x9bd\\u202ee", "1"]
    assert not {*"\x1b\x9b\u202e"} & {*table.folded(80)}
    assert json.loads("".join(json_lines(table.rows)))[0]["name"] == table.rows[0].name


def test_a_table_without_rows_has_its_titles() -> None:
    assert list(Table(COLUMNS, ()).lines()) == ["NAME  WATTS"]


def test_a_terminal_gets_narrow_cells_folded_and_nothing_cut() -> None:
    drawn = Table(COLUMNS, LAMPS).folded(20)
    assert all(len(line) <= 20 for line in drawn.splitlines())
    assert "".join(LAMPS[1].name.split()) in "".join(drawn.replace("1500", "").split())


def test_json_is_one_list_with_a_row_on_each_line() -> None:
    lines = list(json_lines(LAMPS))
    assert json.loads("\n".join(lines))[2] == {"name": "cellar", "watts": None}
    assert len(lines) == 4
    assert list(json_lines(())) == ["[]"]
