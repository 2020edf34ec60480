"""Which prefixes no router is believed with where pods have addresses of pools, and which changes routers hear of."""

from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.pod_parts import pod_parts
from agent.model.bgp import PrefixRange, within
from agent.model.ip_pool import IpPool
from agent.model.lb_pool import AddressRange
from agent.model.node import Node
from tests.agent.compile.bgp.bgp_world import HERE_1, PEER, PLAIN, bird_refuses, made, node, world
from tests.agent.compile.objects import HERE

STATIC = AddressRange(ip_address("10.50.255.0"), ip_address("10.50.255.255"))
POOL = IpPool("pods", (ip_network("10.50.0.0/16"), ip_network("10.60.1.0/28")), static=(STATIC,))
BESIDE = IpPool("beside", (ip_network("10.70.0.0/16"),), network="storage")


def with_blocks(one: Node, *blocks: str) -> Node:
    return replace(one, blocks=tuple((ip_network(text), text) for text in blocks))


OWN = with_blocks(HERE_1, "10.50.0.0/26", "10.50.255.1/32")
OTHER = with_blocks(node("n2", 12), "10.50.0.64/26", "10.50.255.2/32", "10.50.1.0/28", "10.50.2.0/24", "10.60.1.0/28")


@pytest.mark.parametrize(
    ("told", "is_believed"),
    [
        pytest.param("10.50.0.0/26", False, id="the node's own block"),
        pytest.param("10.50.255.1/32", False, id="the node's own static address"),
        pytest.param("10.50.0.64/26", True, id="another node's block"),
        pytest.param("10.50.0.64/27", False, id="half of it"),
        pytest.param("10.50.0.65/32", False, id="one address of it"),
        pytest.param("10.50.9.9/32", False, id="an address of a block that nobody has yet"),
        pytest.param("10.50.255.2/32", True, id="another node's static address"),
        pytest.param("10.50.1.0/28", True, id="a block of the time when blocks were shorter"),
        pytest.param("10.50.1.0/29", False, id="half of that"),
        pytest.param("10.50.2.0/24", True, id="a block of the time when they were longer"),
        pytest.param("10.50.2.0/25", False, id="half of that one"),
        pytest.param("10.60.1.0/28", True, id="a block that is all of a range"),
        pytest.param("10.60.1.0/29", False, id="half of a range"),
        pytest.param("10.60.0.0/16", True, id="what has a range in it"),
        pytest.param("10.70.1.1/32", True, id="an address of a pool that is of no node's"),
        pytest.param("10.244.12.0/24", True, id="another node's pod CIDR"),
        pytest.param("10.244.12.0/25", False, id="half of that CIDR"),
    ],
)
def test_parts_of_blocks_are_believed_of_no_router(told: str, *, is_believed: bool) -> None:
    parts = pod_parts(OWN, OTHER.pod_ranges, (POOL, BESIDE))
    network = IPv4Network(told)
    is_part = _is_in(network, parts.others) and not _is_in(network, parts.spared)
    assert (_is_in(network, parts.own) or is_part) is not is_believed


def _is_in(network: IPv4Network, ranges: tuple[PrefixRange, ...]) -> bool:
    return any(
        isinstance(one.network, IPv4Network)
        and network.subnet_of(one.network)
        and one.least <= network.prefixlen <= one.most
        for one in ranges
    )


def imports(found: Any) -> str:
    """What BIRD takes of routers."""
    filters = bird_config(found.router).split("\nfilter ")
    return "".join(part for part in filters if part.startswith("in_peer"))


def test_a_block_of_another_node_that_comes_or_goes_has_no_router_tell_all_it_has_anew(tmp_path: Path) -> None:
    asked = replace(PEER, imports=(within(ip_network("10.0.0.0/8")),))
    pools = {"pods": POOL}
    before = bgp(world(OWN, node("n2", 12), peers=(asked,), ip_pools=pools), PLAIN, None, HERE, OFF)
    came = with_blocks(node("n2", 12), "10.50.0.64/26", "10.50.255.2/32")
    after = bgp(world(OWN, came, peers=(asked,), ip_pools=pools), PLAIN, None, HERE, before)
    assert after.router != before.router
    assert imports(after) == imports(before)
    assert "10.50.0.0/16{27,32}" in imports(after)
    assert bird_refuses(after.router, tmp_path) == ""
    less = bgp(world(OWN, came, peers=(asked,)), PLAIN, None, HERE, after)
    assert "10.50.0.64/26{27,32}" in imports(less), "a block stays when its pool has gone"


@pytest.mark.parametrize(
    ("told", "is_taken"),
    [
        pytest.param("10.244.11.0/24", False, id="the node's own pods"),
        pytest.param("10.244.11.128/25", False, id="some of them"),
        pytest.param("10.244.12.7/32", False, id="one of another node's"),
        pytest.param("10.244.12.0/24", True, id="another node's, which may be known by routers alone"),
        pytest.param("10.244.0.0/16", True, id="all nodes'"),
        pytest.param("10.1.0.0/16", True, id="somebody else's"),
    ],
)
def test_no_router_is_believed_with_parts_of_nodes_pods(told: str, *, is_taken: bool) -> None:
    asked = replace(PEER, imports=(within(ip_network("10.0.0.0/8")),))
    router = made(world(HERE_1, node("n2", 12), peers=(asked,)), replace(PLAIN, peers_nodes=False)).router
    assert router is not None
    (session,) = (one for one in router.sessions if one.about == "BGPPeer tor")
    fitting = (one for one in session.imports if any(_has(part, IPv4Network(told)) for part in one.prefixes or ()))
    assert next(fitting).accepts is is_taken


def _has(part: PrefixRange, network: IPv4Network) -> bool:
    wide = part.network
    return isinstance(wide, IPv4Network) and network.subnet_of(wide) and part.least <= network.prefixlen <= part.most
