"""``dpctl service``: its commands."""

from pathlib import Path

import click

from dpctl.cli import Commands, generation_of, output_option, service_name, show
from dpctl.scheduling import share_table
from dpctl.service import service_table


@click.group("service", cls=Commands)
def command() -> None:
    """Addresses and ports that lead to backends."""


@command.command("list")
@output_option
@click.pass_obj
def service_list(pin_root: Path | None, output: str) -> None:
    """Every frontend of every service."""
    show([service_table(generation_of(pin_root))], output)


@command.command("show")
@click.argument("name", metavar="NAMESPACE/NAME", type=service_name)
@output_option
@click.pass_obj
def service_show(pin_root: Path | None, name: str, output: str) -> None:
    """How one service's new flows are shared out: scheduler, weights, and open flows where these are counted."""
    show([share_table(generation_of(pin_root), name)], output)
