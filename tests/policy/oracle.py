"""Whether a flow may pass, worked out rule by rule from the objects alone: the oracle of the policy tests.

It is slow and plain on purpose, and keeps no state: every question reads the whole world.
"""

from tests.policy import cluster_network_policy, network_policy
from tests.policy.facts import Direction, Flow, Judgement, Object, Ruling, Side, World, called, pod_at

__all__ = ["Flow", "Judgement", "Ruling", "World", "verdict"]

ITSELF = Ruling(allowed=True, reason="a pod always reaches itself")
OWN_NODE = Ruling(allowed=True, reason="a pod's own node always reaches it")
NO_POD = Ruling(allowed=True, reason="this end is no pod")
NOT_HERE = Ruling(allowed=True, reason="this end is a pod of another node")


def verdict(world: World, flow: Flow, *, here: str | None = None) -> Judgement:
    """What the policies of *world* say of *flow*, by direction.

    *here* is the node whose dataplane is asked: it judges the ends that are pods of its own. Without it both ends
    are judged, as by a cluster in which every node does its part.
    """
    source, target = pod_at(world, flow.source), pod_at(world, flow.destination)
    if source is not None and source is target:
        return Judgement(egress=ITSELF, ingress=ITSELF)
    return Judgement(
        egress=_at(world, flow, Direction.EGRESS, source, target, here),
        ingress=_at(world, flow, Direction.INGRESS, target, source, here),
    )


def _at(
    world: World, flow: Flow, direction: Direction, subject: Object | None, other: Object | None, here: str | None
) -> Ruling:
    """What one end says: *subject* is the pod there, *other* the pod at the other end."""
    if subject is None:
        return NO_POD
    if here is not None and subject["spec"].get("nodeName") != here:
        return NOT_HERE
    inward = direction is Direction.INGRESS
    if inward and flow.own_node:
        return OWN_NODE
    side = Side(
        direction=direction,
        subject=subject,
        peer=flow.source if inward else flow.destination,
        peer_pod=other,
        target=subject if inward else other,
        protocol=flow.protocol,
        port=flow.port,
    )
    return _by_tiers(world, side)


def _by_tiers(world: World, side: Side) -> Ruling:
    """The tiers in their order; the first final decision holds, and without one the flow passes."""
    return (
        cluster_network_policy.judge(world, side, "Admin")
        or network_policy.judge(world, side)
        or cluster_network_policy.judge(world, side, "Baseline")
        or Ruling(allowed=True, reason=f"no policy decides on {side.direction.rules} of {called(side.subject)}")
    )
