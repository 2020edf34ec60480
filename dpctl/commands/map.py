"""``dpctl map``: its commands."""

from pathlib import Path

import click

from dpctl.cli import Commands, generation_of, output_option, show, write
from dpctl.map import entry_rows, entry_table, map_table
from dpctl.output import json_lines


@click.group("map", cls=Commands)
def command() -> None:
    """The BPF maps themselves."""


@command.command("list")
@output_option
@click.pass_obj
def map_list(pin_root: Path | None, output: str) -> None:
    """Every map: entries, capacity, kind, memory and pin."""
    show([map_table(generation_of(pin_root))], output)


@command.command("dump")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), help="So many entries, whichever come first.")
@output_option
@click.pass_obj
def map_dump(pin_root: Path | None, name: str, limit: int | None, output: str) -> None:
    """Every entry of the map NAME by its own type information, whatever build made it."""
    rows = entry_rows(generation_of(pin_root), name, limit)
    if output == "json":
        write(json_lines(rows))
    else:
        show([entry_table(list(rows))], output)
