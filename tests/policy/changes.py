"""Random changes of a world, and what a watch would say of one."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.policy.drawing import NODE_LABELS, POD_LABELS, Options, all_addresses, labels
from tests.policy.drawn_cluster_policies import PRIORITIES, cluster_policy
from tests.policy.drawn_objects import live_addresses, namespace_labels, pod, status
from tests.policy.drawn_policies import network_policy
from tests.policy.facts import ENDED, Object, World

FIELDS = ("namespaces", "pods", "nodes", "network_policies", "cluster_network_policies")
MOST_PODS = 16


@dataclass(frozen=True, slots=True)
class Change:
    """The world after a change, and the change in words."""

    what: str
    world: World


@dataclass(frozen=True, slots=True)
class Event:
    """What a watch says of one object: ADDED, MODIFIED or DELETED."""

    type: str
    object: Object


Edit = Callable[[World, Random, Options], World | None]


def change(world: World, rng: Random, options: Options | None = None) -> Change:
    """One change that is possible in *world*, which itself stays as it is."""
    chosen = options or Options()
    edits = [*ALWAYS, *(() if chosen.real else SIMULATED)]
    rng.shuffle(edits)
    for edit in edits:
        after = edit(world, rng, chosen)
        if after is not None and after != world:
            return Change((edit.__doc__ or "").rstrip("."), after)
    return Change("nothing", world)


def events(before: World, after: World) -> list[Event]:
    """What the watches say between two worlds: deletions first, so that an address is free before it is used again."""
    gone, seen = [], []
    for field in FIELDS:
        old, new = ({_identity(one): one for one in getattr(world, field)} for world in (before, after))
        gone += [Event("DELETED", thing) for key, thing in old.items() if key not in new]
        seen += [Event("MODIFIED", new[key]) for key in old if key in new and old[key] != new[key]]
        seen += [Event("ADDED", thing) for key, thing in new.items() if key not in old]
    return [*gone, *sorted(seen, key=lambda event: event.type != "MODIFIED")]


def _identity(thing: Object) -> tuple[str, ...]:
    metadata = thing["metadata"]
    return metadata.get("namespace", ""), metadata["name"], metadata.get("uid", "")


def _relabel_pod(world: World, rng: Random, _options: Options) -> World | None:
    """A pod gets other labels."""
    return _with_labels(world, "pods", rng.choice(world.pods), labels(rng, POD_LABELS))


def _relabel_namespace(world: World, rng: Random, options: Options) -> World | None:
    """A namespace gets other labels."""
    chosen = rng.choice(world.namespaces)
    return _with_labels(world, "namespaces", chosen, namespace_labels(rng, options, chosen["metadata"]["name"]))


def _relabel_node(world: World, rng: Random, _options: Options) -> World | None:
    """A node gets other labels."""
    return _with_labels(world, "nodes", rng.choice(world.nodes), labels(rng, NODE_LABELS))


def _add_policy(world: World, rng: Random, options: Options) -> World | None:
    """A NetworkPolicy is created."""
    if len(world.network_policies) >= options.network_policies:
        return None
    made = network_policy(rng, options, _free(world.network_policies, "policy"), _homes(world), all_addresses(world))
    return dataclasses.replace(world, network_policies=[*world.network_policies, made])


def _edit_policy(world: World, rng: Random, options: Options) -> World | None:
    """A NetworkPolicy gets another specification."""
    if not world.network_policies:
        return None
    chosen = rng.choice(world.network_policies)
    made = network_policy(rng, options, "", _homes(world), all_addresses(world))
    return _replaced(world, "network_policies", chosen, {**chosen, "spec": made["spec"]})


def _delete_policy(world: World, rng: Random, _options: Options) -> World | None:
    """A NetworkPolicy is deleted."""
    return _without(world, "network_policies", rng)


def _add_cluster_policy(world: World, rng: Random, options: Options) -> World | None:
    """A ClusterNetworkPolicy is created."""
    held = world.cluster_network_policies
    if len(held) >= min(options.cluster_policies, len(PRIORITIES)):
        return None
    name = _free(held, f"{options.prefix}cluster").removeprefix(options.prefix)
    made = cluster_policy(rng, options, name, _homes(world), all_addresses(world), held)
    return dataclasses.replace(world, cluster_network_policies=[*held, made])


def _edit_cluster_policy(world: World, rng: Random, options: Options) -> World | None:
    """A ClusterNetworkPolicy gets another specification."""
    held = world.cluster_network_policies
    if not held:
        return None
    chosen = rng.choice(held)
    others = [one for one in held if one is not chosen]
    made = cluster_policy(rng, options, "", _homes(world), all_addresses(world), others)
    return _replaced(world, "cluster_network_policies", chosen, {**chosen, "spec": made["spec"]})


def _delete_cluster_policy(world: World, rng: Random, _options: Options) -> World | None:
    """A ClusterNetworkPolicy is deleted."""
    return _without(world, "cluster_network_policies", rng)


def _add_pod(world: World, rng: Random, options: Options) -> World | None:
    """A pod is created."""
    if len(world.pods) >= MOST_PODS:
        return None
    home, host = rng.choice(world.namespaces), rng.choice(world.nodes)
    made = pod(rng, options, _free(world.pods, "pod"), home, host, world.pods)
    return dataclasses.replace(world, pods=[*world.pods, made])


def _delete_pod(world: World, rng: Random, _options: Options) -> World | None:
    """A pod is deleted."""
    return _without(world, "pods", rng) if len(world.pods) > 2 else None


def _start_pod(world: World, rng: Random, _options: Options) -> World | None:
    """A pod without addresses gets some."""
    waiting = [one for one in world.pods if not one["status"].get("podIPs")]
    if not waiting:
        return None
    chosen = rng.choice(waiting)
    started = status(rng, _host(world, chosen), world.pods, on_host=False)
    return _replaced(world, "pods", chosen, {**chosen, "status": started})


def _end_pod(world: World, rng: Random, _options: Options) -> World | None:
    """A pod ends and keeps its object."""
    return _phase(world, rng.choice(world.pods), rng.choice(ENDED))


def _hand_over(world: World, rng: Random, options: Options) -> World | None:
    """A pod is deleted or ends, and a new one has its addresses."""
    chosen = _holder(world, rng)
    if chosen is None:
        return None
    rest = _phase(world, chosen, "Failed") if rng.randint(0, 1) else _removed(world, "pods", chosen)
    made = pod(rng, options, _free(world.pods, "pod"), rng.choice(world.namespaces), _host(world, chosen), world.pods)
    made["spec"].pop("hostNetwork", None)
    made["status"] = {"phase": "Running", "podIPs": chosen["status"]["podIPs"]}
    return dataclasses.replace(rest, pods=[*rest.pods, made])


def _swap(world: World, rng: Random, _options: Options) -> World | None:
    """A pod is created again by its own name with other labels and the same addresses."""
    chosen = _holder(world, rng)
    if chosen is None:
        return None
    again = copy.deepcopy(chosen)
    again["metadata"] |= {"labels": labels(rng, POD_LABELS), "uid": f"{rng.getrandbits(64):016x}"}
    return _replaced(world, "pods", chosen, again)


ALWAYS: tuple[Edit, ...] = (
    _relabel_pod,
    _relabel_namespace,
    _add_policy,
    _edit_policy,
    _delete_policy,
    _add_cluster_policy,
    _edit_cluster_policy,
    _delete_cluster_policy,
)
SIMULATED: tuple[Edit, ...] = (_relabel_node, _add_pod, _delete_pod, _start_pod, _end_pod, _hand_over, _swap)
"""What is possible in any cluster, and what only in one whose addresses and nodes are the test's own."""


def _holder(world: World, rng: Random) -> Object | None:
    """A pod that holds addresses of its own."""
    holders = [one for one in world.pods if live_addresses(one) and not one["spec"].get("hostNetwork")]
    return rng.choice(holders) if holders else None


def _host(world: World, chosen: Object) -> Object:
    """The node that a pod is on."""
    return next(node for node in world.nodes if node["metadata"]["name"] == chosen["spec"]["nodeName"])


def _homes(world: World) -> list[str]:
    return [namespace["metadata"]["name"] for namespace in world.namespaces]


def _free(held: Sequence[Object], stem: str) -> str:
    """A name that no object of the list has."""
    taken = {thing["metadata"]["name"] for thing in held}
    return next(name for name in _numbered(stem) if name not in taken)


def _numbered(stem: str) -> Iterator[str]:
    yield from (f"{stem}-{number}" for number in range(1000))


def _phase(world: World, chosen: Object, phase: str) -> World:
    return _replaced(world, "pods", chosen, {**chosen, "status": {**chosen["status"], "phase": phase}})


def _with_labels(world: World, field: str, chosen: Object, held: dict[str, str]) -> World:
    return _replaced(world, field, chosen, {**chosen, "metadata": {**chosen["metadata"], "labels": held}})


def _replaced(world: World, field: str, old: Object, new: Object) -> World:
    return dataclasses.replace(world, **{field: [new if one is old else one for one in getattr(world, field)]})


def _removed(world: World, field: str, old: Object) -> World:
    return dataclasses.replace(world, **{field: [one for one in getattr(world, field) if one is not old]})


def _without(world: World, field: str, rng: Random) -> World | None:
    held = getattr(world, field)
    return _removed(world, field, rng.choice(held)) if held else None
