"""Our agent on every node: a process with a service account of its own and no right beyond ``deploy/rbac.yaml``."""

import sys
import time
from pathlib import Path

from lab.kubernetes import pki
from lab.kubernetes.addresses import server
from lab.kubernetes.control_plane import ClusterError
from lab.kubernetes.identities import Identities
from lab.kubernetes.kubectl import Kubectl
from lab.machine import Machine
from lab.site import Site

RBAC = Path(__file__).resolve().parent.parent.parent / "deploy" / "rbac.yaml"
SERVICE_ACCOUNT = "sluiceway-agent"
DAEMON = "agent"
METRICS = "127.0.0.1:9650"
READY_WITHIN_S = 60.0


def authorize(site: Site, kubectl: Kubectl, who: Identities) -> None:
    """Apply ``deploy/rbac.yaml`` and ask for the token that the nodes' kubeconfigs hold (TokenRequest)."""
    kubectl.apply(RBAC.read_text())
    request = ["--namespace=kube-system", "create", "token", SERVICE_ACCOUNT, "--duration=24h"]
    for node in site.nodes:
        token = kubectl.run(*request).stdout.strip()
        pki.kubeconfig(_kubeconfig(node), server(site), who.authority, {"token": token})


def start(site: Site, *, socket_lb: bool) -> None:
    """Start the agent of every node; `wait` waits for them."""
    for node in site.nodes:
        argv = [
            str(Path(sys.prefix) / "bin" / "sluiceway-agent"),
            "run",
            f"--node-name={node.name}",
            f"--kubeconfig={_kubeconfig(node)}",
            f"--listen={METRICS}",
            f"--socket-lb={'on' if socket_lb else 'off'}",
        ]
        node.daemon(DAEMON, argv)


def wait(site: Site) -> None:
    """Return when every agent has programmed what the API server says.

    Raises:
        ClusterError: one has not.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    for node in site.nodes:
        while node.run("curl", "--silent", "--fail", f"http://{METRICS}/readyz", check=False).returncode:
            if time.monotonic() > deadline:
                raise ClusterError(f"the agent of {node.name} is not ready: {node.log_tail(DAEMON)}")
            time.sleep(0.1)


def restart(site: Site, *, socket_lb: bool) -> None:
    """Start every agent anew, with this choice; returns when they are ready."""
    for node in site.nodes:
        node.stop(DAEMON)
    start(site, socket_lb=socket_lb)
    wait(site)


def _kubeconfig(node: Machine) -> Path:
    return node.home / "agent.kubeconfig"
