"""``dpctl sriov``: its commands."""

from pathlib import Path

import click

from dpctl.cli import Commands, output_option, run_dir_option, show
from dpctl.sriov import sriov_table


@click.group("sriov", cls=Commands)
def command() -> None:
    """Functions of the node's NICs."""


@command.command("list")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    show_default=True,
    help="The folder that has the node's sys and proc.",
)
@run_dir_option
@output_option
def sriov_list(root: Path, run_dir: Path, output: str) -> None:
    """PFs and their VFs, by sysfs; with resource, health and pod where the device plugin runs."""
    show([sriov_table(root, run_dir)], output)
