"""The command line: arguments to rows, and errors to an exit code.

Nouns show and change nothing. 0: shown; 1: not there; 2: a wrong command line; 3: not permitted.
"""

import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar

import click

from agent.options.config import Options
from dpctl import map as maps_of
from dpctl.backend import backend_table
from dpctl.conntrack import STATES, Filter, conntrack_table
from dpctl.endpoint import endpoint_table
from dpctl.errors import Absent, Forbidden
from dpctl.format import protocol_number
from dpctl.output import Table, json_lines
from dpctl.pinned import find_root, in_use
from dpctl.service import service_table
from dpctl.status import status_tables
from dpctl.trace import drop_table
from maps.errors import LayoutMismatch, MapsError, NotPermitted
from maps.pins import Generation

F = TypeVar("F", bound=Callable[..., Any])

_output = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="For people, or a JSON list of rows."
)


class _Commands(click.Group):
    """Commands that name each other, and that end with what to type next."""

    group_class = type  # groups within are such groups too

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that *args* begin with.

        Raises:
            UsageError: there is none; those that are there are named, the likeliest first.
        """
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            there = self.list_commands(ctx)
            near = get_close_matches(args[0], there, 1)
            hint = f" Do you mean: {ctx.command_path} {near[0]}?" if near else ""
            ctx.fail(f"{ctx.command_path} has no command {args[0]!r}; it has: {', '.join(there)}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what the kernel refused becomes an exit code and the next thing to type."""
        try:
            return super().invoke(ctx)
        except NotPermitted as refused:
            raise Forbidden(f"{refused}; type: sudo dpctl ...") from refused
        except PermissionError as refused:
            raise Forbidden(f"{refused}; type: sudo dpctl ...") from refused
        except LayoutMismatch as other:
            raise Absent(f"{other}. Any layout is shown by: dpctl map dump NAME") from other
        except (MapsError, FileNotFoundError) as failed:
            raise Absent(f"{failed}. It may have changed while it was read; type: dpctl status") from failed


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


def _protocol(value: str) -> int:
    """A protocol's number, from it or from the name."""
    number = protocol_number(value)
    if number is None:
        raise click.BadParameter(f"{value!r} is no protocol; tcp, udp, icmp, icmpv6, sctp or a number is")
    return number


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    envvar="SLUICEWAY_RUN_DIR",
    default=Options().run_dir,
    show_default=True,
    help="Where the agent leaves what it says of itself.",
)
@_output
@click.pass_obj
def status(pin_root: Path | None, run_dir: Path, output: str) -> None:
    """Agent, hooks, objects it cannot use, fill of the maps, packets and drops."""
    show(status_tables(find_root(pin_root), run_dir), output)


@app.group()
def service() -> None:
    """Addresses and ports that lead to backends."""


@service.command("list")
@_output
@click.pass_obj
def service_list(pin_root: Path | None, output: str) -> None:
    """Every frontend of every service."""
    show([service_table(_generation(pin_root))], output)


@app.group()
def backend() -> None:
    """Who serves."""


@backend.command("list")
@click.option("--service", "name", type=_service, metavar="NAMESPACE/NAME", help="Those of one service.")
@_output
@click.pass_obj
def backend_list(pin_root: Path | None, name: str | None, output: str) -> None:
    """Every backend of every service."""
    show([backend_table(_generation(pin_root), name)], output)


@app.group()
def endpoint() -> None:
    """Who has an address on this node."""


@endpoint.command("list")
@_output
@click.pass_obj
def endpoint_list(pin_root: Path | None, output: str) -> None:
    """The addresses of this node and of its pods."""
    show([endpoint_table(_generation(pin_root))], output)


@app.group()
def conntrack() -> None:
    """Flows that this node carries."""


@conntrack.command("list")
@click.option(
    "--address", "networks", type=_network, metavar="ADDRESS[/LENGTH]", multiple=True, help="An end lies there."
)
@click.option("--port", "ports", type=click.IntRange(0, 65535), multiple=True, help="An end has it.")
@click.option("--protocol", type=_protocol, metavar="PROTOCOL", help="By name or number.")
@click.option("--service", type=_service, metavar="NAMESPACE/NAME", help="Translated for that service.")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="As conntrack GC sees it.")
@click.option("--limit", type=click.IntRange(1), help="The latest so many.")
@_output
@click.pass_obj
def conntrack_list(pin_root: Path | None, /, output: str, **chosen: Any) -> None:
    """Flows from client to backend, the latest packet first; a flow that meets every filter is shown."""
    show([conntrack_table(_generation(pin_root), Filter(**chosen))], output)


@app.group("map")
def map_group() -> None:
    """The BPF maps themselves."""


@map_group.command("list")
@_output
@click.pass_obj
def map_list(pin_root: Path | None, output: str) -> None:
    """Every map: entries, capacity, kind, memory and pin."""
    show([maps_of.map_table(_generation(pin_root))], output)


@map_group.command("dump")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), help="So many entries, whichever come first.")
@_output
@click.pass_obj
def map_dump(pin_root: Path | None, name: str, limit: int | None, output: str) -> None:
    """Every entry of the map NAME by its own type information, whatever build made it."""
    rows = maps_of.entry_rows(_generation(pin_root), name, limit)
    if output == "json":
        _write(json_lines(rows))
    else:
        show([maps_of.entry_table(list(rows))], output)


@app.group("trace")
def trace_group() -> None:
    """What the kernel does with packets beside our programs."""


@trace_group.command("drops")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="How long to watch.")
@_output
def trace_drops(seconds: float, output: str) -> None:
    """Packets that the kernel drops from now on, by its reason and the function; needs Debian's python3-bpfcc."""
    show([drop_table(seconds)], output)


def show(tables: Iterable[Table[Any]], output: str) -> None:
    """Print tables one below the other, or their rows as one JSON list."""
    whole = list(tables)
    if output == "json":
        _write(json_lines(row for table in whole for row in table.rows))
        return
    is_terminal = sys.stdout.isatty()
    for index, table in enumerate(whole):
        if index:
            click.echo()
        if is_terminal:
            click.echo(table.folded(shutil.get_terminal_size().columns, color=True))
        else:
            _write(table.lines())


def main() -> None:
    """The entry point ``dpctl``. A reader that has had enough, as ``head`` has, ends it as it ends other tools."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    app(prog_name="dpctl")


def _generation(pin_root: Path | None) -> Generation:
    return in_use(find_root(pin_root))


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
