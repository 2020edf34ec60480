"""What all commands share: options, exit codes, and how rows are printed."""

import shutil
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from agent.options.config import Options
from dpctl.errors import Absent, Forbidden
from dpctl.format import protocol_number
from dpctl.output import Table, json_lines
from dpctl.pinned import find_root, in_use
from maps.errors import LayoutMismatch, MapsError, NotPermitted
from maps.pins import Generation

output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="For people, or a JSON list of rows."
)
run_dir_option = click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    envvar="SLUICEWAY_RUN_DIR",
    default=Options().run_dir,
    show_default=True,
    help="Where the agent leaves what it says of itself.",
)

state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    envvar="SLUICEWAY_STATE_DIR",
    default=Options().state_dir,
    show_default=True,
    help="Where the agent keeps what outlives a reboot.",
)


class Commands(click.Group):
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


def show(tables: Iterable[Table[Any]], output: str) -> None:
    """Print tables one below the other, or their rows as one JSON list."""
    whole = list(tables)
    if output == "json":
        write(json_lines(row for table in whole for row in table.rows))
        return
    is_terminal = sys.stdout.isatty()
    for index, table in enumerate(whole):
        if index:
            click.echo()
        if is_terminal:
            click.echo(table.folded(shutil.get_terminal_size().columns, color=True))
        else:
            write(table.lines())


def generation_of(pin_root: Path | None) -> Generation:
    """The maps in use. Raises as :func:`dpctl.pinned.in_use`."""
    return in_use(find_root(pin_root))


def write(lines: Iterable[str]) -> None:
    """Print lines; what is printed is out when it returns."""
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def protocol_of(value: str) -> int:
    """A protocol's number, from it or from the name."""
    number = protocol_number(value)
    if number is None:
        raise click.BadParameter(f"{value!r} is no protocol; tcp, udp, icmp, icmpv6, sctp or a number is")
    return number


def service_name(value: str) -> str:
    """``namespace/name``, once it has both parts."""
    namespace, _, name = value.partition("/")
    if not namespace or not name or "/" in name:
        raise click.BadParameter(f"{value!r} is no namespace/name; dpctl service list shows them")
    return value
