"""What a router told a node, nodes on another subnet reach through that node's tunnel: the network between cannot."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from lab import bird, cluster, site, use
from lab.addresses import OUTSIDE, at_once
from lab.cluster import Cluster
from lab.machine import Machine
from lab.site import Options
from tests.lab.routers import OUT, peer, routes, say
from tests.patience import until

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
protocol bfd {{ interface "*" {{ min rx interval 200 ms; min tx interval 200 ms; multiplier 5; }}; }}
protocol static far4 {{ ipv4; route 198.51.100.0/24 blackhole; route 198.51.101.0/24 blackhole; }}
protocol static far6 {{ ipv6; route 2001:db8:51::/48 blackhole; }}
template bgp node {{
  local 10.88.0.200 as 64600;
  graceful restart on;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import none; export where proto = "far4"; next hop self; }};
  ipv6 {{ import none; export where proto = "far6"; next hop address {six}; }};
}}
protocol bgp n1 from node {{ neighbor 10.88.0.11 as 64512; ttl security on; bfd on; }}
protocol bgp n3 from node {{ neighbor 10.88.0.13 as 64512; bfd on; }}
protocol bgp n2 from node {{ neighbor 10.88.1.12 as 64512; multihop 2; }}
"""
EDGE_SESSION, OUT_ROUTE = "peer_10_88_0_200", "198.51.100.0/24"
OCTETS = 3_000_000
# says how many octets of each connection came
SINK = """
import socket
end = socket.create_server(("::", 9097), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    one, _ = end.accept()
    count = 0
    while piece := one.recv(1 << 16):
        count += len(piece)
    one.send(b"%d" % count)
    one.close()
"""
STREAM = """
import socket, sys
end = socket.create_connection((sys.argv[1], 9097), timeout=60)
end.sendall(bytes(int(sys.argv[2])))
end.shutdown(socket.SHUT_WR)
print(end.recv(64).decode())
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
            edge.run("ip", "address", "add", address, "dev", "lo", *at_once(address))
        edge.daemon("echo", [*use.SERVER, str(use.SERVER_PORT)], {"POD_NAME": "edge"})
        bird.run(edge, EDGE.format(six=edge.addresses[1]))
        made.apply(RELAY)
        for node in ("n1", "n3"):
            nothing: dict[str, object] = {"import": {"prefixes": []}}  # but what the filter lets through
            bfd = {"transmitInterval": 200, "receiveInterval": 200, "multiplier": 5, "graceful": node == "n1"}
            more = {"filters": ["by-device"], "bfd": bfd, "ttlSecurity": node == "n1", **nothing}
            made.apply(peer(f"edge-{node}", node, "10.88.0.200", **more))
        yield made
    finally:
        site.remove(name)


def of_edge(node: Machine) -> str:
    """What a node has of the router itself."""
    return say(node, "show", "route", "protocol", EDGE_SESSION)


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


def test_a_stream_of_segments_passes_whole(relayed: Cluster, far: Machine) -> None:
    relayed.site.machine(OUTSIDE).daemon("sink", [sys.executable, "-I", "-S", "-c", SINK])
    pod = use.idle(relayed, "streaming", "n2")
    assert all(routes(far, network) for network in FAR)
    for address in OUT:
        argv = (sys.executable, "-I", "-S", "-c", STREAM, address, str(OCTETS))
        assert pod.machine.run(*argv, context=pod.context).stdout.strip() == str(OCTETS)


def test_a_route_that_somebody_deletes_comes_back_and_a_foreign_one_stays(far: Machine) -> None:
    far.run("ip", "route", "add", "192.0.2.0/24", "via", "10.88.1.1", "proto", "static", "metric", "90")
    for network in FAR:
        far.run("ip", "route", "del", network, "proto", "bird")
    for network in FAR:
        until(lambda of=network: routes(far, of).count("dev swtunnel") == 2, f"{network} stays away")  # type: ignore[misc]
    assert "via 10.88.1.1" in routes(far, "192.0.2.0/24")


def test_a_router_that_dies_keeps_its_routes_where_bfd_is_graceful_and_loses_them_where_not(
    relayed: Cluster, far: Machine
) -> None:
    edge, n1, n3 = (relayed.site.machine(name) for name in (OUTSIDE, "n1", "n3"))
    assert all(routes(far, network) for network in FAR)
    for node in (n1, n3):
        until(lambda of=node: "Up" in say(of, "show", "bfd", "sessions"), f"BFD of {node.name}")  # type: ignore[misc]
    edge.stop(bird.DAEMON, signal.SIGKILL)
    until(lambda: OUT_ROUTE not in of_edge(n3), "n3 goes on with them")
    assert OUT_ROUTE in of_edge(n1)
    until(lambda: "Established" not in say(n1, "show", "protocols", EDGE_SESSION), "n1 does not notice")
    assert OUT_ROUTE in of_edge(n1)
    bird.run(edge, EDGE.format(six=edge.addresses[1]))
    until(lambda: OUT_ROUTE in of_edge(n3), "they do not come back")


def is_only(way: str, told: str) -> bool:
    """Whether a route has this way, and no other by the tunnel: another's session may still come."""
    return way in told and told.count("dev swtunnel") == 1


def test_one_way_ends_with_its_session_and_the_last_with_the_router(relayed: Cluster, far: Machine) -> None:
    pod = use.idle(relayed, "asking2", "n2")
    relayed.remove("BGPPeer", "edge-n3")
    for network, (stays, _) in FAR.items():
        alone = f"via {stays} dev swtunnel"
        until(lambda of=network, way=alone: is_only(way, routes(far, of)), f"another way to {network}")  # type: ignore[misc]
    for address in OUT:
        assert pod.ask("tcp", address, use.SERVER_PORT, 5).answers == {"edge": 5}
    relayed.remove("BGPPeer", "edge-n1")
    for network in FAR:
        until(lambda of=network: not routes(far, of), f"{network} is still routed")  # type: ignore[misc]


def test_a_router_two_hops_away_is_a_peer_and_tells_no_more_than_its_limit(relayed: Cluster) -> None:
    n2 = relayed.site.machine("n2")
    imports = {"prefixes": [{"cidr": "198.51.100.0/23"}], "limit": 1}
    relayed.apply(peer("edge-n2", "n2", "10.88.0.200", multihop=2, bothFamilies=False, **{"import": imports}))
    until(lambda: of_edge(n2).count("198.51.10") == 1, f"not one prefix: {of_edge(n2)}")
    until(lambda: "[HIT]" in say(n2, "show", "protocols", "all", EDGE_SESSION), "the limit is not met")
    assert of_edge(n2).count("198.51.10") == 1
    assert "Established" in n2.run("dpctl", "bgp", "peers").stdout
