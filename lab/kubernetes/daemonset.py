"""The agents as users run them: the image in every node's containerd, and the DaemonSet of ``deploy/manifests``."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from lab.kubernetes import runtime
from lab.kubernetes.addresses import server
from lab.kubernetes.agent_image import Image
from lab.kubernetes.build import Artifacts
from lab.kubernetes.kubectl import Kubectl
from lab.site import Options, Site

CHECKOUT = Path(__file__).resolve().parent.parent.parent
MANIFEST = CHECKOUT / "deploy" / "manifests" / "sluiceway.yaml"
NAME = "daemonset/sluiceway-agent"
SPACE = "--namespace=kube-system"
ENDED_WITHIN = "--timeout=60s"
READY_WITHIN = "--timeout=180s"


def load(site: Site, artifacts: Artifacts, agent: Image) -> None:
    """Import the image on every node; one that has it already is left alone."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(runtime.load, node, artifacts, agent.archive, agent.name) for node in site.nodes]:
            done.result()


def apply(site: Site, kubectl: Kubectl, image_name: str, more: Mapping[str, str] | None = None) -> None:
    """Apply the manifest as *site*'s options are, with *more* options by their variables; `wait` waits for the pods."""
    kubectl.apply(manifest(MANIFEST.read_text(), site, image_name, more or {}))


def wait(kubectl: Kubectl) -> None:
    """Return when every node's pod is of the manifest that was applied last, and says that it is ready.

    Raises:
        KubectlError: they are not, in time.
    """
    kubectl.run(SPACE, "rollout", "status", NAME, READY_WITHIN)


def remove(kubectl: Kubectl) -> None:
    """Delete the DaemonSet, and return when its pods have ended; what they did on their nodes stays."""
    kubectl.run(SPACE, "delete", NAME, "--ignore-not-found", "--cascade=foreground", ENDED_WITHIN)


def manifest(text: str, site: Site, image_name: str, more: Mapping[str, str]) -> str:
    """The shipped manifest for a lab's cluster: its image, its API server's address, and its options."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    told = {"SLUICEWAY_API_SERVER": server(site), **variables(site.options), **more}
    for document in documents:
        if document["kind"] != "DaemonSet":
            continue
        spec = document["spec"]["template"]["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            container["image"] = image_name
        for container in spec["containers"]:
            container["env"] += [{"name": name, "value": value} for name, value in told.items()]
    return yaml.safe_dump_all(documents)


def variables(options: Options) -> Mapping[str, str]:
    """The agent's options as the lab's are, by their names in its environment."""
    switch = {True: "on", False: "off"}
    return {
        "SLUICEWAY_SOCKET_LB": switch[options.socket_lb],
        "SLUICEWAY_ENCAPSULATION": options.encapsulation,
        "SLUICEWAY_CROSS_SUBNET": switch[options.cross_subnet],
        "SLUICEWAY_FORWARDING": options.forwarding,
    }
