"""``dpctl network``: its commands. Of ``lint`` the exit code is the answer."""

from pathlib import Path
from typing import Any

import click

from agent.pods.network_record import FOLDER, read
from dpctl.cli import Commands, output_option, show, state_dir_option
from dpctl.network import INTERFACES, LINT, interface_rows, lint_rows
from dpctl.output import Table

WRONG = 1  # exit code


@click.group("network", cls=Commands)
def command() -> None:
    """Pods' further networks."""


@command.command("list")
@state_dir_option
@output_option
def network_list(state_dir: Path, output: str) -> None:
    """Every interface of this node's pods that another plugin made."""
    show([Table(INTERFACES, list(interface_rows(read(state_dir / FOLDER))))], output)


@command.command("lint")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.File(errors="replace"))
@output_option
@click.pass_context
def network_lint(ctx: click.Context, files: tuple[Any, ...], output: str) -> None:
    """Whether NetworkAttachmentDefinitions can be used; 1 if one cannot. A dash is standard input."""
    rows = [row for file in files for row in lint_rows(file.name, file.read())]
    show([Table(LINT, rows)], output)
    if any(row.is_wrong for row in rows):
        ctx.exit(WRONG)
