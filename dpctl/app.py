"""The command line: arguments to rows, and errors to an exit code.

Nouns show and change nothing. 0: shown; 1: not there; 2: a wrong command line; 3: not permitted.
"""

import signal
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import click

from dpctl import map as maps_of
from dpctl.announce import announce_table, pool_table
from dpctl.backend import backend_table
from dpctl.bgp import config_text, peer_table, route_table
from dpctl.bgp_why import why_table
from dpctl.cli import Commands, generation_of, output_option, protocol_of, run_dir_option, show, write
from dpctl.completion import completion
from dpctl.conntrack import STATES, Filter, conntrack_table
from dpctl.drops import COLUMNS as DROPS
from dpctl.drops import DropFilter, drop_table, follow
from dpctl.endpoint import endpoint_table
from dpctl.explain import reasons
from dpctl.flow_share import top_table
from dpctl.ip_pool import block_table
from dpctl.ip_pool import pool_table as ip_pools_of
from dpctl.names import Names
from dpctl.network import network
from dpctl.output import Table, json_lines, json_rows
from dpctl.pinned import find_root, in_use
from dpctl.pod_commands import pod
from dpctl.policy_commands import policy
from dpctl.scheduling import share_table
from dpctl.service import service_table
from dpctl.sriov import device_tables, sriov_table
from dpctl.status import status_tables
from dpctl.trace import drop_table as kernel_drops


def _service(value: str) -> str:
    """``namespace/name``, once it has both parts."""
    namespace, _, name = value.partition("/")
    if not namespace or not name or "/" in name:
        raise click.BadParameter(f"{value!r} is no namespace/name; dpctl service list shows them")
    return value


def _network(value: str) -> IPv4Network | IPv6Network:
    """An address or a CIDR; of an address, the network of that one."""
    try:
        return ip_network(value, strict=False)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from wrong


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--pin-root",
    type=click.Path(path_type=Path),
    envvar="SLUICEWAY_PIN_ROOT",
    help="Where the agent pins its maps.  [default: sluiceway on the bpffs]",
)
@click.version_option(package_name="sluiceway")
@click.pass_context
def app(ctx: click.Context, pin_root: Path | None) -> None:
    """What Sluiceway's programs on this node know, read from their maps; no agent is needed."""
    ctx.obj = pin_root


@app.command()
@run_dir_option
@output_option
@click.pass_obj
def status(pin_root: Path | None, run_dir: Path, output: str) -> None:
    """Agent, hooks, objects it cannot use, fill of the maps, packets and drops."""
    show(status_tables(find_root(pin_root), run_dir), output)


@app.group()
def service() -> None:
    """Addresses and ports that lead to backends."""


@service.command("list")
@output_option
@click.pass_obj
def service_list(pin_root: Path | None, output: str) -> None:
    """Every frontend of every service."""
    show([service_table(generation_of(pin_root))], output)


@service.command("show")
@click.argument("name", metavar="NAMESPACE/NAME", type=_service)
@output_option
@click.pass_obj
def service_show(pin_root: Path | None, name: str, output: str) -> None:
    """How one service's new flows are shared out: scheduler, weights, and open flows where these are counted."""
    show([share_table(generation_of(pin_root), name)], output)


@app.group()
def backend() -> None:
    """Who serves."""


@backend.command("list")
@click.option("--service", "name", type=_service, metavar="NAMESPACE/NAME", help="Those of one service.")
@output_option
@click.pass_obj
def backend_list(pin_root: Path | None, name: str | None, output: str) -> None:
    """Every backend of every service."""
    show([backend_table(generation_of(pin_root), name)], output)


@app.group()
def endpoint() -> None:
    """Who has an address on this node."""


@endpoint.command("list")
@output_option
@click.pass_obj
def endpoint_list(pin_root: Path | None, output: str) -> None:
    """The addresses of this node and of its pods."""
    show([endpoint_table(generation_of(pin_root))], output)


@app.group()
def conntrack() -> None:
    """Flows that this node carries."""


@conntrack.command("list")
@click.option(
    "--address", "networks", type=_network, metavar="ADDRESS[/LENGTH]", multiple=True, help="An end lies there."
)
@click.option("--port", "ports", type=click.IntRange(0, 65535), multiple=True, help="An end has it.")
@click.option("--protocol", type=protocol_of, metavar="PROTOCOL", help="By name or number.")
@click.option("--service", type=_service, metavar="NAMESPACE/NAME", help="Translated for that service.")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="As conntrack GC sees it.")
@click.option("--limit", type=click.IntRange(1), help="The latest so many.")
@output_option
@click.pass_obj
def conntrack_list(pin_root: Path | None, /, output: str, **chosen: Any) -> None:
    """Flows from client to backend, the latest packet first; a flow that meets every filter is shown."""
    show([conntrack_table(generation_of(pin_root), Filter(**chosen))], output)


@conntrack.command("top")
@click.option("--limit", type=click.IntRange(1), help="Those with the most, so many.")
@run_dir_option
@output_option
@click.pass_obj
def conntrack_top(pin_root: Path | None, /, run_dir: Path, output: str, limit: int | None) -> None:
    """Who has how much of the flow table: pods, the node and who is outside, the most first."""
    root = find_root(pin_root)
    show([top_table(in_use(root), Names.of(run_dir, root.path), limit)], output)


@app.group()
def announce() -> None:
    """Addresses of load balancers on the subnets."""


@announce.command("list")
@run_dir_option
@output_option
@click.pass_obj
def announce_list(pin_root: Path | None, run_dir: Path, output: str) -> None:
    """Every address: its service and pool, the node that announces it and since when, and here on which devices."""
    show([announce_table(find_root(pin_root), run_dir)], output)


@app.group()
def bgp() -> None:
    """BGP's peers, and what they tell and are told."""


@bgp.command("peers")
@run_dir_option
@output_option
def bgp_peers(run_dir: Path, output: str) -> None:
    """Every session: who asked for it, its state and since when, how many prefixes, the last error."""
    show([peer_table(run_dir)], output)


@bgp.command("routes")
@run_dir_option
@output_option
def bgp_routes(run_dir: Path, output: str) -> None:
    """What peers told, by which way it goes, and what this node tells."""
    show([route_table(run_dir)], output)


@bgp.command("why")
@click.argument("prefix")
@run_dir_option
@output_option
def bgp_why(prefix: str, run_dir: Path, output: str) -> None:
    """To whom a prefix is told and of whom it is taken, by which rule, and why not."""
    show([why_table(run_dir, prefix)], output)


@bgp.command("config")
@run_dir_option
def bgp_config(run_dir: Path) -> None:
    """BIRD's configuration, with stars for passwords."""
    write([config_text(run_dir)])


@app.group("lb-pool")
def lb_pool() -> None:
    """Pools of load balancers' addresses."""


@lb_pool.command("list")
@run_dir_option
@output_option
@click.pass_obj
def lb_pool_list(pin_root: Path | None, run_dir: Path, output: str) -> None:
    """The pools, on the node that gives their addresses."""
    show([pool_table(find_root(pin_root), run_dir)], output)


@app.group("ip-pool")
def ip_pool() -> None:
    """Pools of pods' addresses."""


@ip_pool.command("list")
@run_dir_option
@output_option
def ip_pool_list(run_dir: Path, output: str) -> None:
    """The pools, as this node's agent knows them."""
    show([ip_pools_of(run_dir)], output)


@ip_pool.command("blocks")
@run_dir_option
@output_option
def ip_pool_blocks(run_dir: Path, output: str) -> None:
    """The blocks that this node has, and how many of their addresses pods have."""
    show([block_table(run_dir)], output)


@app.group()
def sriov() -> None:
    """Functions of the node's NICs."""


@sriov.command("list")
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


@app.group()
def device() -> None:
    """What the device plugin offers to the kubelet."""


@device.command("list")
@run_dir_option
@output_option
def device_list(run_dir: Path, output: str) -> None:
    """The devices of every resource: health, the pod that has each, and what is wrong with the configuration."""
    show(device_tables(run_dir), output)


app.add_command(network)
app.add_command(pod)
app.add_command(policy)
app.add_command(completion)


@app.command()
@click.option("--follow", "is_followed", is_flag=True, help="Go on with what is dropped from now on.")
@click.option("--reason", "reasons", type=click.Choice(reasons()), multiple=True, metavar="REASON", help="For it.")
@click.option("--pod", metavar="NAMESPACE/NAME", help="From it or to it.")
@click.option("--limit", type=click.IntRange(1), help="The latest so many.")
@run_dir_option
@output_option
@click.pass_obj
def drops(pin_root: Path | None, /, run_dir: Path, output: str, *, is_followed: bool, **chosen: Any) -> None:
    """The packets that our programs dropped last, the latest last: the last 1,024 of each CPU."""
    root, wanted = find_root(pin_root), DropFilter(**chosen)
    if not is_followed:
        show([drop_table(in_use(root), Names.of(run_dir, root.path), wanted)], output)
        return
    widths: list[int] = []
    for rows in follow(lambda: in_use(root), lambda: Names.of(run_dir, root.path), wanted):
        write(json_rows(rows) if output == "json" else Table(DROPS, rows).lines_after(widths))


@app.group("map")
def map_group() -> None:
    """The BPF maps themselves."""


@map_group.command("list")
@output_option
@click.pass_obj
def map_list(pin_root: Path | None, output: str) -> None:
    """Every map: entries, capacity, kind, memory and pin."""
    show([maps_of.map_table(generation_of(pin_root))], output)


@map_group.command("dump")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), help="So many entries, whichever come first.")
@output_option
@click.pass_obj
def map_dump(pin_root: Path | None, name: str, limit: int | None, output: str) -> None:
    """Every entry of the map NAME by its own type information, whatever build made it."""
    rows = maps_of.entry_rows(generation_of(pin_root), name, limit)
    if output == "json":
        write(json_lines(rows))
    else:
        show([maps_of.entry_table(list(rows))], output)


@app.group("trace")
def trace_group() -> None:
    """What the kernel does with packets beside our programs."""


@trace_group.command("drops")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="How long to watch.")
@output_option
def trace_drops(seconds: float, output: str) -> None:
    """Packets that the kernel drops from now on, by its reason and the function; needs Debian's python3-bpfcc."""
    show([kernel_drops(seconds)], output)


def main() -> None:
    """The entry point ``dpctl``. A reader that has had enough, as ``head`` has, ends it as it ends other tools."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    app(prog_name="dpctl")
