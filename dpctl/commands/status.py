"""``dpctl status``."""

from pathlib import Path

import click

from dpctl.cli import output_option, run_dir_option, show
from dpctl.pinned import find_root
from dpctl.status import status_tables


@click.command("status")
@run_dir_option
@output_option
@click.pass_obj
def command(pin_root: Path | None, run_dir: Path, output: str) -> None:
    """Agent, hooks, objects it cannot use, fill of the maps, packets and drops."""
    show(status_tables(find_root(pin_root), run_dir), output)
