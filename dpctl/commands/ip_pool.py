"""``dpctl ip-pool``: its commands."""

from pathlib import Path

import click

from dpctl.cli import Commands, output_option, run_dir_option, show
from dpctl.ip_pool import block_table, pool_table


@click.group("ip-pool", cls=Commands)
def command() -> None:
    """Pools of pods' addresses."""


@command.command("list")
@run_dir_option
@output_option
def ip_pool_list(run_dir: Path, output: str) -> None:
    """The pools, as this node's agent knows them."""
    show([pool_table(run_dir)], output)


@command.command("blocks")
@run_dir_option
@output_option
def ip_pool_blocks(run_dir: Path, output: str) -> None:
    """The blocks that this node has, and how many of their addresses pods have."""
    show([block_table(run_dir)], output)
