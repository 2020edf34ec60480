"""Random worlds, flows among what is in them, and changes, for hypothesis and for a plain seeded random alike.

A real cluster gives the addresses: there a test creates the objects of ``inhabited()``, reads them back, and lets
``governed()`` draw policies and ``flows()`` draw flows for what it read.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st

from tests.policy.changes import Change, Event, change, events
from tests.policy.drawing import HOLES, OUTSIDE, Options, all_addresses, chance
from tests.policy.drawn_cluster_policies import PRIORITIES, cluster_policy
from tests.policy.drawn_objects import namespaces, nodes, pods
from tests.policy.drawn_policies import network_policy
from tests.policy.facts import Address, Flow, Object, World, address, addresses, node_addresses, pod_at

__all__ = [
    "Change",
    "Event",
    "Options",
    "between",
    "change",
    "choices",
    "events",
    "flows",
    "governed",
    "histories",
    "inhabited",
    "world",
    "worlds",
]

PROTOCOLS = ("TCP", "TCP", "TCP", "UDP", "UDP", "SCTP", "ICMP")
REAL_PROTOCOLS = ("TCP", "UDP")

choices = st.randoms(use_true_random=False)
"""A random source that hypothesis controls and shrinks; everything here takes it."""


def world(rng: Random, options: Options | None = None) -> World:
    """A whole random world."""
    return governed(inhabited(rng, options), rng, options)


def inhabited(rng: Random, options: Options | None = None) -> World:
    """Namespaces, nodes and pods, without a policy."""
    chosen = options or Options()
    homes, hosts = namespaces(rng, chosen), nodes(rng, chosen)
    return World(namespaces=homes, nodes=hosts, pods=pods(rng, chosen, homes, hosts))


def governed(there: World, rng: Random, options: Options | None = None) -> World:
    """The same with random policies in place of its own, their blocks around the addresses that are there."""
    chosen = options or Options()
    homes, around = [one["metadata"]["name"] for one in there.namespaces], all_addresses(there)
    own = [
        network_policy(rng, chosen, f"policy-{index}", homes, around)
        for index in range(rng.randint(0, chosen.network_policies))
    ]
    cluster: list[Object] = []
    for index in range(rng.randint(0, min(chosen.cluster_policies, len(PRIORITIES)))):
        cluster.append(cluster_policy(rng, chosen, f"cluster-{index}", homes, around, cluster))
    return dataclasses.replace(there, network_policies=own, cluster_network_policies=cluster)


@dataclass(frozen=True, slots=True)
class Ends:
    """The addresses of one family that flows begin and end at: of pods, of nodes, and others.

    *servers* are the nodes' addresses that a flow may go to.
    """

    pods: Sequence[Address]
    nodes: Sequence[Address]
    servers: Sequence[Address]
    others: Sequence[Address]

    def draw(self, rng: Random, hosts: Sequence[Address]) -> Address:
        """Any end, mostly a pod's."""
        kind = rng.randint(0, 9)
        if hosts and kind in {7, 8}:
            return rng.choice(hosts)
        return rng.choice(self.others if self.others and kind == 9 else self.pods)


def flows(there: World, rng: Random, count: int, options: Options | None = None) -> list[Flow]:
    """*count* flows of which one end at least is a pod; none where no pod has an address."""
    chosen = options or Options()
    families = [ends for ends in (_ends(there, version, real=chosen.real) for version in (4, 6)) if ends.pods]
    return [_flow(there, rng, rng.choice(families), chosen) for _ in range(count)] if families else []


def between(there: World, source: Address, destination: Address, protocol: str, port: int | None) -> Flow:
    """The flow between two addresses, which knows whether it comes from the destination's own node."""
    target = pod_at(there, destination)
    own = target is not None and any(
        source in node_addresses(node)
        for node in there.nodes
        if node["metadata"]["name"] == target["spec"].get("nodeName")
    )
    return Flow(source, destination, protocol, port, own_node=own)


def _ends(there: World, version: int, *, real: bool) -> Ends:
    """All ends of one family; in a real cluster a test can send and listen in pods and on nodes alone."""
    ours = [one for pod in there.pods for one in addresses(pod) if one.version == version]
    hosts = {
        node["metadata"]["name"]: [one for one in node_addresses(node) if one.version == version]
        for node in there.nodes
    }
    listening = {pod["spec"].get("nodeName") for pod in there.pods if pod["spec"].get("hostNetwork")}
    everywhere = [one for where in hosts.values() for one in where]
    served = [one for name, where in hosts.items() if name in listening for one in where[:1]]
    vacant = [*map(address, (*OUTSIDE, *HOLES)), *all_addresses(there)]
    others = [one for one in vacant if one.version == version and one not in ours and one not in everywhere]
    return Ends(ours, everywhere, served if real else everywhere, () if real else others)


def _flow(there: World, rng: Random, ends: Ends, options: Options) -> Flow:
    source, destination = ends.draw(rng, ends.nodes), rng.choice(ends.pods)
    if chance(rng, 35):
        source, destination = rng.choice(ends.pods), ends.draw(rng, ends.servers)
    if source == destination and chance(rng, 80):
        source = rng.choice(ends.pods)
    protocol = rng.choice(REAL_PROTOCOLS if options.real else PROTOCOLS)
    named = _container_ports(pod_at(there, destination))
    port = rng.choice(named) if named and chance(rng, 35) else rng.choice(options.all_ports)
    return between(there, source, destination, protocol, None if protocol == "ICMP" else port)


def _container_ports(pod: Object | None) -> list[int]:
    containers = pod["spec"]["containers"] if pod is not None else ()
    return [entry["containerPort"] for one in containers for entry in one.get("ports") or ()]


@st.composite
def worlds(draw: st.DrawFn, options: Options | None = None) -> World:
    """Worlds for hypothesis."""
    return world(draw(choices), options)


@st.composite
def histories(
    draw: st.DrawFn, options: Options | None = None, *, changes: int = 3, count: int = 20
) -> list[tuple[World, list[Flow]]]:
    """A world and what becomes of it by each of *changes* changes, with *count* flows to ask about each time."""
    rng = draw(choices)
    stages = [world(rng, options)]
    for _ in range(changes):
        stages.append(change(stages[-1], rng, options).world)
    return [(stage, flows(stage, rng, count, options)) for stage in stages]
