"""A router on a link of its own, where the node's InternalIP is not, by a real BIRD at either end."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.model.bgp import Bfd, BgpPeer, within
from agent.model.local import Device, Local
from tests.agent.bgp.two_birds import ROUTER, kernel_route, prefixes, said, two_birds, until
from tests.agent.compile.bgp.bgp_world import PLAIN, node, world
from tests.agent.compile.objects import HERE

pytestmark = pytest.mark.netns

FAR = within(ip_network("198.51.100.0/24"))
PEER = BgpPeer("tor", ip_address("203.0.113.0"), 64600, imports=(FAR,))


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param(PEER, id="of another AS"),
        pytest.param(replace(PEER, bfd=Bfd(100, 100)), id="with BFD"),
        pytest.param(replace(PEER, asn=64512), id="of the node's own AS"),
        pytest.param(replace(PEER, multihop=2), id="that may be hops away"),
        pytest.param(replace(PEER, address=ip_address("169.254.10.0")), id="at a link-local address"),
    ],
)
def test_it_is_spoken_with_from_the_address_on_its_link_and_told_that_as_the_next_hop(
    peer: BgpPeer, tmp_path: Path
) -> None:
    assert peer.address is not None
    own, name = peer.address + 1, f"peer_{str(peer.address).replace('.', '_')}"
    subnets = (ip_network("192.0.2.11/32"), ip_network(f"{peer.address}/31"))
    local = Local((Device(1, "lo", (ip_address("192.0.2.11"),), loopback=True), Device(2, "eth0", (own,))))
    given = replace(world(node(HERE, 11, families="4"), peers=(peer,)), local=local)
    router = bgp(given, PLAIN, None, HERE, OFF, (), subnets[1:]).router
    assert router is not None
    tor = ROUTER.format(own=peer.address, node=own) + "protocol bfd {}\n"
    if peer.bfd:
        tor = tor.replace("strict bind on;", "strict bind on; bfd on;")
    tor = tor.replace("as 64600", f"as {peer.asn}")
    here = f"ip address add 192.0.2.11/32 dev lo; ip address add {own}/31 dev eth0; ip link set eth0 up"
    with two_birds(tmp_path, router, tor, here, f"ip address add {peer.address}/31 dev eth0; ip link set eth0 up"):
        until(lambda: prefixes(tmp_path, "tor", "node") == {"10.244.11.0/24"}, "there is no session")
        told = said(tmp_path, "tor", "show route all protocol node")
        assert any(f"BGP.next_hop: {own}" in line for line in told)
        until(lambda: prefixes(tmp_path, "bird", name) == {"198.51.100.0/24"}, "nothing is taken")
        until(lambda: bool(kernel_route(tmp_path, "bird", "198.51.100.0/24")), "nothing is routed")
        # by its loopback device's address all the fabric knows the node
        assert "src 192.0.2.11 " in kernel_route(tmp_path, "bird", "198.51.100.0/24")
