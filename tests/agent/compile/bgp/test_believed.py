"""With what no peer is believed, whatever is asked for of it: packets for pods, nodes and Services stay theirs."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.plan import Step
from agent.compile.bgp.router import Session
from agent.compile.bgp.settings import BgpSettings
from agent.model.bgp import Neighbours, Password, Passwords, PrefixRange, within
from agent.model.cluster import Cluster
from agent.model.ip_pool import IpPool
from agent.model.lb_pool import AddressRange
from agent.model.node import Node
from tests.agent.compile.bgp.bgp_world import AT_ETH1, HERE_1, PEER, PLAIN, configuration, node, world
from tests.agent.compile.bgp.test_pod_parts import with_blocks
from tests.agent.compile.objects import HERE

ALL = (within(ip_network("0.0.0.0/0")), PrefixRange(ip_network("0.0.0.0/0"), 1, 32))
SUBNETS = (ip_network("192.0.2.0/24"), ip_network("203.0.113.64/26"))
SETTINGS = replace(PLAIN, service_cidrs=(ip_network("10.96.0.0/16"),))
STATIC = AddressRange(ip_address("10.50.255.0"), ip_address("10.50.255.255"))
POOLS = {"pods": IpPool("pods", (ip_network("10.50.0.0/16"),), static=(STATIC,))}
ROUTER = replace(PEER, imports=ALL)
RELAYS = configuration(relayed=ALL)
N2, N3, N4 = (node(f"n{number}", 10 + number) for number in (2, 3, 4))
FAR = replace(node("n5", 15), internal_ips=(ip_address("198.51.100.15"),))
MESH = world(HERE_1, N2, N3, FAR, peers=(ROUTER,), bgp_configurations=RELAYS, ip_pools=POOLS)
FABRIC = replace(MESH, nodes={one.name: one for one in (node(HERE, 11, node_asn="65001"), N2, N3, FAR)})
OF_FABRIC = replace(SETTINGS, full_mesh=False)
BLOCKS = replace(MESH, nodes={**MESH.nodes, "n2": with_blocks(N2, "10.50.0.64/26", "10.50.1.0/24", "10.50.255.2/32")})
CLIENT = replace(
    MESH,
    nodes={
        one.name: one
        for one in (node(HERE, 11, rr_client="7"), node("n2", 12, rr_server="7"), node("n3", 13, rr_client="7"))
    },
)
OTHER_AS = replace(CLIENT, nodes={**CLIENT.nodes, HERE: node(HERE, 11, node_asn="65001")})
LINK = "fe80::1"
TOR, IP2, IP3 = "192.0.2.1", "192.0.2.12", "192.0.2.13"


def session(given: Cluster, settings: BgpSettings, address: str) -> Session:
    router = bgp(given, settings, None, HERE, OFF, (), SUBNETS).router
    assert router is not None
    (found,) = (one for one in router.sessions if str(one.address) == address)
    return found


def takes(steps: Iterable[Step], told: IPv4Network, hop: str) -> bool:
    """Whether a prefix is taken by this next hop, as BIRD goes through the steps."""
    for step in steps:
        if step.hops:
            if any(ip_address(hop) in one.addresses and _is_in(told, one.ranges) for one in step.hops):
                return step.accepts
        elif _fits(step, told, hop):
            return step.accepts
    return False


def _fits(step: Step, told: IPv4Network, hop: str) -> bool:
    excepted = step.rule.excepted if step.rule else ()
    is_in = step.prefixes is None or _is_in(told, step.prefixes)
    return is_in and not _is_in(told, excepted) and ip_address(hop) not in step.not_by


def _is_in(told: IPv4Network, ranges: Iterable[PrefixRange]) -> bool:
    return any(
        isinstance(one.network, IPv4Network)
        and told.overlaps(one.network)  # of *least* bits alone where that is shorter
        and one.least <= told.prefixlen <= one.most
        for one in ranges
    )


@pytest.mark.parametrize(
    ("given", "settings", "peer", "told", "hop", "is_taken"),
    [
        pytest.param(MESH, SETTINGS, IP2, "10.244.12.0/24", IP2, True, id="a node's own pod CIDR of itself"),
        pytest.param(MESH, SETTINGS, IP2, "10.244.12.0/24", "192.0.2.99", False, id="but by no other next hop"),
        pytest.param(MESH, SETTINGS, IP2, "10.244.12.0/25", IP2, False, id="nor a part of it, relayed as it were"),
        pytest.param(MESH, SETTINGS, IP2, "10.244.13.0/24", IP2, False, id="another node's, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "10.244.13.7/32", IP2, False, id="another node's pod, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "10.244.11.7/32", IP2, False, id="a pod of this node's, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "10.50.9.0/26", IP2, False, id="a block that nobody has yet, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "10.96.0.10/32", IP2, False, id="a cluster IP, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "192.0.2.13/32", IP2, False, id="a node's address, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "203.0.113.96/27", IP2, False, id="half of a subnet of this node's, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "198.51.100.15/32", IP2, False, id="a far node's address, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "198.51.100.0/28", IP2, False, id="what has a far node in it, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "198.51.100.16/28", IP2, True, id="what is beside it, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "198.18.0.0/15", IP2, True, id="what routers told, relayed"),
        pytest.param(MESH, SETTINGS, IP2, "0.0.0.0/0", IP2, True, id="a default route, relayed"),
        pytest.param(BLOCKS, SETTINGS, IP2, "10.50.0.64/26", IP2, True, id="a node's block of itself"),
        pytest.param(BLOCKS, SETTINGS, IP3, "10.50.0.64/26", IP3, False, id="another node's block"),
        pytest.param(MESH, SETTINGS, TOR, "10.244.12.0/24", TOR, False, id="of a router a node's that tells it itself"),
        pytest.param(MESH, SETTINGS, TOR, "10.244.12.0/24", IP2, True, id="but where it leads to that node"),
        pytest.param(MESH, SETTINGS, TOR, "10.244.12.64/26", IP2, False, id="of a router a part"),
        pytest.param(MESH, SETTINGS, TOR, "10.244.11.0/24", TOR, False, id="of a router this node's own"),
        pytest.param(BLOCKS, SETTINGS, TOR, "10.50.0.64/26", TOR, False, id="of a router a node's block"),
        pytest.param(BLOCKS, SETTINGS, TOR, "10.50.1.0/24", TOR, False, id="of a router a block of another length"),
        pytest.param(BLOCKS, SETTINGS, TOR, "10.50.255.2/32", TOR, False, id="of a router a static address"),
        pytest.param(BLOCKS, SETTINGS, TOR, "10.50.255.2/32", IP2, True, id="of a router that one by its node"),
        pytest.param(BLOCKS, SETTINGS, IP2, "10.50.255.2/32", IP2, True, id="a node's static address of itself"),
        pytest.param(BLOCKS, SETTINGS, IP3, "10.50.255.2/32", IP3, False, id="another node's static address"),
        pytest.param(BLOCKS, SETTINGS, TOR, "10.50.0.64/26", IP2, True, id="of a router a block by its node"),
        pytest.param(MESH, SETTINGS, TOR, "10.96.0.0/16", TOR, False, id="of a router the cluster IPs' range"),
        pytest.param(MESH, SETTINGS, TOR, "10.96.0.10/32", TOR, False, id="of a router a cluster IP"),
        pytest.param(MESH, SETTINGS, TOR, "10.0.0.0/8", TOR, True, id="of a router what has all of them in it"),
        pytest.param(MESH, SETTINGS, TOR, "192.0.2.12/32", TOR, False, id="of a router a neighbour node's address"),
        pytest.param(MESH, SETTINGS, TOR, "192.0.2.12/31", TOR, False, id="of a router two of them"),
        pytest.param(
            MESH, SETTINGS, TOR, "192.0.2.0/25", TOR, False, id="of a router the half of the subnet they are in"
        ),
        pytest.param(MESH, SETTINGS, TOR, "192.0.2.11/32", TOR, False, id="of a router this node's address"),
        pytest.param(MESH, SETTINGS, TOR, "192.0.2.0/24", TOR, True, id="of a router the subnet, which is nearer here"),
        pytest.param(MESH, SETTINGS, TOR, "192.0.2.200/32", TOR, True, id="of a router another host of the subnet"),
        pytest.param(
            MESH, SETTINGS, TOR, "198.51.100.15/32", TOR, True, id="of a router a node's that it alone leads to"
        ),
        pytest.param(FABRIC, OF_FABRIC, TOR, "10.244.12.0/24", TOR, True, id="of a leaf a node's that is no peer"),
        pytest.param(FABRIC, OF_FABRIC, TOR, "10.244.12.64/26", TOR, False, id="of a leaf a part of it"),
        pytest.param(FABRIC, OF_FABRIC, TOR, "10.50.9.0/26", TOR, True, id="of a leaf a block"),
        pytest.param(CLIENT, SETTINGS, IP2, "10.244.13.0/24", IP3, True, id="of a reflector another's by that one"),
        pytest.param(CLIENT, SETTINGS, IP2, "10.244.13.0/24", IP2, False, id="of a reflector another's by itself"),
        pytest.param(CLIENT, SETTINGS, IP2, "10.244.12.0/24", IP3, False, id="of a reflector its own by another"),
        pytest.param(CLIENT, SETTINGS, IP2, "10.244.12.0/24", IP2, True, id="of a reflector its own"),
        pytest.param(
            OTHER_AS, SETTINGS, IP2, "10.244.13.0/24", IP2, True, id="of another AS's, its client's by itself"
        ),
        pytest.param(OTHER_AS, SETTINGS, IP2, "10.244.11.0/24", IP2, False, id="of another AS's this node's own"),
    ],
)
def test_of_a_peer_of_which_all_is_asked_for(
    given: Cluster, settings: BgpSettings, peer: str, told: str, hop: str, *, is_taken: bool
) -> None:
    assert takes(session(given, settings, peer).imports, IPv4Network(told), hop) is is_taken


def test_who_is_at_an_interface_may_be_a_node_that_tells_of_its_own() -> None:
    there = replace(AT_ETH1, imports=ALL)
    found = Neighbours({"eth1": frozenset({IPv6Address(LINK)})})
    steps = session(replace(MESH, bgp_peers={there.name: there}, bgp_neighbours=found), SETTINGS, LINK).imports
    told = {
        text: takes(steps, IPv4Network(text), LINK) for text in ("10.244.12.0/24", "10.244.12.0/25", "192.0.2.12/32")
    }
    assert told == {"10.244.12.0/24": True, "10.244.12.0/25": False, "192.0.2.12/32": False}


def test_nodes_that_wait_for_a_password_tell_nothing_so_routers_are_believed_with_their_pods() -> None:
    locked = replace(SETTINGS, node_password_key="mesh")  # noqa: S106
    told = IPv4Network("10.244.12.0/24")
    assert takes(session(MESH, locked, TOR).imports, told, TOR)
    with_key: dict[str, Any] = {"mesh": PASSWORD}
    opened = replace(MESH, bgp_passwords=Passwords(with_key))
    assert not takes(session(opened, locked, TOR).imports, told, TOR)


PASSWORD = Password("of the mesh")


def test_what_is_relayed_is_refused_by_few_ranges_however_many_nodes_there_are() -> None:
    """Each of a thousand nodes has a session with each other, whose filters all stand in one configuration."""
    many: dict[str, Node] = {HERE: HERE_1}
    for number in range(2, 200):
        cidr = ip_network(f"10.245.{number}.0/24")
        many[f"n{number}"] = Node(f"n{number}", (ip_address(f"192.0.3.{number}"),), (cidr,))
    found = session(replace(MESH, nodes=many), SETTINGS, "192.0.3.7")
    assert sum(len(step.prefixes or ()) for step in found.imports) < 30
    apart = replace(MESH, nodes=many, bgp_configurations=configuration(relayed=(within(ip_network("198.18.0.0/15")),)))
    assert [step.by for step in session(apart, SETTINGS, "192.0.3.7").imports] == [
        "between nodes",
        "BGPConfiguration default relay",
    ]
