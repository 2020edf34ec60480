"""The command line: arguments to rows, and errors to an exit code.

Nouns show and change nothing. 0: shown; 1: not there; 2: a wrong command line; 3: not permitted.
"""

import signal
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import click

from dpctl import commands
from dpctl.cli import Commands


class Nouns(Commands):
    """dpctl's commands by the files of :mod:`dpctl.commands`; one that is not asked for is not imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's
        """Their names."""
        return sorted(module.name.replace("_", "-") for module in iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them; None: there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}").command
        return found


@click.group(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


def main() -> None:
    """The entry point ``dpctl``. A reader that has had enough, as ``head`` has, ends it as it ends other tools."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    app(prog_name="dpctl")
