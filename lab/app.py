"""The lab's commands: a cluster on this machine, brought up, used and taken away.

What changes something says what it changed; an error names the way out and ends with exit code 1.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click

from lab import agents, cluster, demo, pods, site
from lab.errors import LabError
from lab.manifests import name
from lab.pods import Port
from lab.show import status_lines
from lab.site import Options

# what follows is another program's, to the letter
_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
_PROTOCOLS = ("TCP", "UDP")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which lab a command means."""

    lab: str


def main() -> None:
    """Run a command; errors are printed, not traced."""
    try:
        commands.main(standalone_mode=False)
    except (LabError, subprocess.CalledProcessError) as error:
        sys.exit(f"lab: {error}")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


@click.group(name="lab")
@click.option(
    "--name",
    default=site.DEFAULT_NAME,
    envvar="SLUICEWAY_LAB",
    show_default=True,
    show_envvar=True,
    help="Which lab; several can be up at once.",
)
@click.pass_context
def commands(context: click.Context, name: str) -> None:
    """A cluster on this machine: nodes and pods are namespaces."""
    context.obj = Chosen(name)


@commands.command()
@click.option("--nodes", default=3, show_default=True, help="How many nodes.")
@click.option("--kubernetes", is_flag=True, help="A real one: API server, kubelets, containerd.")
@click.option("--daemonset", is_flag=True, help="The agents in pods of their image, by deploy/manifests.")
@click.option("--socket-lb", type=click.Choice(["on", "off"]), default="on", show_default=True, help="As the agent's.")
@click.option("--checksums/--no-checksums", default=True, help="Uplinks compute checksums, as a real wire needs them.")
@click.option("--subnets", default=1, show_default=True, help="Nodes take turns on so many, with a router between.")
@click.option(
    "--encapsulation", type=click.Choice(["native", "vxlan", "ipip", "geneve"]), default="native", show_default=True
)
@click.option("--cross-subnet", type=click.Choice(["on", "off"]), default="off", show_default=True)
@click.pass_obj
def up(  # noqa: PLR0913  click's options
    chosen: Chosen,
    nodes: int,
    *,
    kubernetes: bool,
    daemonset: bool,
    socket_lb: str,
    checksums: bool,
    subnets: int,
    encapsulation: str,
    cross_subnet: str,
) -> None:
    """Bring a cluster up."""
    is_on = {"on": True, "off": False}
    if daemonset and not kubernetes:
        raise LabError("--daemonset is for a real cluster: give --kubernetes too")
    options = Options(
        nodes,
        kubernetes,
        is_on[socket_lb],
        checksums,
        subnets,
        encapsulation,
        is_on[cross_subnet],
        daemonset=daemonset,
    )
    if kubernetes:
        from lab.kubernetes import lifecycle  # noqa: PLC0415  the standalone lab needs none of it

        lifecycle.up(chosen.lab, options, _say())
    else:
        cluster.up(chosen.lab, options, _say())


@commands.command()
@click.pass_obj
def down(chosen: Chosen) -> None:
    """Take the cluster away, whatever is left of it."""
    site.remove(chosen.lab)
    click.echo(f"lab {chosen.lab} is gone")


@commands.command()
@click.option("-f", "--file", "files", type=click.File(), multiple=True, required=True, help="YAML; - is the input.")
@click.pass_obj
def apply(chosen: Chosen, files: Sequence[TextIO]) -> None:
    """Create or replace Services, EndpointSlices and Namespaces."""
    lab = cluster.find(chosen.lab)
    for file in files:
        for item in lab.apply(file.read()):
            spec = item.get("spec", {})
            ports = ", ".join(f"{p['port']}/{p['protocol']}{_node_port(p)}" for p in spec.get("ports", ()))
            where = f": {' '.join(spec['clusterIPs'])} {ports}" if spec.get("clusterIPs") else ""
            click.echo(f"{item['kind']} {name(item)}{where}")


@commands.command()
@click.argument("pod")
@click.option("--node", required=True, help="n1, n2, ...")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE")
@click.option("-p", "--port", "ports", multiple=True, metavar="NAME=NUMBER[/UDP]", help="Ready when it is served.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def run(  # noqa: PLR0913, PLR0917  click's options
    chosen: Chosen,
    pod: str,
    node: str,
    namespace: str,
    labels: Sequence[str],
    ports: Sequence[str],
    command: Sequence[str],
) -> None:
    """Make a pod on a node and run COMMAND in it."""
    pairs = dict(_pair(text) for text in labels)
    served = [_port(text) for text in ports]
    item = cluster.find(chosen.lab).run(pod, node, command, space=namespace, labels=pairs, ports=served)
    click.echo(f"pod {pod} runs on {node}: {' '.join(ip['ip'] for ip in item['status']['podIPs'])}")


@commands.command(name="exec")
@click.argument("where")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def execute(chosen: Chosen, where: str, namespace: str, command: Sequence[str]) -> None:
    """Run COMMAND in a pod, or on a machine: a node, outside, underlay."""
    found = site.find(chosen.lab)
    if where in (*found.machine_names, "underlay"):
        machine = found.machine(where)
        _become(machine.command(command), machine.environment())
    lab = cluster.find(chosen.lab)
    item = lab.pod(where, namespace)
    machine = lab.machine_of(item)
    _become(pods.command(machine, item, command), machine.environment({"POD_NAME": where}))


@commands.command()
@click.argument("pod")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.pass_obj
def logs(chosen: Chosen, pod: str, namespace: str) -> None:
    """Print what a pod printed."""
    lab = cluster.find(chosen.lab)
    item = lab.pod(pod, namespace)
    click.echo(pods.log(lab.machine_of(item), item).read_text(errors="replace"), nl=False)


@commands.command()
@click.argument("what")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--grace", default=0.5, show_default=True, help="Seconds between leaving its Services and ending.")
@click.pass_obj
def delete(chosen: Chosen, what: str, namespace: str, grace: float) -> None:
    """End a pod, or remove Service/NAME, EndpointSlice/NAME or Namespace/NAME."""
    lab = cluster.find(chosen.lab)
    kind, _, called = what.rpartition("/")
    if kind:
        lab.remove({"service": "Service", "endpointslice": "EndpointSlice"}.get(kind.lower(), kind), called, namespace)
    else:
        lab.delete(called, namespace, grace_s=grace)
    click.echo(f"{what} is gone")


@commands.command()
@click.pass_obj
def status(chosen: Chosen) -> None:
    """Show machines, pods and Services."""
    found = site.find(chosen.lab)
    if not found.options.kubernetes:
        cluster.find(chosen.lab).observe()
    for line in status_lines(found):
        click.echo(line)


@commands.command()
@click.argument("action", type=click.Choice(["restart", "kill", "start", "stop"]))
@click.argument("node")
@click.pass_obj
def agent(chosen: Chosen, action: str, node: str) -> None:
    """Restart, kill, stop or start a node's agent."""
    machine = site.find(chosen.lab).machine(node)
    if action in {"restart", "stop"}:
        agents.stop(machine)
    if action == "kill":
        agents.kill(machine)
    if action in {"restart", "start"}:
        agents.start_again(machine)
        agents.wait(machine)
    done = {"restart": "has restarted", "kill": "was killed", "start": "runs", "stop": "has ended"}[action]
    click.echo(f"the agent of {node} {done}")


@commands.command(context_settings=_PASSED_ON)
@click.argument("node")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def dpctl(chosen: Chosen, node: str, arguments: Sequence[str]) -> None:
    """Run dpctl on a node."""
    machine = site.find(chosen.lab).machine(node)
    _become(machine.command([str(Path(sys.prefix) / "bin/dpctl"), *arguments]), machine.environment())


@commands.command(context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def kubectl(chosen: Chosen, arguments: Sequence[str]) -> None:
    """Run kubectl against the real Kubernetes."""
    from lab.kubernetes import lifecycle  # noqa: PLC0415  as above

    _become(lifecycle.find(chosen.lab).kubectl.argv(*arguments), dict(os.environ))


@commands.command(context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def conformance(chosen: Chosen, arguments: Sequence[str]) -> None:
    """Run upstream's [sig-network] tests against the real Kubernetes."""
    from lab.conformance import command  # noqa: PLC0415  as above

    sys.exit(command.main(chosen.lab, list(arguments)))


@commands.command(name="demo")
@click.option("--keep", is_flag=True, help="Leave the cluster up afterwards.")
@click.pass_obj
def demonstrate(chosen: Chosen, *, keep: bool) -> None:
    """Three nodes, real connections, real backends; says what it checks."""
    sys.exit(demo.run(chosen.lab, keep=keep))


def _say() -> cluster.Say:
    began = time.monotonic()
    return lambda text: click.echo(f"{time.monotonic() - began:6.1f} s  {text}")


def _become(argv: Sequence[str], environment: dict[str, str]) -> None:
    """Let the command take this process's place; its exit code is ours."""
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvpe(argv[0], list(argv), environment)  # noqa: S606


def _pair(text: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not is_pair:
        raise LabError(f"{text!r} is no KEY=VALUE")
    return key, value


def _port(text: str) -> Port:
    """``http=8080`` or ``dns=53/UDP``."""
    called, rest = _pair(text)
    number, _, protocol = rest.partition("/")
    if not number.isdigit() or (protocol or "TCP").upper() not in _PROTOCOLS:
        raise LabError(f"{text!r} is no port: say NAME=NUMBER, NAME=NUMBER/TCP or NAME=NUMBER/UDP")
    return Port(called, int(number), (protocol or "TCP").upper())


def _node_port(port: dict[str, object]) -> str:
    return f" (node port {port['nodePort']})" if port.get("nodePort") else ""
