"""How the oracle's table reads: policies, and flows with what is to become of them."""

from typing import Any

from tests.policy.cast import EVERYTHING, cluster_policy, flow, has, network_policy
from tests.policy.facts import Judgement, Object, World
from tests.policy.oracle import verdict

PASS, INGRESS, EGRESS, NEITHER = "passes", "denied at ingress", "denied at egress", "denied at both"

ALL: Object = {"namespaces": EVERYTHING}
X: Object = {"namespaces": has(**{"kubernetes.io/metadata.name": "x"})}
ONE: Object = {"pods": {"namespaceSelector": X["namespaces"], "podSelector": has(pod="a")}}
"""Every pod, those of namespace x, and x/a."""


def outcome(judged: Judgement) -> str:
    """A judgement in one of four words."""
    if judged.allowed:
        return PASS
    if judged.egress.allowed:
        return INGRESS
    return EGRESS if judged.ingress.allowed else NEITHER


def outcomes(world: World, flows: dict[str, str]) -> dict[str, str]:
    """What the oracle says of each flow that *flows* names."""
    return {text: outcome(verdict(world, flow(world, text))) for text in flows}


def to_a(**rule: list[Object]) -> Object:
    """A policy for ingress of x/a with one rule."""
    return network_policy("x", has(pod="a"), ingress=[rule])


def from_a(**rule: list[Object]) -> Object:
    """A policy for egress of x/a with one rule."""
    return network_policy("x", has(pod="a"), types=["Egress"], egress=[rule])


def inbound(action: str, *peers: Object, protocols: list[Object] | None = None) -> Object:
    """An ingress rule; without peers it is about every pod."""
    return {"action": action, "from": list(peers) or [ALL], **({"protocols": protocols} if protocols else {})}


def outbound(action: str, *peers: Object, protocols: list[Object] | None = None) -> Object:
    """An egress rule; without peers it is about every pod."""
    return {"action": action, "to": list(peers) or [ALL], **({"protocols": protocols} if protocols else {})}


def admin(priority: int, subject: Object, **rules: list[Object]) -> Object:
    return cluster_policy("Admin", priority, subject, **rules)


def baseline(priority: int, subject: Object, **rules: list[Object]) -> Object:
    return cluster_policy("Baseline", priority, subject, **rules)


def port(protocol: str, number: int | None = None, **between: Any) -> Object:
    """An entry of protocols: a number, a range, or all ports."""
    what = {"range": between} if between else {"number": number}
    return {protocol: {"destinationPort": what} if between or number else {}}
