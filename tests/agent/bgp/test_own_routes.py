"""What a node tells while a device of its own has the same address or subnet, by a real BIRD at either end."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.model.bgp import BgpPeer
from tests.agent.bgp.two_birds import ROUTER, prefixes, two_birds, until
from tests.agent.compile.bgp.bgp_world import BALANCED, at, configuration, node, with_services
from tests.agent.compile.objects import HERE

pytestmark = pytest.mark.netns

PODS, WEB, NEAR = "10.244.11.0/24", "203.0.113.1/32", "203.0.113.2/32"
TOR = ROUTER.format(own="192.0.2.1", node="192.0.2.11")
NODE = "ip address add 192.0.2.11/24 dev eth0; ip link set eth0 up; "
BESIDE = "ip address add 192.0.2.1/24 dev eth0; ip link set eth0 up"
PEER = BgpPeer("tor", ip_address("192.0.2.1"), 64600)


@pytest.mark.parametrize(
    ("more", "wide", "told"),
    [
        pytest.param("", "", {PODS, WEB, NEAR}, id="no device has any of it"),
        pytest.param("ip address add 203.0.113.1/32 dev lo", "", {PODS, WEB, NEAR}, id="loopback has an address"),
        pytest.param("ip address add 203.0.113.1/32 dev eth0", "", {PODS, WEB, NEAR}, id="a balancer has put it there"),
        pytest.param(
            "ip link add cni0 type bridge; ip address add 10.244.11.1/24 dev cni0; ip link set cni0 up",
            "",
            {PODS, WEB, NEAR},
            id="the bridge of what ran here before has the pods' range",
        ),
        pytest.param(
            "ip address add 203.0.113.77/24 dev lo", "203.0.113.0/24", {PODS, "203.0.113.0/24", NEAR}, id="an aggregate"
        ),
    ],
)
def test_what_is_the_nodes_own_is_told_whatever_its_devices_have(
    more: str, wide: str, told: set[str], tmp_path: Path
) -> None:
    settings = configuration(aggregates=(ip_network(wide),) if wide else ())
    here = node(HERE, 11, families="4")
    given = with_services(at(1), at(2, external_local=True), here=here, peers=(PEER,), bgp_configurations=settings)
    router = bgp(given, BALANCED, None, HERE, OFF, (), (ip_network("192.0.2.0/24"),)).router
    assert router is not None
    with two_birds(tmp_path, router, TOR, NODE + more, BESIDE):
        until(lambda: prefixes(tmp_path, "tor", "node") == told, "the router is told something else")
