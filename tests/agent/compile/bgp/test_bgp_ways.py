"""Whose the routes to other nodes' pods are where BGP brings some, and which nodes are next hops in the tunnel."""

from ipaddress import ip_network

import pytest

from agent.compile.remote import Remotes, Vantage, remotes, update, vantage
from agent.compile.settings import NetworkSettings
from agent.model.local import Device, Local
from agent.options.choices import Encapsulation
from tests.agent.compile.bgp.bgp_world import HERE_1, node
from tests.agent.compile.objects import HERE


@pytest.mark.parametrize(
    ("subnet", "has_router", "is_routed"),
    [
        pytest.param("192.0.2.0/24", True, True, id="a node on the subnet has the agent's own route"),
        pytest.param("198.51.100.0/24", True, False, id="to one on another subnet BGP brings it"),
        pytest.param(
            "198.51.100.0/24", False, True, id="without BGP it is tried, for the kernel may have the node on a link"
        ),
    ],
)
def test_whose_the_route_to_another_node_is(subnet: str, *, has_router: bool, is_routed: bool) -> None:
    seen = Vantage(HERE, (4,), (ip_network(subnet),), (), NetworkSettings(has_router=has_router))
    reached, _, _ = update(remotes({"n2": node("n2", 12, families="4")}, seen, (), Remotes()), Remotes())
    assert bool(reached.routes) is is_routed


def test_of_link_local_subnets_ipv4s_count_which_may_be_a_tunnels_to_a_router() -> None:
    networks = tuple(map(ip_network, ("192.0.2.0/24", "169.254.10.0/30", "2001:db8::/64", "fe80::/64")))
    seen = vantage(HERE_1, Local((Device(2, "tun0", networks=networks),)), NetworkSettings())
    assert seen.subnets == networks[:3]


@pytest.mark.parametrize(
    ("cross_subnet", "has_router", "tunnelled"),
    [
        pytest.param(True, True, ["192.0.2.13", "2001:db8::13"], id="a node on another subnet, in both families"),
        pytest.param(False, True, ["192.0.2.12", "2001:db8::12", "192.0.2.13", "2001:db8::13"], id="every node"),
        pytest.param(True, False, [], id="nobody asks without BGP"),
    ],
)
def test_which_nodes_are_next_hops_in_the_tunnel(tunnelled: list[str], *, cross_subnet: bool, has_router: bool) -> None:
    network = NetworkSettings(Encapsulation.VXLAN, cross_subnet=cross_subnet, has_router=has_router)
    near = (ip_network("192.0.2.12/32"), ip_network("2001:db8::12/128"))
    seen = Vantage(HERE, (4, 6), near, (), network)
    given = {one.name: one for one in (HERE_1, node("n2", 12), node("n3", 13))}
    assert list(map(str, remotes(given, seen, (), Remotes()).tunnelled)) == tunnelled
