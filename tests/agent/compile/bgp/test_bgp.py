"""BGP's sessions and prefixes: who is a peer, and which addresses of Services are told."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.settings import BgpSettings
from agent.model.bgp import (
    Password,
    Passwords,
)
from agent.model.cluster import Cluster
from tests.agent.compile.bgp.bgp_world import HERE_1, OF_RACK_1, PEER, PLAIN, TOR, made, node, sessions, world
from tests.agent.compile.bgp.test_bird import SCENARIOS
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service


@pytest.mark.parametrize(
    ("given", "settings", "names"),
    [
        pytest.param(world(HERE_1, node("n2", 12)), PLAIN, ["Node n2"], id="every node is a peer in each family"),
        pytest.param(
            world(HERE_1, node("n2", 12)), replace(PLAIN, peers_nodes=False), [], id="enable-ibgp off: none is"
        ),
        pytest.param(
            world(node(HERE, 11, node_asn="65001"), node("n2", 12, node_asn="65001"), node("n3", 13, node_asn="65002")),
            replace(PLAIN, full_mesh=False),
            ["Node n2"],
            id="nodes-full-mesh off: those of its AS alone",
        ),
        pytest.param(*SCENARIOS["client"], ["Node n2"], id="rr.client: reflectors of its cluster id alone"),
        pytest.param(*SCENARIOS["reflector"], ["Node n2", "Node n4"], id="rr.server: not another reflector's clients"),
        pytest.param(
            world(
                node(HERE, 11, rr_server="7", rr_client="7"),
                node("n2", 12, rr_client="7"),
                node("n3", 13, rr_server="7", rr_client="7"),
            ),
            PLAIN,
            ["Node n2", "Node n3"],
            id="rr.server beside rr.client, as where all nodes are clients: a reflector",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.1,192.0.2.2", peer_asns="64600,64600")),
            PLAIN,
            ["annotation 192.0.2.1", "annotation 192.0.2.2"],
            id="those of the Node's annotations, each under a name of its own",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.1", peer_asns="64600")),
            replace(PLAIN, peers=(TOR,)),
            ["--peer-router-ips[0]"],
            id="options go before the Node's annotations",
        ),
        pytest.param(
            world(node(HERE, 11, labels={"rack": "r1"}), peers=(replace(PEER, nodes=OF_RACK_1),)),
            PLAIN,
            ["BGPPeer tor"],
            id="a BGPPeer of the nodes that it selects",
        ),
        pytest.param(world(HERE_1, peers=(replace(PEER, nodes=OF_RACK_1),)), PLAIN, [], id="and of no other"),
    ],
)
def test_who_is_a_peer(given: Cluster, settings: BgpSettings, names: list[str]) -> None:
    assert sorted(set(sessions(made(given, settings)).values())) == names


def test_without_the_nodes_password_no_node_is_a_peer_and_others_are() -> None:
    given = world(HERE_1, node("n2", 12), peers=(PEER,))
    found = made(given, replace(PLAIN, node_password_key="mesh"))  # noqa: S106
    assert [(one.kind, one.field) for one in found.problems] == [("Node", "--bgp-node-password-key")]
    assert [*sessions(found).values()] == ["BGPPeer tor"]


def test_a_router_of_the_options_has_no_session_without_the_password_that_is_meant_for_it() -> None:
    settings = replace(PLAIN, peers=(TOR, replace(TOR, address=ip_address("192.0.2.2"))))
    given = world(HERE_1, passwords=Passwords(of_options=(None, Password(""))))
    found = made(given, settings)
    assert [(one.kind, one.field) for one in found.problems] == [("Node", "--peer-router-ips[0]")]
    assert [*sessions(found).values()] == ["--peer-router-ips[1]"]
    lost = made(replace(given, bgp_passwords=Passwords(is_list_lost=True)), settings)
    assert [(one.kind, one.field) for one in lost.problems] == [("Node", "--peer-router-passwords-file")]
    assert [*sessions(lost).values()] == []


READY = piece("web", endpoint("10.244.11.1", HERE))
FAR = piece("web", endpoint("10.244.12.1", "n2"))
GOING = piece("web", endpoint("10.244.11.1", HERE, ready=False, serving=True, terminating=True))
GONE = piece("web", endpoint("10.244.11.1", HERE, ready=False, serving=False, terminating=True))
GIVES_WAY = piece("web", *GOING.endpoints(), endpoint("10.244.12.1", "n2"))
LB: dict[str, Any] = {"load_balancer": (ip_address("203.0.113.1"),)}
ALL = replace(PLAIN, cluster_ips=True, external_ips=True, load_balancer=True)


@pytest.mark.parametrize(
    ("one", "slices", "settings", "told"),
    [
        pytest.param(service(**LB), READY, PLAIN, [], id="nothing unless it is asked for"),
        pytest.param(service(**LB), READY, ALL, ["10.96.0.1/32", "203.0.113.1/32"], id="what the options name"),
        pytest.param(service(**LB), FAR, ALL, ["10.96.0.1/32", "203.0.113.1/32"], id="served by another node's pod"),
        pytest.param(service(**LB), piece("web"), ALL, [], id="nobody would answer"),
        pytest.param(
            service(**LB), GOING, ALL, ["10.96.0.1/32", "203.0.113.1/32"], id="the last endpoint ends, and serves"
        ),
        pytest.param(service(**LB), GONE, ALL, [], id="the last endpoint ends, and serves no more"),
        pytest.param(
            service(**LB, external_local=True), GOING, ALL, ["10.96.0.1/32", "203.0.113.1/32"], id="Local: ends here"
        ),
        pytest.param(
            service(**LB, external_local=True), GIVES_WAY, ALL, ["10.96.0.1/32"], id="Local: ends here, ready elsewhere"
        ),
        pytest.param(service(**LB, external_local=True), FAR, ALL, ["10.96.0.1/32"], id="Local: elsewhere alone"),
        pytest.param(
            service(**LB, external_local=True), READY, ALL, ["10.96.0.1/32", "203.0.113.1/32"], id="Local: and here"
        ),
        pytest.param(
            service(**LB, advertised=(("loadbalancerip", True),)), READY, PLAIN, ["203.0.113.1/32"], id="by annotation"
        ),
        pytest.param(
            service(**LB, advertised=(("clusterip", False),)), READY, ALL, ["203.0.113.1/32"], id="not, by annotation"
        ),
        pytest.param(
            service(ip="fd00:96::1", external_ips=(ip_address("2001:db8:9::1"),)),
            piece("web", endpoint("fd00:244:11::1", HERE)),
            replace(PLAIN, external_ips=True),
            ["2001:db8:9::1/128"],
            id="an external one of IPv6",
        ),
        pytest.param(
            service(ip="10.96.0.1,fd00:96::1", load_balancer=(ip_address("203.0.113.1"), ip_address("2001:db8:9::1"))),
            READY,
            ALL,
            ["10.96.0.1/32", "203.0.113.1/32"],
            id="none of a family of which nobody would answer",
        ),
        pytest.param(
            service(external_ips=(ip_address("2001:db8:9::1"),), load_balancer=(ip_address("2001:db8:9::2"),)),
            READY,
            ALL,
            ["10.96.0.1/32"],
            id="none of a family that the Service has not, which nobody serves",
        ),
    ],
)
def test_which_addresses_of_a_service_are_told(one: Any, slices: Any, settings: BgpSettings, told: list[str]) -> None:
    given = cluster(one, slices)
    found = made(world(HERE_1, services=given.services, slices=given.slices), settings)
    assert found.router is not None
    assert list(map(str, found.router.services)) == told


def test_what_concerns_nothing_of_it_leaves_the_identical_value() -> None:
    given = world(HERE_1, services=cluster(service()).services, slices=cluster(READY).slices)
    first = bgp(given, ALL, None, HERE, OFF)
    moved = replace(given, slices=cluster(FAR).slices)
    second = bgp(moved, ALL, None, HERE, first)
    assert second.router is first.router
    third = bgp(replace(moved, slices={}), ALL, None, HERE, second)
    assert third.router is not None
    assert third.router.services == ()


def test_a_node_without_ipv4_has_a_router_id_all_the_same_and_one_that_is_given_goes_before() -> None:
    six = world(node(HERE, 11, families="6"))
    found, given = made(six).router, made(six, replace(PLAIN, router_id="192.0.2.200")).router
    assert found is not None
    assert given is not None
    assert int(found.router_id) > 0
    assert str(given.router_id) == "192.0.2.200"
