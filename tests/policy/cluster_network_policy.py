"""What the ClusterNetworkPolicies of one tier say of a flow.

Source: sigs.k8s.io/network-policy-api v0.3.0, apis/v1beta1 (v1alpha2 is the same): the comments of the types.
"""

from tests.policy.facts import Object, Ruling, Side, World, called, has_named_port, labels, network, node_addresses
from tests.policy.selectors import selects, selects_namespace, selects_pod

INGRESS_PEERS = ("namespaces", "pods")
EGRESS_PEERS = ("namespaces", "pods", "nodes", "networks")
"""The kinds of peers that are served. domainNames is a name of the API's experimental channel, and is not."""


def judge(world: World, side: Side, tier: str) -> Ruling | None:
    """The first Accept or Deny of the tier; None when no rule matches or the first that does passes.

    Of two policies with one priority the API lets either win; here the first by name does.
    """
    policies = [policy for policy in world.cluster_network_policies if policy["spec"]["tier"] == tier]
    for policy in sorted(policies, key=lambda one: (one["spec"]["priority"], one["metadata"]["name"])):
        if not _is_subject(world, policy["spec"]["subject"], side.subject):
            continue
        for index, rule in enumerate(policy["spec"].get(side.direction.rules) or ()):
            action = _effect(world, rule, side)
            if action == "Pass":
                return None
            if action is not None:
                where = f"{tier} ClusterNetworkPolicy {called(policy)} spec.{side.direction.rules}[{index}]"
                return Ruling(allowed=action == "Accept", reason=f"{where}: {action}")
    return None


def _is_subject(world: World, subject: Object, pod: Object) -> bool:
    """Whether the policy is about this pod; a subject without a known field is about none."""
    if (namespaces := subject.get("namespaces")) is not None:
        return selects_namespace(world, namespaces, pod["metadata"]["namespace"])
    pods = subject.get("pods")
    return pods is not None and _is_namespaced_pod(world, pods, pod)


def _effect(world: World, rule: Object, side: Side) -> str | None:
    """What the rule does with this flow; None when it does not match.

    A rule that names what we do not know fails closed: Accept matches nothing, Deny and Pass deny everything.
    """
    peers, protocols = rule.get(side.direction.peers) or (), rule.get("protocols") or ()
    action: str = rule["action"]
    known = INGRESS_PEERS if side.direction.rules == "ingress" else EGRESS_PEERS
    if not all(_is_known(peer, known) for peer in peers) or not all(map(_is_known_protocol, protocols)):
        return None if action == "Accept" else "Deny"
    matches = any(_is_peer(world, peer, side) for peer in peers) and (
        not protocols or any(_is_protocol(entry, side) for entry in protocols)
    )
    return action if matches else None


def _is_known(peer: Object, known: tuple[str, ...]) -> bool:
    """Whether a known field is set; an empty selector is set, an empty list of networks is not."""
    return any(peer.get(field) is not None and peer[field] != [] for field in known)


def _is_known_protocol(entry: Object) -> bool:
    """Whether a known field is set, and a port, if there is one, says which."""
    layers = [entry[field] for field in ("tcp", "udp", "sctp") if entry.get(field) is not None]
    ports = [layer["destinationPort"] for layer in layers if layer.get("destinationPort") is not None]
    return bool(layers or entry.get("destinationNamedPort")) and all(
        port.get("number") or port.get("range") for port in ports
    )


def _is_peer(world: World, peer: Object, side: Side) -> bool:
    if (namespaces := peer.get("namespaces")) is not None:
        pod = side.peer_pod
        return pod is not None and selects_namespace(world, namespaces, pod["metadata"]["namespace"])
    if (pods := peer.get("pods")) is not None:
        return side.peer_pod is not None and _is_namespaced_pod(world, pods, side.peer_pod)
    if (nodes := peer.get("nodes")) is not None:
        return any(selects(nodes, labels(node)) and side.peer in node_addresses(node) for node in world.nodes)
    return any(side.peer in network(cidr) for cidr in peer["networks"])


def _is_namespaced_pod(world: World, pods: Object, pod: Object) -> bool:
    return selects_pod(world, pods.get("namespaceSelector") or {}, pods.get("podSelector") or {}, pod)


def _is_protocol(entry: Object, side: Side) -> bool:
    """Whether the flow's protocol and port are those of one entry; ICMP is never an entry's."""
    if side.port is None:
        return False
    if name := entry.get("destinationNamedPort"):
        return has_named_port(side.target, name, side.protocol, side.port)
    layer = entry.get(side.protocol.lower())
    if layer is None:
        return False
    port = layer.get("destinationPort")
    if port is None:
        return True
    if between := port.get("range"):
        return bool(between["start"] <= side.port <= between["end"])
    return bool(port["number"] == side.port)
