"""Which pools a pod's first interface has addresses of, while what decides on it is still on its way."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from agent.model.ip_pool import POOLS
from agent.model.name import ObjectName
from agent.pods.errors import NoFreeAddress, NotSynced
from agent.pods.pool_choice import WAIT_S, PoolChoice
from agent.pods.request import PodRequest
from agent.watch.decode.namespace import NAMESPACE
from tests.agent.ipam.block_world import Api, Node, pool, world

TEAM: dict[str, Any] = {"namespaceSelector": {"matchLabels": {"team": "red"}}}
BY_SELECTOR = pool("red", "10.60.0.0/24", assignment="Automatic", **TEAM)
BY_NAME = pool("red", "10.60.0.0/24")
LABELS = {"metadata": {"name": "shop", "labels": {"team": "red"}}}
ANNOTATION = {"metadata": {"name": "shop", "annotations": {POOLS: "red"}}}
WEB = PodRequest("sluiceway", "c1", "eth0", "/run/netns/c1", pod=ObjectName("shop", "web"), annotations={"a": "b"})


def choice(api: Api, node: Node, *, comes: dict[str, Any] | None = None, waits: bool = True) -> PoolChoice:
    """Of a node whose watch brings this Namespace while it is waited for."""

    def sleep(seconds: float) -> None:
        node.now += seconds
        if comes is not None and not any(one is comes for _, one in api.others):
            api.others.append((NAMESPACE, comes))
            node.look()

    return PoolChoice(node.addresses, "n1", node.cluster, waits=waits, clock=lambda: node.now, sleep=sleep)


@pytest.mark.parametrize(
    ("made", "namespace"),
    [
        pytest.param(BY_SELECTOR, LABELS, id="whose labels a pool selects"),
        pytest.param(BY_NAME, ANNOTATION, id="that names a pool"),
    ],
)
def test_a_pod_that_is_here_before_its_namespace_has_the_pool_of_one(
    made: dict[str, Any], namespace: dict[str, Any]
) -> None:
    api, (node,) = world(made, nodes=1, cidrs=("10.0.0.0/24",))
    given = choice(api, node, comes=namespace).reserve(WEB, (), ())
    assert given.ipv4 in ip_network("10.60.0.0/24")


def test_a_pod_whose_namespace_does_not_come_is_tried_again_and_has_nothing() -> None:
    api, (node,) = world(BY_SELECTOR, nodes=1, cidrs=("10.0.0.0/24",))
    with pytest.raises(NotSynced, match="Namespace shop is not known yet"):
        choice(api, node).reserve(WEB, (), ())
    assert (node.ipam.in_use(), WAIT_S <= node.now < 2 * WAIT_S) == ((), True)


def test_a_folder_need_not_have_namespaces() -> None:
    api, (node,) = world(BY_SELECTOR, nodes=1, cidrs=("10.0.0.0/24",))
    given = choice(api, node, waits=False).reserve(WEB, (), ())
    assert given.ipv4 in ip_network("10.0.0.0/24")


@pytest.mark.parametrize(
    ("annotations", "namespace"),
    [
        pytest.param({POOLS: "red"}, LABELS, id="the pod names it"),
        pytest.param({"a": "b"}, ANNOTATION, id="its namespace names it"),
    ],
)
def test_a_pod_of_a_pool_does_not_start_while_there_is_no_pool_at_all(
    annotations: dict[str, str], namespace: dict[str, Any]
) -> None:
    api, (node,) = world(nodes=1, cidrs=("10.0.0.0/24",))
    with pytest.raises(NoFreeAddress, match="there is no IPPool red"):
        choice(api, node, comes=namespace).reserve(replace(WEB, annotations=annotations), (), ())
    assert node.ipam.in_use() == ()


def test_without_pools_a_pod_that_names_none_has_an_address_of_the_pod_cidr() -> None:
    api, (node,) = world(nodes=1, cidrs=("10.0.0.0/24",))
    assert choice(api, node, comes=LABELS).reserve(WEB, (), ()).ipv4 in ip_network("10.0.0.0/24")
