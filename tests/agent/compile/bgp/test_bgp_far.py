"""Where BIRD waits, or fails, and does not say why: a router beyond the node's subnets, an address that it has not."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.router import Source
from agent.compile.bgp.settings import BgpSettings, OptionPeer
from agent.model.address import Address, Network
from agent.model.bgp import Bfd, BgpPeer
from agent.model.cluster import Cluster
from agent.model.local import Device, FarGateway, Local
from agent.model.node import Node
from tests.agent.compile.bgp.bgp_world import HERE_1, PEER, PLAIN, bird_refuses, node, sessions, world
from tests.agent.compile.objects import HERE

SUBNETS = (ip_network("192.0.2.0/24"), ip_network("203.0.113.9/32"))  # the other is a point-to-point link's
FAR = replace(PEER, address=ip_address("198.51.100.1"))
OPTION = OptionPeer(ip_address("198.51.100.1"), 64600)


@pytest.mark.parametrize(
    ("given", "settings", "subnets", "told"),
    [
        pytest.param(
            world(HERE_1, peers=(FAR,)), PLAIN, SUBNETS, ("BGPPeer", "spec.multihop", "spec.multihop"), id="a BGPPeer"
        ),
        pytest.param(
            world(HERE_1),
            replace(PLAIN, peers=(OPTION,)),
            SUBNETS,
            ("Node", "--peer-router-ips[0]", "--peer-router-multihop-ttl"),
            id="one of the options",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="198.51.100.1", peer_asns="64600")),
            PLAIN,
            SUBNETS,
            ("Node", "metadata.annotations['kube-router.io/peer.ips'][0]", "--peer-router-multihop-ttl"),
            id="one of an annotation",
        ),
        pytest.param(world(HERE_1, peers=(replace(FAR, multihop=2),)), PLAIN, SUBNETS, None, id="it may be hops away"),
        pytest.param(world(HERE_1, peers=(replace(FAR, asn=64512),)), PLAIN, SUBNETS, None, id="of the same AS"),
        pytest.param(world(HERE_1, peers=(PEER,)), PLAIN, SUBNETS, None, id="on a subnet"),
        pytest.param(
            world(HERE_1, peers=(replace(PEER, address=ip_address("203.0.113.9")),)),
            PLAIN,
            SUBNETS,
            None,
            id="at the other end of a link",
        ),
        pytest.param(world(HERE_1, peers=(FAR,)), PLAIN, (), None, id="the subnets are not known yet"),
    ],
)
def test_a_router_that_is_on_no_subnet_and_may_not_be_hops_away_is_named(
    given: Cluster, settings: BgpSettings, subnets: tuple[Network, ...], told: tuple[str, str, str] | None
) -> None:
    found = bgp(given, settings, None, HERE, OFF, (), subnets)
    assert len(sessions(found)) == 1
    assert [(one.kind, one.field) for one in found.problems] == ([told[:2]] if told else [])
    assert told is None or f"give {told[2]} " in found.problems[0].text


ETH0 = Local((Device(2, "eth0", HERE_1.internal_ips),))
ELSEWHERE = ip_address("192.0.2.99")
LOCALLY = "metadata.annotations['kube-router.io/bgp-local-addresses']"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param(
            world(HERE_1, peers=(replace(PEER, source=ELSEWHERE),)), ("BGPPeer", "spec.sourceAddress"), id="a BGPPeer's"
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.1", peer_asns="64600", peer_localips="192.0.2.99")),
            ("Node", "metadata.annotations['kube-router.io/peer.ips'][0].localip"),
            id="an annotation's",
        ),
        pytest.param(
            world(node(HERE, 11, bgp__local__addresses="2001:db8::11,192.0.2.99"), peers=(PEER,)),
            ("Node", LOCALLY),
            id="where alone BIRD is to be heard",
        ),
        pytest.param(world(HERE_1, peers=(replace(PEER, source=HERE_1.internal_ips[0]),)), None, id="the node's own"),
        pytest.param(world(HERE_1, node("n2", 12), peers=(PEER,)), None, id="nobody says which"),
    ],
)
def test_an_address_to_peer_from_that_no_device_has_is_named(given: Cluster, told: tuple[str, str] | None) -> None:
    found = bgp(replace(given, local=ETH0), PLAIN, None, HERE, OFF)
    assert [(one.kind, one.field) for one in found.problems] == ([told] if told else [])
    assert told is None or "no device of Node" in found.problems[0].text
    assert bgp(given, PLAIN, None, HERE, OFF).problems == (), "before its devices are known nobody says so"


BESIDE = (ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24"))  # the router is on the other link
INSIDE = replace(FAR, asn=64512)


@pytest.mark.parametrize(
    ("here", "peer", "subnets", "local"),
    [
        pytest.param(HERE_1, FAR, BESIDE, (None, False), id="on a link of its own, from the address there"),
        pytest.param(HERE_1, INSIDE, BESIDE, (None, True), id="of the same AS"),
        pytest.param(HERE_1, replace(FAR, multihop=2), BESIDE, (None, False), id="it may be hops away, too"),
        pytest.param(
            HERE_1,
            replace(FAR, multihop=2, bfd=Bfd()),
            BESIDE,
            ("192.0.2.11", False),
            id="hops away with BFD, for which BIRD wants an address",
        ),
        pytest.param(HERE_1, replace(FAR, from_internal=True), BESIDE, ("192.0.2.11", False), id="InternalIP is said"),
        pytest.param(
            HERE_1,
            replace(FAR, source=ip_address("192.0.2.11")),
            BESIDE,
            ("192.0.2.11", False),
            id="an address is said",
        ),
        pytest.param(
            node(HERE, 11, bgp__local__addresses="192.0.2.11"), FAR, BESIDE, ("192.0.2.11", False), id="by annotation"
        ),
        pytest.param(HERE_1, PEER, BESIDE, ("192.0.2.11", False), id="on the InternalIP's subnet"),
        pytest.param(HERE_1, replace(PEER, asn=64512), BESIDE, ("192.0.2.11", True), id="there, of the same AS"),
        pytest.param(HERE_1, replace(FAR, multihop=2), SUBNETS, ("192.0.2.11", False), id="on no subnet"),
    ],
)
def test_from_which_address_the_node_speaks(
    here: Node, peer: BgpPeer, subnets: tuple[Network, ...], local: tuple[str | None, bool], tmp_path: Path
) -> None:
    router = bgp(world(here, peers=(peer,)), PLAIN, None, HERE, OFF, (), subnets).router
    assert router is not None
    (session,) = router.sessions
    assert (session.local and str(session.local), session.is_direct) == local
    assert bird_refuses(router, tmp_path) == ""


def test_an_address_to_peer_from_is_followed_as_it_comes_to_a_device_and_leaves() -> None:
    given = world(HERE_1, peers=(replace(PEER, source=ELSEWHERE),))
    more = Local((*ETH0.devices, Device(3, "dummy0", (ELSEWHERE,))))
    first = bgp(replace(given, local=ETH0), PLAIN, None, HERE, OFF)
    then = bgp(replace(given, local=more), PLAIN, None, HERE, first)
    assert then.problems == ()
    assert then.router is first.router
    assert bgp(replace(given, local=ETH0), PLAIN, None, HERE, then).problems == first.problems


@pytest.mark.parametrize(
    ("here", "subnets", "wanted"),
    [
        pytest.param(
            HERE_1.internal_ips,
            SUBNETS,
            (Source(HERE_1.internal_ips[0]), Source(HERE_1.internal_ips[1], is_of_all=True)),
            id="one on a subnet is of what nodes tell, one on none of all",
        ),
        pytest.param(
            HERE_1.internal_ips[:1],
            (ip_network("192.0.2.11/32"),),
            (Source(HERE_1.internal_ips[0], is_of_all=True),),
            id="a subnet of one address is none",
        ),
        pytest.param((ELSEWHERE,), SUBNETS, (), id="no device has it, as behind an address that is translated"),
    ],
)
def test_as_whom_the_node_sends_by_what_peers_told(
    here: tuple[Address, ...], subnets: tuple[Network, ...], wanted: tuple[Source, ...]
) -> None:
    given = replace(world(HERE_1), local=Local((Device(2, "eth0", here),)))
    router = bgp(given, PLAIN, None, HERE, OFF, (), subnets).router
    assert router is not None
    assert router.sources == wanted


def test_a_gateway_on_no_subnet_is_followed_as_its_route_comes_and_goes() -> None:
    given = world(HERE_1, peers=(PEER,))
    way = FarGateway(ip_network("0.0.0.0/0"), ip_address("198.51.100.1"), "eth0")
    first = bgp(replace(given, local=ETH0), PLAIN, None, HERE, OFF)
    then = bgp(replace(given, local=replace(ETH0, far_gateways=(way,))), PLAIN, None, HERE, first)
    gone = bgp(replace(given, local=ETH0), PLAIN, None, HERE, then)
    found = [one.router.far_gateways for one in (first, then, gone) if one.router is not None]
    assert found == [(), (way,), ()]
