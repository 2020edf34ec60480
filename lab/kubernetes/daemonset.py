"""The agents as users run them: the image in every node's containerd, and the DaemonSet of ``deploy/manifests``.

With BGP the DaemonSet is the chart's, whose agents have BIRD beside them in a container of its own image.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from lab import bird
from lab.addresses import gateways, subnet_of
from lab.errors import LabError
from lab.kubernetes import runtime
from lab.kubernetes.addresses import server
from lab.kubernetes.agent_image import Image
from lab.kubernetes.build import Artifacts
from lab.kubernetes.kubectl import Kubectl
from lab.site import Options, Site

CHECKOUT = Path(__file__).resolve().parent.parent.parent
MANIFEST = CHECKOUT / "deploy" / "manifests" / "sluiceway.yaml"
CHART = CHECKOUT / "deploy" / "helm" / "sluiceway"
BIRD = "bird"  # the container
PEERS = "bgppeers.sluiceway.io"
NAME = "daemonset/sluiceway-agent"
SPACE = "--namespace=kube-system"
ENDED_WITHIN = "--timeout=180s"
READY_WITHIN = "--timeout=300s"


def load(site: Site, artifacts: Artifacts, image: Image) -> None:
    """Import an image on every node; one that has it already is left alone."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(runtime.load, node, artifacts, image.archive, image.name) for node in site.nodes]:
            done.result()


def apply(site: Site, kubectl: Kubectl, image_name: str, more: Mapping[str, str] | None = None) -> None:
    """Apply the manifest as *site*'s options are, with *more* options by their variables; `wait` waits for the pods."""
    kubectl.apply(manifest(MANIFEST.read_text(), site, image_name, more or {}))


def apply_with_bird(site: Site, kubectl: Kubectl, image_name: str, bird_name: str, helm: Path) -> None:
    """The same of the chart with --router, and each node's peers as BGPPeers.

    Raises:
        LabError: Helm does not take the chart.
    """
    namespace, on = "--namespace=kube-system", "--set=options.router=true"
    command = [str(helm), "template", "sluiceway", str(CHART), namespace, on, "--no-hooks"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"helm template: {done.stderr.strip()}")
    kubectl.apply(manifest(done.stdout, site, image_name, {}, bird_name))
    kubectl.apply("".join(f"---\n{json.dumps(one)}\n" for one in peers(site)))


def peers(site: Site) -> Iterator[Mapping[str, Any]]:
    """A BGPPeer for each node and family: the router of its subnet."""
    for node in site.nodes:
        for address in gateways(subnet_of(node.name, site.options.subnets)):
            selector = {"matchLabels": {"kubernetes.io/hostname": node.name}}
            yield {
                "apiVersion": "sluiceway.io/v1alpha1",
                "kind": "BGPPeer",
                "metadata": {"name": f"{node.name}-ipv{address.version}"},
                "spec": {"address": str(address), "asn": bird.TOR_ASN, "nodeSelector": selector},
            }


def wait(kubectl: Kubectl) -> None:
    """Return when every node's pod is of the manifest that was applied last, and says that it is ready.

    Raises:
        KubectlError: they are not, in time.
    """
    kubectl.run(SPACE, "rollout", "status", NAME, READY_WITHIN)


def remove(kubectl: Kubectl) -> None:
    """Delete the DaemonSet, and return when its pods have ended; what they did on their nodes stays."""
    kubectl.run(SPACE, "delete", NAME, "--ignore-not-found", "--cascade=foreground", ENDED_WITHIN)
    kubectl.run("delete", PEERS, "--all", "--ignore-not-found", ENDED_WITHIN)


def manifest(text: str, site: Site, image_name: str, more: Mapping[str, str], bird_name: str = "") -> str:
    """The shipped manifest for a lab's cluster: its images, its API server's address, and its options."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    told = {"SLUICEWAY_API_SERVER": server(site), **variables(site.options), **more}
    for document in documents:
        if document["kind"] != "DaemonSet":
            continue
        spec = document["spec"]["template"]["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            container["image"] = bird_name if container["name"] == BIRD else image_name
        for container in (each for each in spec["containers"] if each["name"] != BIRD):
            container["env"] += [{"name": name, "value": value} for name, value in told.items()]
    return yaml.safe_dump_all(documents)


def variables(options: Options) -> Mapping[str, str]:
    """The agent's options as the lab's are, by their names in its environment."""
    switch = {True: "on", False: "off"}
    flags = (flag.removeprefix("--").partition("=") for flag in (bird.FLAGS if options.router else ()))
    return {
        **{f"SLUICEWAY_{name.replace('-', '_').upper()}": value for name, _, value in flags if name != "router"},
        "SLUICEWAY_SOCKET_LB": switch[options.socket_lb],
        "SLUICEWAY_ENCAPSULATION": options.encapsulation,
        "SLUICEWAY_CROSS_SUBNET": switch[options.cross_subnet],
        "SLUICEWAY_FORWARDING": options.forwarding,
    }
