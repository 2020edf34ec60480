"""The oracle follows changes: it is asked before and after one."""

import dataclasses

import pytest

from tests.policy.cast import EVERYTHING, WORLD, flow, has, in_namespaces, network_policy, pod, with_policies
from tests.policy.facts import Object, World
from tests.policy.oracle import verdict
from tests.policy.table import INGRESS, PASS, outcome, to_a


def relabelled(who: str, **held: str) -> World:
    """The world in which a pod ``namespace/name``, or a namespace, has other labels."""
    home, _, name = who.rpartition("/")

    def new(thing: Object) -> Object:
        metadata = thing["metadata"]
        hit = (metadata.get("namespace", ""), metadata["name"]) == (home, name)
        return {**thing, "metadata": {**metadata, "labels": held}} if hit else thing

    return dataclasses.replace(
        WORLD, namespaces=[new(one) for one in WORLD.namespaces], pods=[new(one) for one in WORLD.pods]
    )


def moved() -> World:
    """The world in which x/a is deleted and a new pod of z has its address."""
    rest = [one for one in WORLD.pods if one["metadata"]["name"] != "a" or one["metadata"]["namespace"] != "x"]
    return dataclasses.replace(WORLD, pods=[*rest, pod("z/new", "n1", "10.1.0.1")])


RED = to_a(**{"from": [in_namespaces(has(team="red"))]})
FROM_B = to_a(**{"from": [in_namespaces(EVERYTHING, has(pod="b"))]})
CHANGES = [
    pytest.param(
        with_policies(WORLD, network_policy("x")),
        with_policies(WORLD, network_policy("x", ingress=[{}])),
        "10.1.0.3 > 10.1.0.1 TCP/80",
        [INGRESS, PASS],
        id="110: an updated policy takes effect",
    ),
    pytest.param(
        with_policies(WORLD, FROM_B),
        with_policies(relabelled("y/a", pod="b"), FROM_B),
        "10.1.0.3 > 10.1.0.1 TCP/80",
        [INGRESS, PASS],
        id="111: a peer's new label lets it in",
    ),
    pytest.param(
        with_policies(WORLD, FROM_B),
        with_policies(relabelled("y/b", pod="c"), FROM_B),
        "10.2.0.1 > 10.1.0.1 TCP/80",
        [PASS, INGRESS],
        id="111: a peer's lost label shuts it out",
    ),
    pytest.param(
        with_policies(WORLD, FROM_B),
        with_policies(relabelled("x/a", pod="c"), FROM_B),
        "10.1.0.3 > 10.1.0.1 TCP/80",
        [INGRESS, PASS],
        id="111: a pod that its policy selects no more is isolated no more",
    ),
    pytest.param(
        with_policies(WORLD, RED),
        with_policies(relabelled("y", team="red"), RED),
        "10.1.0.3 > 10.1.0.1 TCP/80",
        [INGRESS, PASS],
        id="112: a namespace's new label lets its pods in",
    ),
    pytest.param(
        with_policies(WORLD, RED),
        with_policies(relabelled("x"), RED),
        "10.1.0.2 > 10.1.0.1 TCP/80",
        [PASS, INGRESS],
        id="112: a namespace's lost label shuts its pods out",
    ),
    pytest.param(
        with_policies(WORLD, network_policy("x")),
        WORLD,
        "10.1.0.3 > 10.1.0.1 TCP/80",
        [INGRESS, PASS],
        id="113: a policy's effect stops when it is deleted",
    ),
    pytest.param(
        with_policies(WORLD, network_policy("x")),
        with_policies(moved(), network_policy("x")),
        "10.1.0.3 > 10.1.0.1 TCP/80",
        [INGRESS, PASS],
        id="a pod that has another's address is judged by its own namespace",
    ),
    pytest.param(
        with_policies(WORLD, network_policy("y", ingress=[{"from": [in_namespaces(has(team="red"))]}])),
        with_policies(moved(), network_policy("y", ingress=[{"from": [in_namespaces(has(team="red"))]}])),
        "10.1.0.1 > 10.1.0.3 TCP/80",
        [PASS, INGRESS],
        id="a pod that has another's address is not the peer that the other was",
    ),
]


@pytest.mark.parametrize(("before", "after", "text", "expected"), CHANGES)
def test_changes(before: World, after: World, text: str, expected: list[str]) -> None:
    assert [outcome(verdict(world, flow(world, text))) for world in (before, after)] == expected
