"""Our agent on every node, with a service account of its own and no right beyond those of ``deploy/manifests``."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from lab import agents, bird
from lab.kubernetes import agent_image, build, daemonset, pki
from lab.kubernetes.addresses import server, service
from lab.kubernetes.build import Artifacts
from lab.kubernetes.golang import Say
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
    texts = [
        (MANIFESTS / name).read_text() for name in ("sluiceway.yaml", "loadbalancer.yaml", "networks.yaml", "bgp.yaml")
    ]
    objects = [found for text in texts for found in yaml.safe_load_all(text)]
    return yaml.safe_dump_all(found for found in objects if found["kind"] != "DaemonSet")


def start(site: Site, kubectl: Kubectl, artifacts: Artifacts, say: Say) -> None:
    """Start the agent of every node, as a process of the node or in a pod; `wait` waits for them.

    In both cases its API server is a service that it serves itself.

    Raises:
        LabError: the image could not be made, or a node does not take it.
    """
    if not site.options.daemonset:
        agents.start(site, lambda node: _flags(site, node))
        return
    cache = build.cache_folder(os.environ)
    image = agent_image.image(cache, say)
    daemonset.load(site, artifacts, image)
    if not site.options.router:
        daemonset.apply(site, kubectl, image.name)
        return
    speaker = agent_image.bird(cache, say)
    daemonset.load(site, artifacts, speaker)
    daemonset.apply_with_bird(site, kubectl, image.name, speaker.name, build.helm(say))


def wait(site: Site, kubectl: Kubectl) -> None:
    """Return when every agent has programmed what the API server says.

    Raises:
        LabError: one has not, or has ended.
    """
    if site.options.daemonset:
        daemonset.wait(kubectl)
        return
    with ThreadPoolExecutor() as pool:
        list(pool.map(agents.wait, site.nodes))


def restart(site: Site, kubectl: Kubectl, artifacts: Artifacts, say: Say) -> None:
    """Start every agent anew, as *site*'s options are now; returns when they are ready.

    One at a time has a node's pins: what runs otherwise than is wanted ends first.
    """
    for node in site.nodes:
        agents.stop(node)
        bird.stop(node)
    if not site.options.daemonset:
        daemonset.remove(kubectl)
    start(site, kubectl, artifacts, say)
    wait(site, kubectl)


def _flags(site: Site, node: Machine) -> Sequence[str]:
    api = [f"--kubeconfig={_kubeconfig(node)}", f"--api-server={server(site)}"]
    return [*api, *(bird.peer_flags(node, site.options.subnets) if site.options.router else ())]


def _kubeconfig(node: Machine) -> Path:
    return node.home / "agent.kubeconfig"
