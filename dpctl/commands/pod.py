"""``dpctl pod``: its commands."""

import os
from pathlib import Path

import click

from agent.netlink.netns import inside
from dpctl.cli import Commands, output_option, show, state_dir_option
from dpctl.errors import Absent
from dpctl.pinned import find_root, in_use, opened
from dpctl.pod import Slots, interface_table, of_pod, pod_interfaces, process_table, sandbox
from maps import abi
from maps.errors import MapsError

NOT_THERE, NOT_EXECUTED = 127, 126  # as a shell's, of a command that there is not, or that is none


@click.group("pod", cls=Commands)
def command() -> None:
    """This node's pods, and their network namespaces."""


@command.command("interfaces")
@click.argument("pod", metavar="[POD]", required=False)
@state_dir_option
@output_option
@click.pass_obj
def pod_interfaces_command(pin_root: Path | None, pod: str | None, state_dir: Path, output: str) -> None:
    """Every interface of this node's pods, or of one: what it is, what it has, and what policy sees of it."""
    every = pod_interfaces(state_dir)
    show([interface_table(every if pod is None else of_pod(every, pod), _slots(pin_root))], output)


@command.command("netns")
@click.argument("pod", metavar="POD")
@state_dir_option
@output_option
def pod_netns(pod: str, state_dir: Path, output: str) -> None:
    """The pod's network namespace, and the processes in it."""
    show([process_table(sandbox(pod_interfaces(state_dir), pod))], output)


@command.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("pod", metavar="POD")
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@state_dir_option
def pod_exec(pod: str, command: tuple[str, ...], state_dir: Path) -> None:
    """Run a command of the node in the pod's network namespace; its exit code is ours.

    Files, processes and users are the node's: the pod's image needs no tools.
    """
    one = sandbox(pod_interfaces(state_dir), pod)
    try:
        with inside(one.netns):
            os.execvp(command[0], command)  # noqa: S606  what this command is for
    except OSError as error:
        if error.filename == one.netns or not Path(one.netns).exists():
            raise Absent(f"{one.netns} of {one.pod} cannot be entered: {error.strerror}") from error
        click.echo(f"Error: {command[0]}: {error.strerror}", err=True)
        raise SystemExit(NOT_THERE if isinstance(error, FileNotFoundError) else NOT_EXECUTED) from error


def _slots(pin_root: Path | None) -> Slots | None:
    """What policy says of each attachment; None where there are no maps, as without an agent ever."""
    try:
        with opened(in_use(find_root(pin_root)), abi.POD_POLICIES) as policies:
            return dict(policies.items())
    except (Absent, MapsError):
        return None
