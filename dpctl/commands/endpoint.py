"""``dpctl endpoint``: its commands."""

from pathlib import Path

import click

from dpctl.cli import Commands, generation_of, output_option, show
from dpctl.endpoint import endpoint_table


@click.group("endpoint", cls=Commands)
def command() -> None:
    """Who has an address on this node."""


@command.command("list")
@output_option
@click.pass_obj
def endpoint_list(pin_root: Path | None, output: str) -> None:
    """The addresses of this node and of its pods."""
    show([endpoint_table(generation_of(pin_root))], output)
