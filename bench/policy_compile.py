"""What it costs to compile policies: all of a large cluster at once, and one change of each kind.

A hundred namespaces, in each as many policies and pods; a hundred of the pods are of this node. A policy accepts pods
of its namespace by label, pods of others by both labels, and a range without a part of it.
"""

import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from random import Random

from agent.compile.desired import Desired, desired
from agent.compile.settings import Settings
from agent.model.attachment import Attachment, Veth
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.model.name import ObjectName
from agent.model.node import Namespace, Node, Pod
from agent.model.policy import (
    CidrPeer,
    ContainerPort,
    Operator,
    PeerPod,
    PodPeer,
    Policy,
    PortRange,
    Requirement,
    Rule,
    Selector,
)
from agent.model.service import Protocol
from bench.sets import Result

NAMESPACES, LOCAL = 100, 100
APPS, TEAMS = 10, 10
FULL_LIMIT_MS, CHANGE_LIMIT_MS = 2000.0, 50.0
SETTINGS = Settings("n1", network_policy=True)
LISTED = frozenset({"NetworkPolicy", "ClusterNetworkPolicy", "PeerPod"})
TIERS = ("front", "back", "data")
POD_ADDRESSES, POD_ADDRESSES_6 = IPv4Address("10.64.0.0"), IPv6Address("fd00::")


def measured(sets: int, policies: int = 1_000, pods: int = 5_000) -> list[Result]:
    """The medians of *sets* runs, in milliseconds."""
    took: dict[str, list[float]] = {}
    for _ in range(sets):
        for what, milliseconds in _run(policies, pods):
            took.setdefault(what, []).append(milliseconds)
    limits = {what: CHANGE_LIMIT_MS for what in took if what.startswith("a pod")}
    limits["all of it"] = FULL_LIMIT_MS
    return [Result(what, statistics.median(found), "ms", at_most=limits.get(what)) for what, found in took.items()]


def _run(policies: int, pods: int) -> Iterator[tuple[str, float]]:
    now = cluster(policies, pods)
    gc.collect()
    made, took = _timed(now, Desired())
    yield "all of it", took
    for what, changed in _changes(now):
        _, took = _timed(changed, made)
        yield what, took


def _timed(cluster: Cluster, before: Desired) -> tuple[Desired, float]:
    gc.disable()  # as the agent's own first round, and its frozen records later
    began = time.perf_counter()
    made = desired(cluster, SETTINGS, before)
    took = (time.perf_counter() - began) * 1e3
    gc.enable()
    return made, took


def _changes(now: Cluster) -> Iterator[tuple[str, Cluster]]:
    """One change each."""
    names = [*now.peers]
    far = now.peers[names[-1]]
    peers = {**now.peers, far.name: replace(far, labels=(("app", "a5"), ("tier", "back")))}
    yield "a pod's label, of another node", replace(now, peers=peers)
    yield "a pod that is gone", replace(now, peers={name: now.peers[name] for name in names[:-1]})
    new = PeerPod(ObjectName("ns7", "new"), (("app", "a3"), ("tier", "front")), (IPv4Address("10.200.0.1"),))
    yield "a pod that is new", replace(now, peers={**now.peers, new.name: new})
    near = now.pods[names[0]]
    pods = {**now.pods, near.name: replace(near, labels=(("app", "a5"), ("tier", "back")))}
    yield "a pod's label, of this node", replace(now, pods=pods)
    first = next(iter(now.policies.values()))
    yield "a policy's egress", replace(now, policies={**now.policies, first.name: replace(first, egress=())})
    wide = Rule(peers=(PodPeer(pods=_has(tier="data")),))
    more = Policy(ObjectName("ns4", "more"), PodPeer(namespace="ns4"), (wide,))
    yield "a policy that means a third of all pods", replace(now, policies={**now.policies, more.name: more})
    moved = replace(now.namespaces["ns9"], labels=(("team", "t1"),))
    yield "a namespace's label", replace(now, namespaces={**now.namespaces, "ns9": moved})
    yield "nothing", replace(now)


def cluster(policies: int, pods: int) -> Cluster:
    """A cluster of a node n1, with so many policies and pods."""
    rng = Random(1)  # noqa: S311  no secret
    namespaces = [Namespace(f"ns{i}", (("team", f"t{i % TEAMS}"),)) for i in range(NAMESPACES)]
    peers = [_pod(i) for i in range(pods)]
    return Cluster(
        nodes={"n1": Node("n1", (IPv4Address("10.88.0.11"),))},
        pods={
            pod.name: Pod(pod.name, f"u{i}", "n1", pod.ips, labels=pod.labels) for i, pod in enumerate(peers[:LOCAL])
        },
        namespaces={one.name: one for one in namespaces},
        policies={one.name: one for one in (_policy(i, rng) for i in range(policies))},
        peers={pod.name: pod for pod in peers},
        listed=LISTED,
        local=Local(attachments=attachments(), netns_cookie=1),
        synced=True,
    )


def attachments() -> tuple[Attachment, ...]:
    """Those of the node's pods."""
    return tuple(_attachment(i, _pod(i)) for i in range(LOCAL))


def _pod(i: int) -> PeerPod:
    labels = (("app", f"a{i // NAMESPACES % APPS}"), ("pod", f"p{i}"), ("tier", TIERS[i % len(TIERS)]))
    ports = (ContainerPort("http", Protocol.TCP, 8080 + i % 3),)
    return PeerPod(ObjectName(f"ns{i % NAMESPACES}", f"p{i}"), labels, (POD_ADDRESSES + i, POD_ADDRESSES_6 + i), ports)


def _attachment(i: int, pod: PeerPod) -> Attachment:
    ipv4, ipv6 = POD_ADDRESSES + i, POD_ADDRESSES_6 + i
    mac = f"02:00:00:00:00:{i:02x}"
    return Attachment(
        f"c{i}", "eth0", i + 1, i + 1, "", i + 1, mac, Veth(f"swp{i}", 100 + i), ipv4, ipv6, pod.name, f"u{i}"
    )


def _policy(i: int, rng: Random) -> Policy:
    namespace = f"ns{i % NAMESPACES}"
    near = PodPeer(pods=_has(app=f"a{rng.randrange(APPS)}"), namespace=namespace)
    far = PodPeer(pods=_has(tier="front"), namespaces=_has(team=f"t{rng.randrange(TEAMS)}"))
    outside = IPv4Network(f"192.168.{i % 256}.0/24")
    ports = (PortRange(Protocol.TCP, 80 + i % 7, 80 + i % 7), PortRange(Protocol.UDP, 53, 53))
    ingress = (
        Rule(peers=(near, far), ports=ports),
        Rule(peers=(CidrPeer(outside, (IPv4Network(f"192.168.{i % 256}.8/29"),)),)),
    )
    asked = PodPeer(pods=_has(app=f"a{rng.randrange(APPS)}"), namespaces=_has(team=f"t{rng.randrange(TEAMS)}"))
    egress = (Rule(peers=(asked,), ports=(PortRange(Protocol.TCP, 443, 443),)),)
    subject = PodPeer(pods=_has(app=f"a{i // NAMESPACES % APPS}"), namespace=namespace)
    return Policy(ObjectName(namespace, f"policy{i}"), subject, ingress, egress)


def _has(**labels: str) -> Selector:
    return Selector(tuple(Requirement(key, Operator.IN, frozenset({value})) for key, value in labels.items()))
