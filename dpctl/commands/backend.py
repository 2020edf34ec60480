"""``dpctl backend``: its commands."""

from pathlib import Path

import click

from dpctl.backend import backend_table
from dpctl.cli import Commands, generation_of, output_option, service_name, show


@click.group("backend", cls=Commands)
def command() -> None:
    """Who serves."""


@command.command("list")
@click.option("--service", "name", type=service_name, metavar="NAMESPACE/NAME", help="Those of one service.")
@output_option
@click.pass_obj
def backend_list(pin_root: Path | None, name: str | None, output: str) -> None:
    """Every backend of every service."""
    show([backend_table(generation_of(pin_root), name)], output)
