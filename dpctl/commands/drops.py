"""``dpctl drops``."""

from pathlib import Path
from typing import Any

import click

from dpctl.cli import output_option, run_dir_option, show, write
from dpctl.drops import COLUMNS, DropFilter, drop_table, follow
from dpctl.explain import reasons
from dpctl.names import Names
from dpctl.output import Table, json_rows
from dpctl.pinned import find_root, in_use


@click.command("drops")
@click.option("--follow", "is_followed", is_flag=True, help="Go on with what is dropped from now on.")
@click.option("--reason", "reasons", type=click.Choice(reasons()), multiple=True, metavar="REASON", help="For it.")
@click.option("--pod", metavar="NAMESPACE/NAME", help="From it or to it.")
@click.option("--limit", type=click.IntRange(1), help="The latest so many.")
@run_dir_option
@output_option
@click.pass_obj
def command(pin_root: Path | None, /, run_dir: Path, output: str, *, is_followed: bool, **chosen: Any) -> None:
    """The packets that our programs dropped last, the latest last: the last 1,024 of each CPU."""
    root, wanted = find_root(pin_root), DropFilter(**chosen)
    if not is_followed:
        show([drop_table(in_use(root), Names.of(run_dir, root.path), wanted)], output)
        return
    widths: list[int] = []
    for rows in follow(lambda: in_use(root), lambda: Names.of(run_dir, root.path), wanted):
        write(json_rows(rows) if output == "json" else Table(COLUMNS, rows).lines_after(widths))
