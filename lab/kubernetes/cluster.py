"""The whole cluster, brought up in order on machines that stand already."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from lab.kubernetes import agents, control_plane, dns, identities, kubelet, runtime
from lab.kubernetes.build import Artifacts
from lab.kubernetes.control_plane import ClusterError, log_tail
from lab.kubernetes.golang import Say
from lab.kubernetes.identities import Identities
from lab.kubernetes.kubectl import Kubectl
from lab.kubernetes.site import Host, Site

REGISTERED_WITHIN_S = 60.0

PodCidrs = Mapping[str, tuple[IPv4Network | IPv6Network, ...]]  # by the node's name


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster."""

    site: Site
    artifacts: Artifacts
    who: Identities
    kubectl: Kubectl


def up(site: Site, artifacts: Artifacts, say: Say, *, socket_lb: bool = True) -> Cluster:
    """Start everything; returns when the nodes are Ready and the cluster's DNS answers.

    Raises:
        ClusterError: a part did not come up.
        KubectlError: the API server refused an object.
    """
    made = start(site, artifacts, say)
    agents.authorize(site, made.kubectl, made.who)
    agents.start(site, socket_lb=socket_lb)
    dns.deploy(made.kubectl)
    agents.wait(site)
    say("the agents have synced")
    wait_ready(made, say)
    return made


def start(site: Site, artifacts: Artifacts, say: Say) -> Cluster:
    """Start all but the network: nodes are registered and have their pod CIDRs, and are not Ready."""
    who = identities.create(site)
    kubectl = Kubectl(artifacts.program("kubectl"), who.kubeconfig("admin"), site.outside)
    made = Cluster(site, artifacts, who, kubectl)
    dns.start_outside(site.outside, artifacts)
    with ThreadPoolExecutor() as pool:
        runtimes = [pool.submit(runtime.start, node, artifacts) for node in site.nodes]
        control_plane.start(site, artifacts, who, kubectl)
        say("the API server is ready")
        for started in runtimes:
            started.result()
    say("containerd runs on every node and has the images")
    for number, node in enumerate(site.nodes):
        kubelet.start(node, number, artifacts, who)
    cidrs = pod_cidrs(made)
    say("the nodes are registered")
    for host in (site.control_plane, site.outside):
        route_to_pods(host, site, cidrs)
    return made


def wait_ready(made: Cluster, say: Say) -> None:
    """Return when every node is Ready and the cluster's DNS answers."""
    made.kubectl.run("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")
    say(f"{len(made.site.nodes)} nodes are Ready")
    dns.wait(made.kubectl)
    say("the cluster's DNS answers")


def pod_cidrs(made: Cluster) -> PodCidrs:
    """What the controller manager gave to each node; returns when every node has its own.

    Raises:
        ClusterError: a kubelet did not register its node.
    """
    wanted = {node.name for node in made.site.nodes}
    deadline = time.monotonic() + REGISTERED_WITHIN_S
    while True:
        items = made.kubectl.get("nodes")["items"]
        found = {
            item["metadata"]["name"]: tuple(ip_network(cidr) for cidr in item["spec"].get("podCIDRs", ()))
            for item in items
        }
        missing = sorted(name for name in wanted if not found.get(name))
        if not missing:
            return found
        if time.monotonic() > deadline:
            logs = [log_tail(node.home, "kubelet") for node in made.site.nodes if node.name in missing]
            raise ClusterError(f"not registered: {', '.join(missing)}: {' '.join(logs)}")
        time.sleep(0.3)


def route_to_pods(host: Host, site: Site, cidrs: PodCidrs) -> None:
    """Let *host*, which is no node, reach pods by their nodes.

    The API server's proxy to pods needs it; and pods reach the outside with their own address, which
    the outside has to answer.
    """
    by_name = {node.name: node for node in site.nodes}
    for name, networks in cidrs.items():
        for network in networks:
            via = next(address for address in by_name[name].addresses if address.version == network.version)
            host.run("ip", "route", "replace", str(network), "via", str(via))
