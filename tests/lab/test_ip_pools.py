"""Pods of two nodes with addresses of one pool reach each other between real agents, natively and by tunnel."""

import json
import os
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
import yaml

from lab import agents, cluster, site, use
from lab.cluster import Cluster
from lab.manifests import Object
from lab.pods import Port
from lab.site import Options
from lab.use import SERVER_PORT
from tests.lab.modes import MODES, PORT, PROBE, addresses, both

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

FLAGS = ("--ip-pools=on",)
RANGES = ("10.60.0.0/16", "fd00:60::/64")
BLOCKS = {"n1": ("10.60.0.0/29", "fd00:60::/125"), "n2": ("10.60.7.64/29", "fd00:60::40/125")}


def pool() -> list[Object]:
    """A pool for all pods, and the block of each family that each node has of it."""
    blocks = [
        {"kind": "IPBlock", "metadata": {"name": _named(cidr)}, "spec": {"cidr": cidr, "pool": "all", "node": node}}
        for node, cidrs in BLOCKS.items()
        for cidr in cidrs
    ]
    spec = {"cidrs": list(RANGES), "blockSize": {"ipv4": 29, "ipv6": 125}, "assignment": "Automatic"}
    made = [{"kind": "IPPool", "metadata": {"name": "all"}, "spec": spec}, *blocks]
    return [{"apiVersion": "sluiceway.io/v1alpha1", **one} for one in made]


def _named(cidr: str) -> str:
    return cidr.replace(":", "-").replace("/", "-")


@pytest.fixture(params=["native", "vxlan", "geneve"])
def pooled(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two nodes that give addresses of the pool; by tunnel they are on subnets, between which no router knows of it."""
    options, _ = MODES[request.param]
    name = f"swlab-pools-{os.getpid()}"
    chosen = Options(nodes=2, socket_lb=False, subnets=options.subnets, encapsulation=options.encapsulation)
    try:
        made = cluster.up(name, chosen, print)
        made.apply(yaml.safe_dump_all(pool()))
        for node in made.site.nodes:
            agents.stop(node)
            agents.start_again(node, flags=FLAGS)
            agents.wait(node)
        yield made
    finally:
        site.remove(name)


def serve(made: Cluster, called: str, node: str) -> Object:
    """A pod that tells who asks it."""
    ports = (Port("tcp", PORT), Port("udp", PORT, "UDP"))
    return made.run(called, node, [*PROBE, "serve", str(PORT)], ports=ports)


def is_of(node: str, item: Object) -> bool:
    """Whether a pod has an address of each of its node's blocks, and no other."""
    found = addresses(item)
    blocks = BLOCKS[node]
    return len(found) == len(blocks) and all(
        ip_address(address) in ip_network(block) for address, block in zip(found, blocks, strict=True)
    )


def test_pods_with_addresses_of_a_pool_reach_each_other_over_an_agents_death(pooled: Cluster) -> None:
    items = {node: serve(pooled, f"at-{node}", node) for node in BLOCKS}
    for node, item in items.items():
        assert is_of(node, item), addresses(item)
    for asking in items.values():
        for asked in items.values():
            if asking is not asked:
                targets = [(address, PORT) for address in addresses(asked)]
                assert both(use.client(pooled, asking), *targets) == {*addresses(asking)}, "under its own name"
    talks(pooled, items)

    first, second = pooled.site.nodes
    far = use.serve(pooled, "far", second.name, {"app": "far"})
    with use.load(pooled, "load", first.name, (addresses(far)[0], SERVER_PORT)) as running:
        agents.kill(first)
        assert both(use.client(pooled, items["n2"]), (addresses(items["n1"])[0], PORT)), "while nobody runs there"
        agents.start_again(first, flags=FLAGS)
        agents.wait(first)
        later = serve(pooled, "later", first.name)
    assert running.seen
    assert (dict(running.seen.errors), set(running.seen.answers)) == ({}, {"far"})
    assert is_of(first.name, later), addresses(later)
    assert not {*addresses(later)} & {*addresses(items["n1"])}, "what a pod has is given to no other"
    talks(pooled, {"n1": later, "n2": items["n2"]})
    shown = json.loads(first.run("dpctl", "ip-pool", "blocks", "-o", "json").stdout)
    assert sorted(row["cidr"] for row in shown) == sorted(BLOCKS["n1"])


def talks(made: Cluster, items: dict[str, Object]) -> None:
    """See that both nodes reach each pod."""
    for item in items.values():
        for address in addresses(item):
            for node in made.site.nodes:
                node.run("ping", "-c1", "-W5", address)
