"""Mistakes, and what somebody may write to do harm, cost the peer or the annotation that they are in, and no other."""

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.compile.bgp.annotations import MAX_PARTS, MAX_YAML
from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.settings import BgpSettings, OptionPeer
from agent.model.bgp import BgpPeer, Neighbours, PrefixRange, within
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.cluster import Cluster
from tests.agent.compile.bgp.bgp_world import AT_ETH1, HERE_1, PEER, PLAIN, bird_refuses, made, node, sessions, world
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service

BESIDE = BgpPeer("beside", ip_address("192.0.2.77"), 64601)
PEERS = "metadata.annotations['kube-router.io/peers']"
IPS = "metadata.annotations['kube-router.io/peer.ips'][0]"
# of a mapping ten others, of each ten others, ...
BOMB = "".join(f"- &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
LONG_DEVICE = "enp129s0f0np0.1"


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


AT_LONG = BgpPeer("left", None, 64600, interface=LONG_DEVICE, both_families=True, extended_next_hop=True)


@pytest.mark.parametrize(
    ("given", "settings", "fields"),
    [
        pytest.param(
            world(node(HERE, 11, rr_server="7"), node("n2", 12, rr_client="7", node_asn="65001")),
            PLAIN,
            [],
            id="a reflector's client of another AS",
        ),
        pytest.param(
            world(HERE_1, peers=(replace(PEER, graceful_restart=False, stale_s=100),)),
            PLAIN,
            ["spec.longLivedStaleTime"],
            id="kept after a graceful restart that there is not",
        ),
        pytest.param(
            world(HERE_1, peers=(replace(PEER, stale_s=100),)),
            replace(PLAIN, restart_s=0),
            ["spec.longLivedStaleTime"],
            id="nor is by the node's own",
        ),
        pytest.param(
            world(HERE_1, peers=(replace(PEER, keepalive_s=300),)),
            PLAIN,
            ["spec.keepaliveTime"],
            id="a keepalive time beyond the node's hold time",
        ),
        pytest.param(
            world(
                HERE_1,
                peers=(AT_LONG,),
                bgp_neighbours=Neighbours({LONG_DEVICE: frozenset({IPv6Address("fe80::1234:5678:9abc:def0")})}),
            ),
            PLAIN,
            [],
            id="a device and an address of the longest names",
        ),
        *(
            pytest.param(world(HERE_1, peers=(replace(PEER, name=name),)), PLAIN, [], id=f"a name with {what}")
            for what, name in (
                ("a quote", 'a"b'),
                ("lines of BIRD's", 'a";\n  password "x'),
                ("more than BIRD reads", "a" * 100_000),
                ("letters of no alphabet", "\x00\x1b\u2028ü{};#"),
            )
        ),
        pytest.param(
            world(HERE_1),
            replace(PLAIN, peers=(OptionPeer(IPv6Address("fe80::1"), 64600), OptionPeer(ip_address("192.0.2.1"), 1))),
            ["--peer-router-ips[0]"],
            id="a link-local address among the options'",
        ),
    ],
)
def test_bird_takes_what_is_made_of_it(
    given: Cluster, settings: BgpSettings, fields: list[str], tmp_path: Path
) -> None:
    found = made(given, settings)
    assert found.router is not None
    assert [one.field for one in found.problems] == fields
    assert found.router.sessions
    assert bird_refuses(found.router, tmp_path) == ""
    assert not any(line.strip().startswith("password") for line in bird_config(found.router).splitlines())


def test_a_node_peers_from_an_address_of_a_family_that_its_node_object_has_not(tmp_path: Path) -> None:
    here = node(HERE, 11, families="4", bgp__local__addresses="192.0.2.11,2001:db8::11")
    six = replace(PEER, name="six", address=ip_address("2001:db8::1"))
    too = replace(six, name="too", address=ip_address("2001:db8::2"), both_families=True)
    found = made(world(here, node("n2", 12), peers=(six, too)))
    assert found.problems == ()
    assert found.router is not None
    sessions_of = {one.about: one for one in found.router.sessions}
    assert sessions_of["BGPPeer six"].next_hops == (ip_address("2001:db8::11"),)
    assert {"Node n2", "BGPPeer too"} <= sessions_of.keys()
    assert bird_refuses(found.router, tmp_path) == ""


def test_a_peer_at_an_interface_is_one_also_of_a_node_that_peers_from_addresses_of_its_own(tmp_path: Path) -> None:
    here = node(HERE, 11, bgp__local__addresses="192.0.2.11,2001:db8::11")
    at = Neighbours({"eth1": frozenset({IPv6Address("fe80::1")})})
    found = made(world(here, node("n2", 12), peers=(AT_ETH1, PEER), bgp_neighbours=at)).router
    assert found is not None
    assert bird_refuses(found, tmp_path) == ""
    # BIRD would be heard at one IPv6 address for n2 and at all for the interface, and the kernel lets one of both
    assert {(one.address.version, one.is_strict) for one in found.sessions} == {(4, True), (6, False)}
    alone = made(world(here, node("n2", 12), peers=(PEER,))).router
    assert alone is not None
    assert all(one.is_strict for one in alone.sessions)


def test_names_of_sessions_are_as_long_as_bird_takes_them_and_differ() -> None:
    addresses = [IPv6Address("fe80::1234:5678:9abc:def0"), IPv6Address("fe80::1234:5678:9abc:def1")]
    names: list[str] = []
    for address in addresses:
        at = Neighbours({LONG_DEVICE: frozenset({address}), f"{LONG_DEVICE[:-1]}2": frozenset({address})})
        other = replace(AT_LONG, name="right", interface=f"{LONG_DEVICE[:-1]}2")
        names += sessions(made(world(HERE_1, peers=(AT_LONG, other), bgp_neighbours=at)))
    assert len({*names}) == 4
    assert all(len(f"out_{name}_6") < 64 for name in names)


def test_the_router_that_all_nodes_are_to_peer_with_may_be_one_of_them() -> None:
    at = OptionPeer(ip_address("192.0.2.11"), 64600)
    by_annotation = node(HERE, 11, peer_ips="192.0.2.11", peer_asns="64600")
    by_object = replace(PEER, address=ip_address("192.0.2.11"))
    found = made(world(HERE_1, peers=(by_object, BESIDE)), replace(PLAIN, peers=(at,)))
    assert ([*sessions(found).values()], found.problems) == (["BGPPeer beside"], ())
    assert [*sessions(made(world(by_annotation))).values()] == []


def test_a_router_id_that_is_made_is_an_address_that_a_host_may_have() -> None:
    for number in range(1, 200):
        router = made(world(node(HERE, number, families="6"))).router
        assert router is not None
        assert 0 < int(router.router_id) >> 24 < 224


def test_a_node_whose_object_is_gone_tells_of_no_services_whatever_comes_then() -> None:
    settings = replace(PLAIN, load_balancer=True)

    def services(*names: str) -> dict[str, Any]:
        ones = [
            service(name, f"10.96.0.{n}", load_balancer=(ip_address(f"203.0.113.{n}"),))
            for n, name in enumerate(names, 1)
        ]
        slices = [piece(name, endpoint("10.244.11.1", HERE)) for name in names]
        return {"services": cluster(*ones).services, "slices": cluster(*slices).slices}

    first = bgp(world(HERE_1, node("n2", 12), **services("web")), settings, None, HERE, OFF)
    assert first.router is not None
    assert len(first.router.services) == 1
    gone = world(node("n2", 12), **services("web"))
    second = bgp(gone, settings, None, HERE, first)
    assert second.router is not None
    assert second.router.services == ()
    assert (second.router.pods, second.router.sessions) == (first.router.pods, first.router.sessions)
    third = bgp(replace(gone, **services("web", "more")), settings, None, HERE, second)
    assert third.router == second.router
    back = bgp(world(HERE_1, node("n2", 12), **services("web", "more")), settings, None, HERE, third)
    assert back.router is not None
    assert len(back.router.services) == 2


def test_a_nodes_own_address_is_told_as_no_services() -> None:
    settings = replace(PLAIN, external_ips=True, load_balancer=True)
    its: dict[str, Any] = {"external_ips": (ip_address("192.0.2.12"),), "load_balancer": (ip_address("203.0.113.1"),)}
    given = cluster(service("web", "10.96.0.1,fd00:96::1", **its), piece("web", endpoint("10.244.11.1", HERE)))
    here: dict[str, Any] = {"services": given.services, "slices": given.slices}
    alone = bgp(world(HERE_1, **here), settings, None, HERE, OFF)
    assert alone.router is not None
    assert list(map(str, alone.router.services)) == ["192.0.2.12/32", "203.0.113.1/32"]
    both = bgp(world(HERE_1, node("n2", 12), **here), settings, None, HERE, alone)
    assert both.router is not None
    assert list(map(str, both.router.services)) == ["203.0.113.1/32"]
    (problem,) = both.problems
    assert (problem.kind, str(problem.name), problem.field) == ("Service", "default/web", "spec.externalIPs[0]")
    # else BIRD has the way to n2 end in a blackhole here, and with it those to all its pods
    assert "192.0.2.12/32" not in bird_config(both.router)
    again = bgp(world(HERE_1, node("n2", 12), **here), settings, None, HERE, both)
    assert again.prefixes is both.prefixes


@pytest.mark.parametrize(
    ("told", "is_taken"),
    [
        pytest.param("10.244.11.0/24", False, id="the node's own pods"),
        pytest.param("10.244.11.128/25", False, id="some of them"),
        pytest.param("10.244.12.7/32", False, id="one of another node's"),
        pytest.param("10.244.12.0/24", True, id="another node's, which may be known by routers alone"),
        pytest.param("10.244.0.0/16", True, id="all nodes'"),
        pytest.param("10.1.0.0/16", True, id="somebody else's"),
    ],
)
def test_no_router_is_believed_with_parts_of_nodes_pods(told: str, *, is_taken: bool) -> None:
    asked = replace(PEER, imports=(within(ip_network("10.0.0.0/8")),))
    router = made(world(HERE_1, node("n2", 12), peers=(asked,)), replace(PLAIN, peers_nodes=False)).router
    assert router is not None
    (session,) = (one for one in router.sessions if one.about == "BGPPeer tor")
    fitting = (one for one in session.imports if any(_has(part, IPv4Network(told)) for part in one.prefixes or ()))
    assert next(fitting).accepts is is_taken


def _has(part: PrefixRange, network: IPv4Network) -> bool:
    wide = part.network
    return isinstance(wide, IPv4Network) and network.subnet_of(wide) and part.least <= network.prefixlen <= part.most


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
