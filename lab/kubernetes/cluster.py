"""The whole cluster, brought up in order on machines that stand already."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from lab import bird
from lab import site as sites
from lab.addresses import ROUTER, Networks
from lab.kubernetes import agents, balancer, control_plane, dns, identities, kubelet, runtime
from lab.kubernetes.build import Artifacts
from lab.kubernetes.control_plane import ClusterError
from lab.kubernetes.golang import Say
from lab.kubernetes.identities import Identities
from lab.kubernetes.kubectl import Kubectl
from lab.site import Options, Site

REGISTERED_WITHIN_S = 180.0

PodCidrs = Mapping[str, Networks]  # by the node's name


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster."""

    site: Site
    artifacts: Artifacts
    kubectl: Kubectl


def cluster(site: Site, artifacts: Artifacts) -> Cluster:
    """The cluster on *site*, whether it runs already or is about to."""
    config = identities.folder(site) / "admin.kubeconfig"
    return Cluster(site, artifacts, Kubectl(artifacts.program("kubectl"), config, site.outside))


def up(site: Site, artifacts: Artifacts, say: Say) -> Cluster:
    """Start everything; returns when the nodes are Ready and the cluster's DNS answers.

    Raises:
        ClusterError: a part did not come up.
        KubectlError: the API server refused an object.
    """
    who = identities.create(site)
    made = start(site, artifacts, who, say)
    agents.authorize(site, made.kubectl, who)
    agents.start(site, made.kubectl, artifacts, say)
    dns.deploy(made.kubectl)
    agents.wait(site, made.kubectl)
    say("the agents have synced")
    wait_ready(made, say)
    return made


def start(site: Site, artifacts: Artifacts, who: Identities, say: Say) -> Cluster:
    """Start all but the network: nodes are registered and have their pod CIDRs, and are not Ready."""
    made = cluster(site, artifacts)
    dns.start_outside(site.outside, artifacts)
    with ThreadPoolExecutor() as pool:
        runtimes = [pool.submit(runtime.start, node, artifacts) for node in site.nodes]
        control_plane.start(site, artifacts, who, made.kubectl)
        made.kubectl.run("apply", "--server-side", "-f", str(artifacts.policy_definition))
        say("the API server is ready")
        for started in runtimes:
            started.result()
    say("containerd runs on every node and has the images")
    for number, node in enumerate(site.nodes):
        kubelet.start(node, number, artifacts, who)
    sites.route_to_pods(site, pod_cidrs(made))
    say("the nodes are registered")
    return made


def configure(made: Cluster, options: Options, say: Say) -> Cluster:
    """Start the agents anew with *options*, on a network that is as these need it; the machines stay as they are.

    Returns when the nodes are Ready, and stay so: a kubelet that looked while there was no agent says until it looks
    again that its node is not, and upstream's tests, which look every half a minute, would wait for all of that.
    """
    site = replace(made.site, options=options)
    sites.route_to_pods(site, pod_cidrs(made))
    router = site.machine(ROUTER)
    bird.stop(router)
    if options.router:
        bird.run(router, bird.between(site.nodes, options.subnets))
    balancer.end(site)
    if options.load_balancer:
        balancer.prepare(site, made.kubectl)
    agents.restart(site, made.kubectl, made.artifacts, say)
    if options.router:
        bird.wait(site.nodes, pod_cidrs(made), router)
    time.sleep(kubelet.LOOKS_EVERY_S)
    _wait_for_nodes(made)
    return replace(made, site=site)


def wait_ready(made: Cluster, say: Say) -> None:
    """Return when every node is Ready and the cluster's DNS answers."""
    _wait_for_nodes(made)
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
        given = {item["metadata"]["name"]: item["spec"].get("podCIDRs") for item in items}
        found = {name: (IPv4Network(both[0]), IPv6Network(both[1])) for name, both in given.items() if both}
        missing = sorted(wanted - found.keys())
        if not missing:
            return found
        if time.monotonic() > deadline:
            logs = [node.log_tail("kubelet") for node in made.site.nodes if node.name in missing]
            raise ClusterError(f"not registered: {', '.join(missing)}: {' '.join(logs)}")
        time.sleep(0.3)


def _wait_for_nodes(made: Cluster) -> None:
    made.kubectl.run("wait", "--for=condition=Ready", "node", "--all", "--timeout=300s")
