"""The cluster of ``bench/policy_compile.py`` as an API server has it, and the pods and policies that are changed in it.

This node's pods are those of the model; of their addresses it has those that the agent gave them. Beside them is
a pod of another node, which changes, and policies that let one pod ask it and one of this node.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.policy import Operator, PeerPod, PodPeer, Policy, PortRange, Requirement, Rule, Selector
from agent.model.service import Protocol
from bench import objects
from bench.api_server import Object, Objects
from bench.policy_compile import cluster

NODE, OTHER_NODE = "node", "n2"
NODE_ADDRESS, OTHER_ADDRESS = "192.0.2.1", "192.0.2.2"
NODE_PODS, OTHER_PODS = ("10.244.0.0/16", "fd00:244::/64"), ("10.99.0.0/16",)
POLICIES, PODS = 1_000, 5_000
PORT, OTHER_PORT = 9999, 9998
ASKING, NEAR = ObjectName("ns0", "p0"), ObjectName("ns1", "p1")  # of this node's pods
FAR = ObjectName("ns0", "far")  # of another node
WHERE = IPv4Address("10.99.0.1")  # the far pod's first address
MEANT, NOT_MEANT = ("probe", "yes"), ("probe", "no")

Addresses = Mapping[str, tuple[str, ...]]  # of this node's pods, by name


def served(addresses: Path, *, policies: bool) -> Objects:
    """All objects; without *policies* only what an agent needs to attach pods."""
    given: Addresses = json.loads(addresses.read_text()) if addresses.exists() else {}
    base: Objects = {
        "nodes": _nodes,
        "namespaces": lambda: map(objects.namespace, network().namespaces.values()),
        "pods of a node": partial(_node_pods, given),
    }
    if not policies:
        return base
    return {**base, "networkpolicies": _policies, "pods": partial(_pods, given)}


def network() -> Cluster:
    """The model's cluster."""
    return cluster(POLICIES, PODS)


def far(where: IPv4Address, label: tuple[str, str], name: str = FAR.name) -> Object:
    """A pod of the other node."""
    return objects.pod(PeerPod(ObjectName(FAR.namespace, name), (label,), (where,)), OTHER_NODE, name)


def near(addresses: Addresses, label: tuple[str, str]) -> Object:
    """The pod of this node that is asked."""
    made = network()
    uid = next(i for i, name in enumerate(made.pods) if name == NEAR)
    return _placed(made.peers[NEAR], addresses, uid, label)


def asks(port: int) -> Object:
    """The policy that lets the pod ask who has the label, at a port."""
    rule = Rule(peers=(PodPeer(pods=_has(*MEANT)),), ports=(PortRange(Protocol.UDP, port, port),))
    subject = PodPeer(pods=_has("pod", ASKING.name), namespace=ASKING.namespace)
    return objects.network_policy(Policy(ObjectName(ASKING.namespace, "asks"), subject, None, (rule,)))


def _answers() -> Object:
    """The policy that lets the other pod of this node be asked."""
    subject = PodPeer(pods=_has("pod", NEAR.name), namespace=NEAR.namespace)
    rule = Rule(peers=(PodPeer(pods=_has("pod", ASKING.name)),), ports=(PortRange(Protocol.UDP, PORT, PORT),))
    return objects.network_policy(Policy(ObjectName(NEAR.namespace, "answers"), subject, (rule,)))


def _policies() -> Iterator[Object]:
    yield from map(objects.network_policy, network().policies.values())
    yield from (asks(PORT), _answers())


def _pods(addresses: Addresses) -> Iterator[Object]:
    yield from _node_pods(addresses)
    made = network()
    for i, one in enumerate(made.peers.values()):
        if one.name not in made.pods:
            yield objects.pod(one, OTHER_NODE, f"u{i}")
    yield far(WHERE, MEANT)


def _node_pods(addresses: Addresses) -> Iterator[Object]:
    made = network()
    for i, name in enumerate(made.pods):
        yield _placed(made.peers[name], addresses, i, *((NOT_MEANT,) if name == NEAR else ()))


def _placed(one: PeerPod, addresses: Addresses, uid: int, *labels: tuple[str, str]) -> Object:
    """A pod of this node, with what the agent gave it and more labels."""
    given = tuple(ip_address(each) for each in addresses.get(one.name.name, ()))
    return objects.pod(replace(one, labels=(*one.labels, *labels), ips=given), NODE, f"u{uid}")


def _nodes() -> Iterator[Object]:
    for name, address, cidrs in ((NODE, NODE_ADDRESS, NODE_PODS), (OTHER_NODE, OTHER_ADDRESS, OTHER_PODS)):
        told = [{"type": "InternalIP", "address": address}]
        yield {
            "metadata": {"name": name},
            "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
            "status": {"addresses": told},
        }


def _has(key: str, value: str) -> Selector:
    return Selector((Requirement(key, Operator.IN, frozenset({value})),))
