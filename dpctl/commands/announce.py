"""``dpctl announce``: its commands."""

from pathlib import Path

import click

from dpctl.announce import announce_table
from dpctl.cli import Commands, output_option, run_dir_option, show
from dpctl.pinned import find_root


@click.group("announce", cls=Commands)
def command() -> None:
    """Addresses of load balancers on the subnets."""


@command.command("list")
@run_dir_option
@output_option
@click.pass_obj
def announce_list(pin_root: Path | None, run_dir: Path, output: str) -> None:
    """Every address: its service and pool, the node that announces it and since when, and here on which devices."""
    show([announce_table(find_root(pin_root), run_dir)], output)
