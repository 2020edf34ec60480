"""``dpctl device``: its commands."""

from pathlib import Path

import click

from dpctl.cli import Commands, output_option, run_dir_option, show
from dpctl.sriov import device_tables


@click.group("device", cls=Commands)
def command() -> None:
    """What the device plugin offers to the kubelet."""


@command.command("list")
@run_dir_option
@output_option
def device_list(run_dir: Path, output: str) -> None:
    """The devices of every resource: health, the pod that has each, and what is wrong with the configuration."""
    show(device_tables(run_dir), output)
