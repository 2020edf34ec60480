"""``dpctl bgp``: its commands."""

from pathlib import Path

import click

from dpctl.bgp import config_text, peer_table, route_table
from dpctl.bgp_why import why_table
from dpctl.cli import Commands, output_option, run_dir_option, show, write


@click.group("bgp", cls=Commands)
def command() -> None:
    """BGP's peers, and what they tell and are told."""


@command.command("peers")
@run_dir_option
@output_option
def bgp_peers(run_dir: Path, output: str) -> None:
    """Every session: who asked for it, its state and since when, how many prefixes, the last error."""
    show([peer_table(run_dir)], output)


@command.command("routes")
@run_dir_option
@output_option
def bgp_routes(run_dir: Path, output: str) -> None:
    """What peers told, by which way it goes, and what this node tells."""
    show([route_table(run_dir)], output)


@command.command("why")
@click.argument("prefix")
@run_dir_option
@output_option
def bgp_why(prefix: str, run_dir: Path, output: str) -> None:
    """To whom a prefix is told and of whom it is taken, by which rule, and why not."""
    show([why_table(run_dir, prefix)], output)


@command.command("config")
@run_dir_option
def bgp_config(run_dir: Path) -> None:
    """BIRD's configuration, with stars for passwords."""
    write([config_text(run_dir)])
