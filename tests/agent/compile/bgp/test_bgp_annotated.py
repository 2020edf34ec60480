"""What is wrong with a router that a Node's annotation names is told with the annotation and its place there."""

import base64
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.bgp.refused import Refused
from agent.compile.bgp.annotations import node_bgp
from agent.compile.bgp.settings import OptionPeer
from agent.model.bgp import Password, within
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.cluster import Cluster
from tests.agent.compile.bgp.bgp_world import PEER, PLAIN, made, node, sessions, world
from tests.agent.compile.objects import HERE

IPS = "metadata.annotations['kube-router.io/peer.ips']"
PEERS = "metadata.annotations['kube-router.io/peers']"
BESIDE = replace(PEER, name="beside", address=ip_address("192.0.2.77"))
RELAYS = {"default": BgpConfiguration("default", relayed=(within(ip_network("198.51.100.0/24")),))}


@pytest.mark.parametrize(
    ("given", "field", "text"),
    [
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.1", peer_asns="64600", peer_localips="2001:db8::11")),
            f"{IPS}[0].localip",
            "2001:db8::11 is not of the family of 192.0.2.1",
            id="a local address of the other family, which the node has",
        ),
        pytest.param(
            world(node(HERE, 11, families="4", peers="[{remoteip: '2001:db8::9', remoteasn: 64600}]")),
            f"{PEERS}[0]",
            "has no IPv6 address",
            id="of a family that the node lacks",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.1,192.0.2.1", peer_asns="64600,64601")),
            f"{IPS}[1]",
            "the peer of annotation 192.0.2.1 already",
            id="named twice",
        ),
        pytest.param(
            world(node(HERE, 11, peers="[{remoteip: 192.0.2.12, remoteasn: 64600}]")),
            f"{PEERS}[0]",
            "the peer of Node n2 already",
            id="another node, which is a peer anyway",
        ),
        pytest.param(
            world(node(HERE, 11, peers="[{remoteip: 192.0.2.1, remoteasn: 64512}]"), bgp_configurations=RELAYS),
            f"{PEERS}[0]",
            "relays nothing",
            id="of the same AS, of which nothing can be relayed",
        ),
    ],
)
def test_a_mistake_has_the_annotations_name_and_costs_no_other_peer(given: Cluster, field: str, text: str) -> None:
    found = made(replace(given, nodes={**given.nodes, "n2": node("n2", 12)}, bgp_peers={"beside": BESIDE}))
    assert [(one.kind, one.field) for one in found.problems] == [("Node", field)]
    assert text in found.problems[0].text
    assert {"Node n2", "BGPPeer beside"} <= {*sessions(found).values()}


@pytest.mark.parametrize("nothing", ["", "~", "null"])
def test_a_field_of_a_router_that_says_nothing_is_as_if_left_out(nothing: str) -> None:
    text = "[{remoteip: 192.0.2.1, remoteasn: 64600, port: %s, localip: %s, password: %s}]" % ((nothing,) * 3)
    left_out = made(world(node(HERE, 11, peers="[{remoteip: 192.0.2.1, remoteasn: 64600}]")))
    found = made(world(node(HERE, 11, peers=text)))
    assert (found.problems, found.router) == ((), left_out.router)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=repr)
def test_the_end_of_a_line_is_none_of_a_password(end: str) -> None:
    text = base64.b64encode(f"SecurePassword{end}".encode()).decode()
    found = made(world(node(HERE, 11, peer_ips="192.0.2.1,192.0.2.2", peer_asns="1,2", peer_passwords=f"{text},")))
    assert found.problems == ()
    assert found.router is not None
    assert [one.password for one in found.router.sessions] == [Password("SecurePassword"), None]


def test_a_router_may_have_an_ipv4_link_local_address_and_the_node_another() -> None:
    at = node(HERE, 11, peer_ips="169.254.255.1", peer_asns="64600", peer_localips="169.254.255.9")
    found = made(world(at))
    assert ([*sessions(found).values()], found.problems) == (["annotation 169.254.255.1"], ())
    settings = replace(PLAIN, peers=(OptionPeer(ip_address("169.254.255.1"), 64600),))
    assert made(world(node(HERE, 11)), settings).problems == ()
    (problem,) = made(world(node(HERE, 11, families="6")), settings).problems
    assert "has no IPv4 address" in problem.text


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("internet", "0:0"),
        ("planned-shut", "65535:0"),
        ("route-filter-translated-v4", "65535:2"),
        ("route-filter-v4", "65535:3"),
        ("route-filter-translated-v6", "65535:4"),
        ("route-filter-v6", "65535:5"),
    ],
)
def test_a_community_that_kube_router_takes_by_its_name_is_understood(name: str, number: str) -> None:
    here = node_bgp(node(HERE, 11, node_bgp_communities=f"65000:1, {name}"))
    assert ([str(one) for one in here.communities], here.problems) == (["65000:1", number], ())


def test_what_bird_refuses_of_it_is_told_so_too() -> None:
    router = made(world(node(HERE, 11, peer_ips="192.0.2.8,192.0.2.9", peer_asns="64600,64601"))).router
    assert router is not None
    refused = Refused()
    refused.taken(lambda one: "no" * any(each.asn == 64601 for each in one.sessions), router, None)
    assert [(one.kind, one.field) for one in refused.problems(HERE)] == [("Node", f"{IPS}[1]")]
