"""``dpctl trace``: its commands."""

import click

from dpctl.cli import Commands, output_option, show
from dpctl.trace import drop_table


@click.group("trace", cls=Commands)
def command() -> None:
    """What the kernel does with packets beside our programs."""


@command.command("drops")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="How long to watch.")
@output_option
def trace_drops(seconds: float, output: str) -> None:
    """Packets that the kernel drops from now on, by its reason and the function; needs Debian's python3-bpfcc."""
    show([drop_table(seconds)], output)
