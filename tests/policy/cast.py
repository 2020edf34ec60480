"""A small fixed cluster for the oracle's own table, with short ways to write its policies and flows.

Namespace x is red, y and z are blue, z is production. Pods are called as namespace/name, their IPv6 addresses the same
with a 6 behind; nodes are n1 and n2.
"""

import dataclasses
from collections.abc import Sequence

from tests.policy.facts import Flow, Object, World, address, node_addresses, pod_at

EVERYTHING: Object = {}
NOBODY: Object = {}
"""An empty selector selects everything; an empty peer is nobody."""

BOTH = ("Ingress", "Egress")


def namespace(name: str, **held: str) -> Object:
    return {"kind": "Namespace", "metadata": {"name": name, "labels": held}}


def node(name: str, number: int, **held: str) -> Object:
    """A node with an internal address of each family, an external one and a host name."""
    written = [
        {"type": "InternalIP", "address": f"10.0.0.{number}"},
        {"type": "InternalIP", "address": f"fd00::{number}"},
        {"type": "ExternalIP", "address": f"198.51.100.{number}"},
        {"type": "Hostname", "address": name},
    ]
    return {"kind": "Node", "metadata": {"name": name, "labels": held}, "status": {"addresses": written}}


def pod(who: str, on: str, where: str, ports: Sequence[Object] = (), phase: str = "Running", **held: str) -> Object:
    """A pod ``namespace/name`` with the IPv4 address *where* and an IPv6 one that ends alike."""
    home, name = who.split("/")
    both = [{"ip": where}, {"ip": six(where)}]
    return {
        "kind": "Pod",
        "metadata": {"namespace": home, "name": name, "labels": {"pod": name, **held}},
        "spec": {"nodeName": on, "containers": [{"name": "main", "ports": list(ports)}]},
        "status": {"phase": phase, "podIPs": both},
    }


def six(where: str) -> str:
    """The IPv6 address of who has this IPv4 address."""
    _, b, _, d = where.split(".")
    return f"fd0{b}::{d}"


def named(name: str, number: int, protocol: str = "TCP") -> Object:
    return {"name": name, "containerPort": number, "protocol": protocol}


def on_host(who: str, on: str, where: str) -> Object:
    """A pod on its node's network."""
    made = pod(who, on, where)
    made["spec"]["hostNetwork"] = True
    return made


WORLD = World(
    namespaces=[namespace("x", team="red"), namespace("y", team="blue"), namespace("z", team="blue", env="prod")],
    nodes=[node("n1", 1, zone="one"), node("n2", 2, zone="two")],
    pods=[
        pod("x/a", "n1", "10.1.0.1", [named("web", 80), named("dns", 53, "UDP")], app="shop"),
        pod("x/b", "n1", "10.1.0.2", [named("web", 81)]),
        pod("y/a", "n1", "10.1.0.3", [named("web", 8080)], app="shop"),
        pod("y/b", "n2", "10.2.0.1"),
        pod("z/a", "n2", "10.2.0.2", app="shop", team="red"),
        pod("x/done", "n1", "10.1.0.9", [named("web", 80)], phase="Succeeded"),
        on_host("x/host", "n1", "10.0.0.1"),
    ],
)
"""z/a has as its own a label that only namespace x has among namespaces; x/done ended and x/host is n1 to all."""


def network_policy(home: str, pods: Object = EVERYTHING, *, types: Sequence[str] = (), **rules: list[Object]) -> Object:
    """A NetworkPolicy of namespace *home*; without *types* it does not say which directions it is about."""
    spec: Object = {"podSelector": pods, **rules}
    if types:
        spec["policyTypes"] = list(types)
    return {"kind": "NetworkPolicy", "metadata": {"namespace": home, "name": "policy"}, "spec": spec}


def cluster_policy(tier: str, priority: int, subject: Object, **rules: list[Object]) -> Object:
    """A ClusterNetworkPolicy."""
    spec = {"tier": tier, "priority": priority, "subject": subject, **rules}
    return {"kind": "ClusterNetworkPolicy", "metadata": {"name": f"policy-{tier.lower()}-{priority}"}, "spec": spec}


def has(**held: str) -> Object:
    """A selector by labels."""
    return {"matchLabels": held}


def where(key: str, operator: str, *values: str) -> Object:
    """A selector by one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": [*values]} if values else {})}]}


def pods(selector: Object) -> Object:
    """A NetworkPolicy's peer: pods of the policy's namespace."""
    return {"podSelector": selector}


def in_namespaces(selector: Object, of: Object | None = None) -> Object:
    """A NetworkPolicy's peer: pods of namespaces, all or those that *of* selects."""
    return {"namespaceSelector": selector, **({} if of is None else {"podSelector": of})}


def block(cidr: str, *excepts: str) -> Object:
    """A NetworkPolicy's peer: addresses."""
    return {"ipBlock": {"cidr": cidr, **({"except": [*excepts]} if excepts else {})}}


def with_policies(world: World, *policies: Object) -> World:
    """The world with these policies of either kind and no others."""
    own = [policy for policy in policies if policy["kind"] == "NetworkPolicy"]
    return dataclasses.replace(
        world, network_policies=own, cluster_network_policies=[policy for policy in policies if policy not in own]
    )


def flow(world: World, text: str) -> Flow:
    """The flow that ``x/a > y/a6 TCP/80``, ``192.0.2.7 > x/a ICMP`` or the like writes."""
    source, _, target, what = text.split()
    protocol, _, port = what.partition("/")
    here, there = (address(_written(world, one)) for one in (source, target))
    own = pod_at(world, there)
    nodes = [one for one in world.nodes if own is not None and one["metadata"]["name"] == own["spec"]["nodeName"]]
    return Flow(here, there, protocol, int(port) if port else None, any(here in node_addresses(one) for one in nodes))


def _written(world: World, who: str) -> str:
    """The address of a pod or node of that name; what is no name is an address."""
    v6 = who.endswith("6") and who[:-1] in {_name(one) for one in (*world.pods, *world.nodes)}
    for one in (*world.pods, *world.nodes):
        if _name(one) == (who[:-1] if v6 else who):
            status = one["status"]
            listed = [entry["ip"] for entry in status.get("podIPs", ())]
            found: str = (listed or [entry["address"] for entry in status["addresses"]])[1 if v6 else 0]
            return found
    return who


def _name(thing: Object) -> str:
    metadata = thing["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else str(metadata["name"])
