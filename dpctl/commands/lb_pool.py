"""``dpctl lb-pool``: its commands."""

from pathlib import Path

import click

from dpctl.announce import pool_table
from dpctl.cli import Commands, output_option, run_dir_option, show
from dpctl.pinned import find_root


@click.group("lb-pool", cls=Commands)
def command() -> None:
    """Pools of load balancers' addresses."""


@command.command("list")
@run_dir_option
@output_option
@click.pass_obj
def lb_pool_list(pin_root: Path | None, run_dir: Path, output: str) -> None:
    """The pools, on the node that gives their addresses."""
    show([pool_table(find_root(pin_root), run_dir)], output)
