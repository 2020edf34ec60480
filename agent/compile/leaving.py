"""Why clients outside are to come to Services by other nodes than this one: BGP and announcing on subnets ask alike."""

from agent.model.node import Node

# Source: Kubernetes, "Well-Known Labels, Annotations and Taints"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


def why_gone(node: Node | None, *, ignores_excluded: bool, leaves_when_cordoned: bool = False) -> str:
    """In words, as before a drain; empty where they may come by it. *node* None: its Node object has gone.

    A node whose kubelet is silent (NotReady) serves as before: whether it lives its own sessions and leases say.
    """
    if node is None:
        return "the Node is deleted"
    if not ignores_excluded and any(key == EXCLUDED for key, _ in node.labels):
        return f"the Node has the label {EXCLUDED}, and --ignore-exclude-lb is off"
    if node.is_leaving:
        return "the Node is deleted, or has the cluster autoscaler's taint"
    return "the Node is cordoned" if node.is_cordoned and leaves_when_cordoned else ""
