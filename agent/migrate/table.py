"""Rows of the tables of others' flags, annotations and fields: data, which importers follow and docs/migrate shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agent.migrate.report import Notes, Outcome

MAPPED, NEEDLESS, MISSING = Outcome.MAPPED, Outcome.NEEDLESS, Outcome.MISSING


@dataclass(frozen=True, slots=True)
class Row:
    """One flag, annotation or field of another's."""

    name: str
    outcome: Outcome
    text: str  # the option it is, or why there is none
    advice: str = ""
    harmless: tuple[str, ...] = ()  # values with which nothing is asked for that we lack
    option: str = ""  # whose value it is, by *convert*; the others that are mapped an importer looks at together
    convert: Callable[[str], str] = str


def index(rows: Sequence[Row]) -> Mapping[str, Row]:
    """The rows by name."""
    return {row.name: row for row in rows}


def follow(notes: Notes, row: Row, value: str, source: str, field: str) -> None:
    """Write down what a row says of a value; rows without an option that are mapped are told by their importer."""
    if row.outcome is Outcome.NEEDLESS:
        notes.needless(source, field, row.text)
    elif row.outcome is Outcome.MISSING and value in row.harmless:
        notes.needless(source, field, "with this value nothing is asked for that is not so here")
    elif row.outcome is Outcome.MISSING:
        notes.missing(source, field, row.text, row.advice)
    elif row.option:
        _convert(notes, row, value, source, field)
    else:
        notes.mapped(source, field, row.text, row.advice)


def _convert(notes: Notes, row: Row, value: str, source: str, field: str) -> None:
    try:
        converted = row.convert(value)
    except ValueError as error:
        notes.missing(source, field, f"--{row.option}: {error}", "give the option by hand")
        return
    if converted:
        notes.option(row.option, converted, source, field)
    else:
        notes.needless(source, field, f"the default of --{row.option}")


def switch(text: str) -> str:
    """A Go boolean as on or off."""
    return "on" if text.lower() in {"true", "1", "t", "on", "yes"} else "off"
