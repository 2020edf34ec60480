"""Our agent on every node, with a service account of its own and no right beyond those of ``deploy/manifests``."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from lab import agents
from lab.kubernetes import pki
from lab.kubernetes.addresses import server, service
from lab.kubernetes.identities import Identities
from lab.kubernetes.kubectl import Kubectl
from lab.machine import Machine
from lab.site import Site

MANIFESTS = Path(__file__).resolve().parent.parent.parent / "deploy" / "manifests"
SERVICE_ACCOUNT = "sluiceway-agent"


def authorize(site: Site, kubectl: Kubectl, who: Identities) -> None:
    """Apply :func:`rights` and ask for the tokens that the nodes' kubeconfigs hold (TokenRequest)."""
    kubectl.apply(rights())
    request = ["--namespace=kube-system", "create", "token", SERVICE_ACCOUNT, "--duration=24h"]
    for node in site.nodes:
        token = kubectl.run(*request).stdout.strip()
        pki.kubeconfig(_kubeconfig(node), service(), who.authority, {"token": token})


def rights() -> str:
    """The objects of ``deploy/manifests`` that the agents need beside the API server, in their order."""
    texts = [(MANIFESTS / name).read_text() for name in ("sluiceway.yaml", "loadbalancer.yaml")]
    objects = [found for text in texts for found in yaml.safe_load_all(text)]
    return yaml.safe_dump_all(found for found in objects if found["kind"] != "DaemonSet")


def start(site: Site) -> None:
    """Start the agent of every node; `wait` waits for them. As in a pod, its API server is a service that it serves."""
    agents.start(site, lambda node: [f"--kubeconfig={_kubeconfig(node)}", f"--api-server={server(site)}"])


def wait(site: Site) -> None:
    """Return when every agent has programmed what the API server says.

    Raises:
        LabError: one has not, or has ended.
    """
    with ThreadPoolExecutor() as pool:
        list(pool.map(agents.wait, site.nodes))


def restart(site: Site) -> None:
    """Start every agent anew, as *site*'s options are now; returns when they are ready."""
    for node in site.nodes:
        agents.stop(node)
    start(site)
    wait(site)


def _kubeconfig(node: Machine) -> Path:
    return node.home / "agent.kubeconfig"
