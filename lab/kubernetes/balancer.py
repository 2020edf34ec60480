"""What load balancers' addresses need: the pool that they are of, and a client that is far from the nodes."""

import json
import sys
from pathlib import Path
from typing import Any

from lab import underlay
from lab.addresses import FAR4, FAR6, POOL4, POOL6, ROUTER
from lab.kubernetes.kubectl import Kubectl
from lab.site import ROUTED, Site

ROUTER_SCRIPT, DAEMON = Path(__file__).with_name("router.py"), "router"
SPREAD = ("net.ipv4.fib_multipath_hash_policy=1", "net.ipv6.fib_multipath_hash_policy=1")  # by ports too
POOL: dict[str, Any] = {
    "apiVersion": "sluiceway.io/v1alpha1",
    "kind": "LoadBalancerPool",
    "metadata": {"name": "lab"},
    "spec": {"cidrs": [str(POOL4), str(POOL6)]},
}


def prepare(site: Site, kubectl: Kubectl) -> None:
    """Make the pool, and let the host that is no node ask its addresses as one that comes from elsewhere."""
    kubectl.run("wait", "--for=condition=Established", "crd/loadbalancerpools.sluiceway.io", "--timeout=120s")
    kubectl.apply(json.dumps(POOL))
    underlay.move_far(site.outside, site.machine(ROUTER), (FAR4, FAR6), (POOL4, POOL6))
    if site.options.load_balancer == ROUTED:
        site.outside.run("sysctl", "--quiet", "--write", *SPREAD)
        nodes = [",".join(map(str, node.addresses)) for node in site.nodes]
        argv = [sys.executable, str(ROUTER_SCRIPT), str(kubectl.kubeconfig), f"{FAR4},{FAR6}", *nodes]
        site.outside.daemon(DAEMON, argv)


def end(site: Site) -> None:
    """Route nothing any more."""
    site.outside.stop(DAEMON)
