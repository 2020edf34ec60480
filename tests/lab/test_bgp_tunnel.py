"""What a router told a node, nodes on another subnet reach through that node's tunnel: the network between cannot."""

import os
from collections.abc import Iterator

import pytest

from lab import bird, cluster, site, use
from lab.addresses import OUTSIDE
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from tests.lab.test_bgp import OUT, peer, routes, until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

RELAY = """
apiVersion: sluiceway.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  relay: {prefixes: [{cidr: 198.51.100.0/24}, {cidr: "2001:db8:51::/48"}]}
---
apiVersion: sluiceway.io/v1alpha1
kind: BGPFilter
metadata: {name: by-device}
spec:
  import:
    - {action: Reject, interface: "swtun*"}
    - {action: Accept, interface: "eth?", prefixes: [{cidr: 198.51.100.0/24}, {cidr: "2001:db8:51::/48"}]}
"""
EDGE = """
log stderr all;
router id 10.88.0.200;
protocol device {{ scan time 10; }}
protocol static far4 {{ ipv4; route 198.51.100.0/24 blackhole; }}
protocol static far6 {{ ipv6; route 2001:db8:51::/48 blackhole; }}
template bgp node {{
  local 10.88.0.200 as 64600;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import none; export where proto = "far4"; next hop self; }};
  ipv6 {{ import none; export where proto = "far6"; next hop address {six}; }};
}}
protocol bgp n1 from node {{ neighbor 10.88.0.11 as 64512; }}
protocol bgp n3 from node {{ neighbor 10.88.0.13 as 64512; }}
"""
HOPS = (("10.88.0.11", "10.88.0.13"), ("fd88::b", "fd88::d"))
FAR = dict(zip(bird.OUTSIDE_RANGES, HOPS, strict=True))


@pytest.fixture(scope="module", params=["vxlan", "ipip"])
def relayed(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """n1 and n3 beside a router that nobody routes to, which they tell n2 of, on another subnet."""
    name = f"swlab-test-bgp-tunnel-{os.getpid()}"
    try:
        options = Options(nodes=3, subnets=2, router=True, encapsulation=request.param, cross_subnet=True)
        made = cluster.up(name, options, print)
        edge = made.site.machine(OUTSIDE)
        for address in OUT:
            edge.run("ip", "address", "add", address, "dev", "lo")
        edge.daemon("echo", [*use.SERVER, str(use.SERVER_PORT)], {"POD_NAME": "edge"})
        bird.run(edge, EDGE.format(six=edge.addresses[1]))
        made.apply(RELAY)
        for node in ("n1", "n3"):
            nothing = {"import": {"prefixes": []}}  # but what the filter lets through
            made.apply(peer(f"edge-{node}", node, "10.88.0.200", filters=["by-device"], **nothing))
        yield made
    finally:
        site.remove(name)


@pytest.fixture
def far(relayed: Cluster) -> Machine:
    """The node on the other subnet, with both ways in each family."""
    n2 = relayed.site.machine("n2")
    for network, hops in FAR.items():
        for hop in hops:
            way = f"via {hop} dev swtunnel"
            until(lambda of=network, by=way: by in routes(n2, of), f"no {way}: {routes(n2, network)}")  # type: ignore[misc]
    return n2


def test_pods_and_the_node_reach_it_by_the_tunnels_of_both_nodes_that_know_it(relayed: Cluster, far: Machine) -> None:
    pod = use.idle(relayed, "asking", "n2")
    for client in (pod, use.host(far)):
        for address in OUT:
            assert client.ask("tcp", address, use.SERVER_PORT, 5).answers == {"edge": 5}


def test_a_route_that_somebody_deletes_comes_back_and_a_foreign_one_stays(far: Machine) -> None:
    far.run("ip", "route", "add", "192.0.2.0/24", "via", "10.88.1.1", "proto", "static", "metric", "90")
    for network in FAR:
        far.run("ip", "route", "del", network, "proto", "bird")
    for network in FAR:
        until(lambda of=network: routes(far, of).count("dev swtunnel") == 2, f"{network} stays away")  # type: ignore[misc]
    assert "via 10.88.1.1" in routes(far, "192.0.2.0/24")


def test_one_way_ends_with_its_session_and_the_last_with_the_router(relayed: Cluster, far: Machine) -> None:
    pod = use.idle(relayed, "asking2", "n2")
    relayed.remove("BGPPeer", "edge-n3")
    for network, (stays, _) in FAR.items():
        until(lambda of=network: routes(far, of).count("dev swtunnel") == 1, f"two ways to {network}")  # type: ignore[misc]
        assert f"via {stays} dev swtunnel" in routes(far, network)
    for address in OUT:
        assert pod.ask("tcp", address, use.SERVER_PORT, 5).answers == {"edge": 5}
    relayed.remove("BGPPeer", "edge-n1")
    for network in FAR:
        until(lambda of=network: not routes(far, of), f"{network} is still routed")  # type: ignore[misc]
