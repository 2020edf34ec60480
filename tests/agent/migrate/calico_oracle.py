"""What Calico's policies of the tier ``default`` say of a flow, rule by rule: the oracle of the importer's policies.

Shares nothing with the importer: selectors are pairs of text and meaning. Source: Calico's documentation, "Get started
with Calico network policy": order, default deny, NetworkPolicies of Kubernetes at order 1000.
"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from tests.policy import network_policy
from tests.policy.facts import Direction, Flow, Object, Side, World, pod_at

Labels = Mapping[str, str]
SELECTORS: dict[str, Callable[[Labels], bool]] = {
    "all()": lambda _: True,
    "app == 'web'": lambda held: held.get("app") == "web",
    "app != 'web'": lambda held: held.get("app") != "web",
    "app in {'web', 'db'} && has(tier)": lambda held: held.get("app") in {"web", "db"} and "tier" in held,
    "app == 'web' || tier == 'back'": lambda held: held.get("app") == "web" or held.get("tier") == "back",
    "!(app == 'web' || has(tier))": lambda held: held.get("app") != "web" and "tier" not in held,
    "!has(app)": lambda held: "app" not in held,
    "app not in {'db'}": lambda held: held.get("app") != "db",
}
NAMESPACES: dict[str, Callable[[Labels], bool]] = {
    "team == 'a'": lambda held: held.get("team") == "a",
    "!has(team)": lambda held: "team" not in held,
    "team == 'a' || team == 'b'": lambda held: held.get("team") in {"a", "b"},
}


def allowed(world: World, policies: list[Object], flow: Flow, direction: Direction) -> bool:
    """Whether the pod at this end of the flow lets it pass."""
    source, target = pod_at(world, flow.source), pod_at(world, flow.destination)
    inward = direction is Direction.INGRESS
    subject, other = (target, source) if inward else (source, target)
    assert subject is not None
    peer = flow.source if inward else flow.destination
    steps = sorted(
        ((_order(one), one["metadata"]["name"], one) for one in policies if _applies(world, one, subject, direction)),
        key=lambda step: step[:2],
    )
    side = Side(direction, subject, peer, other, target, flow.protocol, flow.port)
    kubernetes = network_policy.judge(world, side)
    is_judged = False
    for order, _, policy in steps:
        if kubernetes is not None and kubernetes.allowed and not is_judged and order > 1000:
            return True
        is_judged |= order > 1000
        for rule in policy["spec"].get(direction.rules) or ():
            if _matches(world, policy, rule, side):
                return bool(rule["action"] == "Allow")
    if kubernetes is not None:
        return kubernetes.allowed
    return not steps


def _order(policy: Object) -> float:
    order = policy["spec"].get("order")
    return float("inf") if order is None else float(order)


def _applies(world: World, policy: Object, pod: Object, direction: Direction) -> bool:
    spec, namespace = policy["spec"], pod["metadata"]["namespace"]
    if direction.value not in spec["types"] or not SELECTORS[spec["selector"]](_labels(pod)):
        return False
    if policy["kind"] == "NetworkPolicy":
        return bool(policy["metadata"]["namespace"] == namespace)
    within = spec.get("namespaceSelector")
    return within is None or NAMESPACES[within](_of_namespace(world, namespace))


def _matches(world: World, policy: Object, rule: Object, side: Side) -> bool:
    entity = rule.get("source" if side.direction is Direction.INGRESS else "destination") or {}
    ports = (rule.get("destination") or {}).get("ports")
    if rule.get("protocol") is not None and rule["protocol"] != side.protocol:
        return False
    if ports and not any(_in(port, side.port) for port in ports):
        return False
    if "nets" in entity and not any(side.peer in ipaddress.ip_network(net) for net in entity["nets"]):
        return False
    if any(side.peer in ipaddress.ip_network(net) for net in entity.get("notNets", ())):
        return False
    return ("selector" not in entity and "namespaceSelector" not in entity) or _is_selected(world, policy, entity, side)


def _is_selected(world: World, policy: Object, entity: Object, side: Side) -> bool:
    if side.peer_pod is None or not SELECTORS[entity.get("selector", "all()")](_labels(side.peer_pod)):
        return False
    home = side.peer_pod["metadata"]["namespace"]
    if "namespaceSelector" in entity:
        return NAMESPACES[entity["namespaceSelector"]](_of_namespace(world, home))
    return bool(policy["kind"] == "GlobalNetworkPolicy" or home == policy["metadata"]["namespace"])


def _in(port: int | str, asked: int | None) -> bool:
    low, _, high = str(port).partition(":")
    return asked is not None and int(low) <= asked <= int(high or low)


def _labels(item: Any) -> Labels:
    return item["metadata"].get("labels") or {}


def _of_namespace(world: World, name: str) -> Labels:
    return next(_labels(one) for one in world.namespaces if one["metadata"]["name"] == name)
