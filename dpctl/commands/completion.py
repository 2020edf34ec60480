"""``dpctl completion SHELL``: the script with which a shell completes dpctl's commands and options."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_DPCTL_COMPLETE"  # by which the script asks dpctl


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """What a shell is to read for it; of bash: source <(dpctl completion bash)."""
    made = get_completion_class(shell)
    if made is None:
        ctx.fail(f"click has no completion for {shell}")
    click.echo(made(ctx.find_root().command, {}, "dpctl", VARIABLE).source())
