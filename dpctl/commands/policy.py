"""``dpctl policy``: its commands. Of ``why`` the exit code is the answer: 0 allowed, 1 denied, 4 not known."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dpctl.cli import Commands, output_option, protocol_of, run_dir_option, show
from dpctl.errors import Absent, Unanswered
from dpctl.judge import WITH_PORTS, PolicyMaps
from dpctl.names import Names
from dpctl.pinned import find_root, in_use
from dpctl.policy import pod_table, policy_table
from dpctl.policy_why import Question, is_denied, party, why_table
from maps.errors import MapsError

DENIED = 1


@click.group("policy", cls=Commands)
def command() -> None:
    """Who may speak to whom."""


@command.command("list")
@run_dir_option
@output_option
@click.pass_obj
def policy_list(pin_root: Path | None, run_dir: Path, output: str) -> None:
    """Every policy that selects pods of this node: which, and what its rules let pass and did not."""
    with _read(pin_root, run_dir) as (maps, names):
        show([policy_table(maps, names)], output)


@command.command("show")
@click.argument("pod", metavar="NAMESPACE/NAME[/INTERFACE]|ADDRESS")
@run_dir_option
@output_option
@click.pass_obj
def policy_show(pin_root: Path | None, pod: str, run_dir: Path, output: str) -> None:
    """What may come in to a pod of this node, and go out."""
    with _read(pin_root, run_dir) as (maps, names):
        show([pod_table(maps, names, pod)], output)


@command.command("why")
@click.argument("client", metavar="FROM")
@click.argument("server", metavar="TO")
@click.argument("port", type=click.IntRange(0, 65535), required=False)
@click.option("--protocol", type=protocol_of, default="tcp", show_default=True, help="By name or number.")
@run_dir_option
@output_option
@click.pass_context
def policy_why(  # noqa: PLR0913, PLR0917  the command's
    ctx: click.Context, client: str, server: str, port: int | None, protocol: int, run_dir: Path, output: str
) -> None:
    """Whether FROM may ask TO at PORT, and which policy and rule says so; exits with 0 allowed, 1 denied, 4 not known.

    FROM and TO are each a pod (namespace/name, or namespace/name/interface), an address, a node's name, or `world`.
    """
    if port is None and protocol in WITH_PORTS:
        raise click.UsageError("PORT is missing; a protocol without ports is given by --protocol")
    try:
        with _read(ctx.obj, run_dir) as (maps, names):
            asked = Question(party(maps, names, client), party(maps, names, server), protocol, port or 0)
            table = why_table(maps, names, asked)
    except (Absent, MapsError, FileNotFoundError) as failed:
        raise Unanswered(str(failed)) from failed
    show([table], output)
    if is_denied(table):
        ctx.exit(DENIED)


@contextmanager
def _read(pin_root: Path | None, run_dir: Path) -> Iterator[tuple[PolicyMaps, Names]]:
    root = find_root(pin_root)
    with PolicyMaps.of(in_use(root)) as maps:
        yield maps, Names.of(run_dir, root.path)
