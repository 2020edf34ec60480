"""What the NetworkPolicies of a pod's namespace say of a flow.

Source: networking.k8s.io/v1, the field descriptions of NetworkPolicySpec and what it holds.
"""

from tests.policy.facts import Direction, Object, Ruling, Side, World, called, has_named_port, labels, network
from tests.policy.selectors import selects, selects_namespace


def judge(world: World, side: Side) -> Ruling | None:
    """The final decision of all policies that isolate the pod in this direction; None when none does."""
    isolating = [policy for policy in world.network_policies if _isolates(policy, side)]
    if not isolating:
        return None
    for policy in isolating:
        for index, rule in enumerate(_rules(policy, side.direction)):
            if _allows(world, policy, rule, side):
                return Ruling(
                    allowed=True, reason=f"NetworkPolicy {called(policy)} spec.{side.direction.rules}[{index}] allows"
                )
    names = ", ".join(called(policy) for policy in isolating)
    return Ruling(allowed=False, reason=f"no {side.direction.rules} rule of NetworkPolicy {names} allows")


def _isolates(policy: Object, side: Side) -> bool:
    spec = policy.get("spec") or {}
    return (
        policy["metadata"]["namespace"] == side.subject["metadata"]["namespace"]
        and selects(spec.get("podSelector") or {}, labels(side.subject))
        and side.direction.value in _policy_types(spec)
    )


def _policy_types(spec: Object) -> list[str]:
    """The directions that a policy is about: when it does not say, ingress, and egress if it has egress rules."""
    return spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _rules(policy: Object, direction: Direction) -> list[Object]:
    return (policy.get("spec") or {}).get(direction.rules) or []


def _allows(world: World, policy: Object, rule: Object, side: Side) -> bool:
    """Whether peer and port both match; a list that is empty or missing matches everything."""
    peers, ports = rule.get(side.direction.peers), rule.get("ports")
    return (not peers or any(_is_peer(world, policy, peer, side) for peer in peers)) and (
        not ports or any(_is_port(port, side) for port in ports)
    )


def _is_peer(world: World, policy: Object, peer: Object, side: Side) -> bool:
    if (block := peer.get("ipBlock")) is not None:
        return side.peer in network(block["cidr"]) and not any(
            side.peer in network(cidr) for cidr in block.get("except") or ()
        )
    namespaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
    if side.peer_pod is None or (namespaces is None and pods is None):
        return False
    metadata = side.peer_pod["metadata"]
    if namespaces is None:
        there = metadata["namespace"] == policy["metadata"]["namespace"]
    else:
        there = selects_namespace(world, namespaces, metadata["namespace"])
    return there and selects(pods or {}, labels(side.peer_pod))


def _is_port(entry: Object, side: Side) -> bool:
    """Whether the flow's protocol and port are those of one item; ICMP is never an item's."""
    protocol, port = entry.get("protocol") or "TCP", entry.get("port")
    if side.protocol != protocol or side.port is None:
        return False
    if port is None:
        return True
    if isinstance(port, str):
        return has_named_port(side.target, port, protocol, side.port)
    return bool(port <= side.port <= (entry.get("endPort") or port))
