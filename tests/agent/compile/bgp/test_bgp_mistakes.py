"""Mistakes, and what somebody may write to do harm, cost the peer or the annotation that they are in, and no other."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.compile.bgp.annotations import MAX_PARTS, MAX_YAML
from agent.compile.bgp.settings import BgpSettings, OptionPeer
from agent.model.bgp import Neighbours, within
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.cluster import Cluster
from tests.agent.compile.bgp.bgp_world import (
    AT_ETH1,
    BESIDE,
    HERE_1,
    PEER,
    PLAIN,
    bird_refuses,
    made,
    node,
    sessions,
    world,
)
from tests.agent.compile.objects import HERE

PEERS = "metadata.annotations['kube-router.io/peers']"
IPS = "metadata.annotations['kube-router.io/peer.ips'][0]"
# of a mapping ten others, of each ten others, ...
BOMB = "".join(f"- &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("said", "where"),
    [
        pytest.param({"peers": "[" * 20000}, PEERS, id="YAML that is as deep as long"),
        pytest.param({"peers": f"- &a [x, x]\n{BOMB}- {{remoteip: *i, remoteasn: *i}}"}, PEERS, id="YAML that doubles"),
        pytest.param({"peers": "- {remoteip: 192.0.2.1, remoteasn: 2024-13-45}"}, PEERS, id="YAML's own date"),
        pytest.param({"peers": "- {remoteip: 192.0.2.1, remoteasn: !!int x}"}, PEERS, id="YAML's tag"),
        pytest.param({"peers": "- {? [a] : b}"}, PEERS, id="YAML with a list for a key"),
        pytest.param({"peers": "- {remoteip: 192.0.2.1, remoteasn: 64600, password: [a]}"}, PEERS, id="no password"),
        pytest.param({"peers": f"- {{remoteip: 192.0.2.1, remoteasn: {'1' * 5000}}}"}, PEERS, id="5,000 digits"),
        pytest.param({"peers": "- {}\n" * MAX_YAML}, PEERS, id="an annotation of 160 kB"),
        pytest.param({"node_asn": "1" * 5000}, "node.asn", id="node.asn with 5,000 digits"),
        pytest.param({"node_asn": "23456"}, "node.asn", id="node.asn that no AS has"),
        pytest.param({"rr_client": "1" * 5000}, "rr.client", id="rr.client with 5,000 digits"),
        pytest.param({"peer_ips": "192.0.2.1", "peer_asns": "65535"}, f"{IPS}.remoteasn", id="an AS that is none"),
        pytest.param({"peer_ips": "fe80::1", "peer_asns": "64600"}, f"{IPS}.remoteip", id="a link-local address"),
        pytest.param({"peer_ips": "::", "peer_asns": "64600"}, f"{IPS}.remoteip", id="nobody's address"),
        pytest.param({"peer_ips": "224.0.0.1", "peer_asns": "64600"}, f"{IPS}.remoteip", id="a group's address"),
        pytest.param(
            {"peer_ips": "2001:db8::99", "peer_asns": "64600", "peer_localips": "fe80::1"},
            f"{IPS}.localip",
            id="a link-local address of its own",
        ),
        pytest.param({"bgp__local__addresses": "::"}, "bgp-local-addresses", id="heard at nobody's address"),
        pytest.param(
            {"node_bgp_communities": ",".join(["1:1"] * (MAX_PARTS + 1))}, "node.bgp.communities", id="a list too long"
        ),
    ],
)
def test_an_annotation_that_cannot_be_read_is_a_problem_of_its_node_and_nothing_else(
    said: dict[str, Any], where: str, tmp_path: Path
) -> None:
    here = made(world(node(HERE, 11, **said), node("n2", 12), peers=(BESIDE,)))
    assert here.problems
    assert all(one.kind == "Node" and where in one.field and len(one.text) < 400 for one in here.problems)
    assert {"Node n2", "BGPPeer beside"} == {*sessions(here).values()}
    assert bird_refuses(here.router, tmp_path) == ""
    elsewhere = made(world(HERE_1, node("n2", 12, **said), peers=(BESIDE,)))
    assert elsewhere.problems == ()
    assert "BGPPeer beside" in {*sessions(elsewhere).values()}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.1,192.0.2.2", peer_asns="64600")),
            ("Node", "metadata.annotations['kube-router.io/peer.asns']"),
            id="peer.asns: not one for each",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.1", peer_asns="none")),
            ("Node", "metadata.annotations['kube-router.io/peer.ips'][0].remoteasn"),
            id="peer.asns: no number",
        ),
        pytest.param(
            world(node(HERE, 11, peer_ips="192.0.2.1", peer_asns="64600", peer_passwords="?")),
            ("Node", "metadata.annotations['kube-router.io/peer.ips'][0].password"),
            id="peer.passwords: no base64",
        ),
        pytest.param(
            world(node(HERE, 11, peers="{")),
            ("Node", "metadata.annotations['kube-router.io/peers']"),
            id="peers: no YAML",
        ),
        *(
            pytest.param(
                world(node(HERE, 11, peers=text), node("n3", 13, peers=text)),
                ("Node", f"metadata.annotations['kube-router.io/peers']{place}"),
                id=f"peers, also another node's: {why}",
            )
            for text, place, why in (
                ("- 2020-99-99", "[0]", "no such day"),
                ('- !!int ""', "[0]", "a number without digits"),
                ("[" * 3000, "", "deeper than any stack"),
            )
        ),
        pytest.param(
            world(node(HERE, 11, peers="- {remoteip: 192.0.2.8, remoteasn: 0x" + "f" * 5000 + "}")),
            ("Node", "metadata.annotations['kube-router.io/peers'][0].remoteasn"),
            id="peers: a number of more digits than str() writes",
        ),
        pytest.param(
            world(
                node(
                    HERE,
                    11,
                    peers="- {a: &a [x], "
                    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 64)}], " for a, b in pairwise("abcdefghi"))
                    + "remoteip: *i, remoteasn: 64600}",
                )
            ),
            ("Node", "metadata.annotations['kube-router.io/peers'][0].remoteip"),
            id="peers: aliases that would be written for ever",
        ),
        pytest.param(
            world(node(HERE, 11, node_asn="0")),
            ("Node", "metadata.annotations['kube-router.io/node.asn']"),
            id="node.asn",
        ),
        pytest.param(
            world(node(HERE, 11, rr_server="9" * 5000)),
            ("Node", "metadata.annotations['kube-router.io/rr.server']"),
            id="rr.server: more digits than int() reads",
        ),
        pytest.param(
            world(node(HERE, 11, node_asn="9" * 5000)),
            ("Node", "metadata.annotations['kube-router.io/node.asn']"),
            id="node.asn: more digits than int() reads",
        ),
        pytest.param(
            world(node(HERE, 11, rr_client="x")),
            ("Node", "metadata.annotations['kube-router.io/rr.client']"),
            id="rr.client",
        ),
        pytest.param(
            world(node(HERE, 11, node_bgp_communities="65000:1,70000:1")),
            ("Node", "metadata.annotations['kube-router.io/node.bgp.communities'][1]"),
            id="node.bgp.communities: an unknown one",
        ),
        pytest.param(
            world(node(HERE, 11, node_bgp_customimportreject="10.0.0.0/33")),
            ("Node", "metadata.annotations['kube-router.io/node.bgp.customimportreject'][0]"),
            id="node.bgp.customimportreject",
        ),
        pytest.param(
            world(HERE_1, peers=(replace(PEER, address=ip_address("192.0.2.9"), password_key="lost"),)),  # noqa: S106
            ("BGPPeer", "spec.passwordKey"),
            id="a password that is not there",
        ),
        pytest.param(
            world(node(HERE, 11, families="4"), peers=(replace(PEER, address=ip_address("2001:db8::9")),)),
            ("BGPPeer", "spec.address"),
            id="a family that the node lacks",
        ),
        pytest.param(
            world(HERE_1, peers=(PEER, replace(PEER, name="zor"))), ("BGPPeer", "spec.address"), id="two of one address"
        ),
        pytest.param(world(HERE_1, peers=(AT_ETH1,)), ("BGPPeer", "spec.interface"), id="an interface, nobody answers"),
        pytest.param(
            world(
                HERE_1,
                peers=(AT_ETH1,),
                bgp_neighbours=Neighbours({"eth1": frozenset({IPv6Address("fe80::1"), IPv6Address("fe80::2")})}),
            ),
            ("BGPPeer", "spec.interface"),
            id="an interface, several answer",
        ),
    ],
)
def test_a_mistake_names_object_and_field_and_costs_no_other_peer(given: Cluster, problem: tuple[str, str]) -> None:
    nodes = {**given.nodes, "n2": node("n2", 12)}
    found = made(replace(given, nodes=nodes, bgp_peers={**given.bgp_peers, "beside": BESIDE}))
    assert [(one.kind, one.field) for one in found.problems] == [problem]
    assert {"Node n2", "BGPPeer beside"} <= {*sessions(found).values()}


RELAYS = {"default": BgpConfiguration("default", relayed=(within(ip_network("198.51.100.0/24")),))}
INSIDE = replace(PEER, asn=64512)


@pytest.mark.parametrize(
    ("given", "settings", "problems"),
    [
        pytest.param(
            world(HERE_1, node("n2", 12), peers=(INSIDE, BESIDE), bgp_configurations=RELAYS),
            PLAIN,
            [("BGPPeer", "spec.asn")],
            id="a router of the same AS",
        ),
        pytest.param(
            world(HERE_1, node("n2", 12), bgp_configurations=RELAYS),
            replace(PLAIN, peers=(OptionPeer(ip_address("192.0.2.1"), 64512),)),
            [("Node", "--peer-router-ips[0]")],
            id="one of the options",
        ),
        pytest.param(world(HERE_1, node("n2", 12), peers=(INSIDE,)), PLAIN, [], id="nothing is to be relayed"),
        pytest.param(
            world(
                node(HERE, 11, rr_server="7"),
                node("n2", 12, rr_client="7"),
                peers=(INSIDE,),
                bgp_configurations=RELAYS,
            ),
            PLAIN,
            [],
            id="a reflector passes it on",
        ),
        pytest.param(
            world(HERE_1, node("n2", 12, node_asn="65001"), peers=(INSIDE,), bgp_configurations=RELAYS),
            PLAIN,
            [],
            id="to nodes of other AS numbers it goes",
        ),
    ],
)
def test_a_router_of_which_bgp_itself_relays_nothing_is_named(
    given: Cluster, settings: BgpSettings, problems: list[tuple[str, str]]
) -> None:
    found = made(given, settings)
    assert [(one.kind, one.field) for one in found.problems] == problems
    assert {"Node n2"} <= {*sessions(found).values()}
