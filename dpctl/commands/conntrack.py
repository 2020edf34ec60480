"""``dpctl conntrack``: its commands."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import click

from dpctl.cli import Commands, generation_of, output_option, protocol_of, run_dir_option, service_name, show
from dpctl.conntrack import STATES, Filter, conntrack_table
from dpctl.flow_share import top_table
from dpctl.names import Names
from dpctl.pinned import find_root, in_use


def _network(value: str) -> IPv4Network | IPv6Network:
    """An address or a CIDR; of an address, the network of that one."""
    try:
        return ip_network(value, strict=False)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from wrong


@click.group("conntrack", cls=Commands)
def command() -> None:
    """Flows that this node carries."""


@command.command("list")
@click.option(
    "--address", "networks", type=_network, metavar="ADDRESS[/LENGTH]", multiple=True, help="An end lies there."
)
@click.option("--port", "ports", type=click.IntRange(0, 65535), multiple=True, help="An end has it.")
@click.option("--protocol", type=protocol_of, metavar="PROTOCOL", help="By name or number.")
@click.option("--service", type=service_name, metavar="NAMESPACE/NAME", help="Translated for that service.")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="As conntrack GC sees it.")
@click.option("--limit", type=click.IntRange(1), help="The latest so many.")
@output_option
@click.pass_obj
def conntrack_list(pin_root: Path | None, /, output: str, **chosen: Any) -> None:
    """Flows from client to backend, the latest packet first; a flow that meets every filter is shown."""
    show([conntrack_table(generation_of(pin_root), Filter(**chosen))], output)


@command.command("top")
@click.option("--limit", type=click.IntRange(1), help="Those with the most, so many.")
@run_dir_option
@output_option
@click.pass_obj
def conntrack_top(pin_root: Path | None, /, run_dir: Path, output: str, limit: int | None) -> None:
    """Who has how much of the flow table: pods, the node and who is outside, the most first."""
    root = find_root(pin_root)
    show([top_table(in_use(root), Names.of(run_dir, root.path), limit)], output)
