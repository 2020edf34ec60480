"""The nodes' agents: a process each, on its machine as on one of its own; standalone they watch a manifests folder."""

import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.options.config import Options
from lab import bird, cni
from lab.errors import LabError
from lab.machine import Machine
from lab.site import ANNOUNCED, ROUTED, Site

DAEMON = "agent"
METRICS_PORT = Options().listen[1]
LOAD_BALANCER: Mapping[str, Sequence[str]] = {
    ANNOUNCED: ("--loadbalancer-pools=on", "--l2-announce=on"),
    ROUTED: ("--loadbalancer-pools=on",),
}
READY_WITHIN_S = 180.0  # five at once with a compilation each, on a slow machine that is busy
# curl is not on every machine
_ASK = (
    'exec 3<>/dev/tcp/127.0.0.1/$0 && printf "GET /readyz HTTP/1.0\\r\\n\\r\\n" >&3 && head -n 1 <&3 | grep -q " 200 "'
)


def start(site: Site, watched: Callable[[Machine], Sequence[str]] | None = None) -> None:
    """Start the agent of every node; `wait` waits for them.

    *watched* are a node's flags for what its agent watches, the manifests folder if not given.
    """
    for node in site.nodes:
        argv = [
            str(Path(sys.prefix) / "bin" / "sluiceway-agent"),
            "run",
            f"--node-name={node.name}",
            *(watched(node) if watched else [f"--manifests={site.manifests}"]),
            f"--listen=127.0.0.1:{METRICS_PORT}",
            f"--socket-lb={_switch(site.options.socket_lb)}",
            f"--encapsulation={site.options.encapsulation}",
            f"--cross-subnet={_switch(site.options.cross_subnet)}",
            f"--forwarding={site.options.forwarding}",
            *(bird.FLAGS if site.options.router else ()),
            *LOAD_BALANCER.get(site.options.load_balancer, ()),
        ]
        if site.options.router:
            bird.start(node)
        node.daemon(DAEMON, argv)


def wait(machine: Machine) -> None:
    """Return when a node's agent has programmed what it watches.

    Raises:
        LabError: it ended, or is not ready in time.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    while not is_ready(machine):
        if machine.daemon_process(DAEMON) is None:
            raise LabError(f"the agent of {machine.name} has ended: {machine.log_tail(DAEMON)}")
        if time.monotonic() > deadline:
            raise LabError(f"the agent of {machine.name} is not ready: {machine.log_tail(DAEMON)}")
        time.sleep(0.02)


def is_ready(machine: Machine) -> bool:
    """Whether a node's agent says so itself, and pods may come."""
    is_synced = machine.run("bash", "-c", _ASK, str(METRICS_PORT), check=False).returncode == 0
    return is_synced and cni.has_network(machine)


def kill(machine: Machine) -> None:
    """End a node's agent as a crash would."""
    machine.stop(DAEMON, signal.SIGKILL)


def stop(machine: Machine) -> None:
    """Ask a node's agent to end."""
    machine.stop(DAEMON)


def start_again(machine: Machine, more: Mapping[str, str] | None = None, flags: Sequence[str] = ()) -> None:
    """Start a node's agent as before, with *more* in its environment and *flags* behind its own this once.

    Raises:
        LabError: it runs already, or does not start.
    """
    if machine.daemon_process(DAEMON) is not None:
        raise LabError(f"the agent of {machine.name} runs already")
    machine.start_again(DAEMON, more, flags)


def _switch(is_on: bool) -> str:  # noqa: FBT001  it is all there is to say
    return "on" if is_on else "off"
