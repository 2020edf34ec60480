"""Which of a resource's free devices the kubelet had best give away together.

First those on the memory node that most of them can be on, since a pod's CPUs are there then; of these from each PF in
turn, the one with the most left first, so that a PF's speed is shared by few.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from agent.devices.pools import Device
from agent.model.device import NO_NODE


def preferred(devices: Mapping[str, Device], free: Iterable[str], must: Sequence[str], size: int) -> tuple[str, ...]:
    """*size* ids of *free*, *must* among them; fewer where there are not so many."""
    chosen = list(dict.fromkeys(must))
    left = sorted(set(free) - set(chosen))
    nodes = _nodes(devices, left, chosen, size - len(chosen))
    while len(chosen) < size and left:
        taken = Counter(_root(devices, id_) for id_ in chosen)
        spare = Counter(_root(devices, id_) for id_ in left)
        best = min(
            left,
            key=lambda id_: (
                nodes.index(_node(devices, id_)),
                taken[_root(devices, id_)],
                -spare[_root(devices, id_)],
                id_,
            ),
        )
        chosen.append(best)
        left.remove(best)
    return tuple(chosen[:size])


def _nodes(devices: Mapping[str, Device], left: Sequence[str], chosen: Sequence[str], wanted: int) -> list[int]:
    """The memory nodes, the best first: those of *chosen*, then those that have enough, then by how many they have."""
    there = Counter(_node(devices, id_) for id_ in left)
    held = Counter(_node(devices, id_) for id_ in chosen)
    return sorted(there, key=lambda node: (-held[node], there[node] < wanted, -there[node], node))


def _node(devices: Mapping[str, Device], id_: str) -> int:
    return devices[id_].numa_node if id_ in devices else NO_NODE


def _root(devices: Mapping[str, Device], id_: str) -> str:
    return devices[id_].root if id_ in devices else id_
