"""Next hops of BGP behind a gateway that is on no subnet of the node's, whose address is a /32, by a real BIRD."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.model.bgp import BgpPeer, within
from agent.model.local import FarGateway, Local
from tests.agent.bgp.two_birds import ROUTER, said, two_birds, until
from tests.agent.compile.bgp.bgp_world import PLAIN, node, world
from tests.agent.compile.objects import HERE

pytestmark = pytest.mark.netns

FAR = within(ip_network("198.51.100.0/24"))
PEER = BgpPeer("far", ip_address("198.18.0.1"), 64600, multihop=3, imports=(FAR,))
NODE = (
    "ip address add 192.0.2.11/32 dev eth0; ip link set eth0 up; ip route add 192.0.2.1 dev eth0; "
    "ip route add default via 192.0.2.1 dev eth0"
)
BESIDE = (
    "ip address add 192.0.2.1/32 dev eth0; ip address add 198.18.0.1/32 dev lo; ip link set eth0 up; "
    "ip route add 192.0.2.11 dev eth0"
)


@pytest.mark.parametrize(
    ("gateways", "how"),
    [
        pytest.param(
            (FarGateway(ip_network("0.0.0.0/0"), ip_address("192.0.2.1"), "eth0"),),
            "unicast",
            id="the agent tells BIRD",
        ),
        pytest.param((), "unreachable", id="of itself BIRD takes no such route of the kernel's"),
    ],
)
def test_a_route_whose_next_hop_is_behind_it_leads_by_it(
    gateways: tuple[FarGateway, ...], how: str, tmp_path: Path
) -> None:
    given = replace(world(node(HERE, 11, families="4"), peers=(PEER,)), local=Local(far_gateways=gateways))
    router = bgp(given, PLAIN, None, HERE, OFF, (), (ip_network("192.0.2.11/32"),)).router
    assert router is not None
    tor = ROUTER.format(own="198.18.0.1", node="192.0.2.11").replace("strict bind on;", "strict bind on; multihop 3;")
    with two_birds(tmp_path, router, tor, NODE, BESIDE):
        asked = "show route 198.51.100.0/24"
        until(lambda: any("peer_198_18_0_1" in line for line in said(tmp_path, "bird", asked)), "nothing is taken")
        told = said(tmp_path, "bird", asked)
        assert how in " ".join(told)
        assert any("via 192.0.2.1 on eth0" in line for line in told) is bool(gateways)
