"""BGP's sessions and prefixes, and BIRD's configuration of them, which BIRD itself takes."""

import base64
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from agent.compile.bgp import OFF, Bgp, bgp
from agent.compile.bgp_own import EXCLUDED
from agent.compile.bgp_settings import BgpSettings, OptionPeer
from agent.compile.bird import START, bird_config
from agent.compile.remote import Remotes, Vantage, remotes, update
from agent.compile.settings import NetworkSettings
from agent.model.bgp import (
    AddPath,
    Bfd,
    BgpPeer,
    Neighbours,
    Password,
    Passwords,
    PeerExport,
    PrefixRange,
    within,
)
from agent.model.bgp_configuration import Advertisement, BgpConfiguration
from agent.model.bgp_filter import BgpFilter, Change, FilterRule, Origin
from agent.model.cluster import Cluster
from agent.model.community import Marks, community, named_community
from agent.model.node import Node
from agent.model.policy import Operator, Requirement, Selector
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service

GOLDEN = Path(__file__).with_name("bgp")
PLAIN = BgpSettings()
TOR = OptionPeer(ip_address("192.0.2.1"), 64600)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def node(name: str, number: int, *, families: str = "46", labels: Mapping[str, str] | None = None, **said: str) -> Node:
    """A node; annotations of kube-router's are given with underscores for what Python's names cannot have."""
    four, six = "4" in families, "6" in families
    return Node(
        name,
        tuple(map(ip_address, [f"192.0.2.{number}"] * four + [f"2001:db8::{number}"] * six)),
        tuple(map(ip_network, [f"10.244.{number}.0/24"] * four + [f"fd00:244:{number}::/64"] * six)),
        labels=tuple((labels or {}).items()),
        bgp=tuple(sorted((f"kube-router.io/{key.replace('__', '-').replace('_', '.')}", said[key]) for key in said)),
    )


def world(*nodes: Node, peers: tuple[BgpPeer, ...] = (), passwords: Passwords | None = None, **more: Any) -> Cluster:
    return Cluster(
        nodes={one.name: one for one in nodes},
        bgp_peers={one.name: one for one in peers},
        bgp_passwords=passwords or Passwords(),
        **more,
    )


def made(given: Cluster, settings: BgpSettings = PLAIN) -> Bgp:
    return bgp(given, settings, None, HERE, OFF)


def sessions(found: Bgp) -> dict[str, str]:
    """Who is at which address, by BIRD's names."""
    assert found.router is not None
    return {one.name: one.about for one in found.router.sessions}


HERE_1 = node(HERE, 11)
BEFORE = Selector((Requirement("rack", Operator.IN, frozenset({"r1"})),))
PEER = BgpPeer("tor", ip_address("192.0.2.1"), 64600)

AT_ETH1 = BgpPeer("left", None, 64600, interface="eth1", both_families=True, extended_next_hop=True)
LAB = BgpFilter(
    "lab",
    imports=(
        FilterRule(accepts=False, prefixes=(within(ip_network("198.51.100.128/25")),)),
        FilterRule(
            accepts=True,
            prefixes=(within(ip_network("198.51.100.0/24")), within(ip_network("2001:db8:51::/48"))),
            communities=(community("65000:1"), community("65000:1:2")),
            as_path=(64600, 64601),
            change=Change((community("65000:5"),), (community("65000:6"),), local_preference=200),
        ),
    ),
    exports=(
        FilterRule(
            accepts=True,
            prefixes=(within(ip_network("198.51.100.0/24")),),
            origins=(Origin.SERVICES,),
            change=Change((named_community("blue"),), med=7, prepends=(64512, 64512)),
        ),
        FilterRule(accepts=False, prefixes=(within(ip_network("fd00:244::/32")),), origins=(Origin.PODS,)),
        FilterRule(accepts=True, prefixes=(within(ip_network("192.0.2.0/24")),), origins=(Origin.PEERS,)),
    ),
)
EVERYWHERE = BgpConfiguration(
    "default",
    asn=64999,
    port=1179,
    hold_s=30,
    imports=(within(ip_network("192.0.2.0/24")),),
    communities={"blue": community("65000:77"), "rack": community("65000:1000")},
    advertisements=(Advertisement(ip_network("203.0.113.0/24"), Marks((named_community("blue"),), 300)),),
    aggregates=(ip_network("203.0.113.0/24"), ip_network("10.244.0.0/16")),
)
OF_RACK = BgpConfiguration(
    "rack",
    nodes=Selector((Requirement("rack", Operator.IN, frozenset({"r1"})),)),
    asn=64700,
    bfd=Bfd(100, 100),
    communities={"rack": community("65000:1001")},
)

SCENARIOS: dict[str, tuple[Cluster, BgpSettings]] = {
    "mesh": (world(HERE_1, node("n2", 12), node("n3", 13, families="4")), PLAIN),
    "reflector": (
        world(
            node(HERE, 11, rr_server="7"),
            node("n2", 12, rr_client="0.0.0.7"),
            node("n3", 13, rr_client="8"),
            node("n4", 14),
        ),
        PLAIN,
    ),
    "client": (
        world(node(HERE, 11, rr_client="7"), node("n2", 12, rr_server="7"), node("n3", 13, rr_server="8")),
        PLAIN,
    ),
    "options": (
        world(HERE_1, passwords=Passwords(of_options=(Password("of the options"),))),
        BgpSettings(
            peers=(replace(TOR, port=1179),), multihop=2, next_hop_self=False, restart_s=0, bfd=Bfd(100, 200, 5)
        ),
    ),
    "annotations": (
        world(
            node(
                HERE,
                11,
                node_asn="64700",
                peers=f"- {{remoteip: 192.0.2.1, remoteasn: 64600, port: 1179, localip: 192.0.2.11, password: "
                f"{encoded('of the node')}, bfd: {{enabled: true, desired_min_tx_interval: 300}}}}",
                path__prepend_as="64700",
                path__prepend_repeat__n="2",
                node_bgp_communities="65000:100, no-export, 4259840101",
                node_bgp_customimportreject="198.51.100.128/25",
                bgp__local__addresses="192.0.2.111",
            )
        ),
        replace(PLAIN, imports=(within(ip_network("198.51.100.0/24")),)),
    ),
    "resource": (
        world(
            HERE_1,
            peers=(
                replace(
                    PEER,
                    password_key="tor",  # noqa: S106
                    multihop=3,
                    ttl_security=True,
                    hold_s=30,
                    keepalive_s=10,
                    bfd=Bfd(50, 50, 3, is_graceful=True),
                    both_families=True,
                    imports=(PrefixRange(ip_network("0.0.0.0/0"), 0, 0), PrefixRange(ip_network("10.0.0.0/8"), 16, 24)),
                    import_limit=500,
                    export=PeerExport(
                        (community("65000:1:2"), community("rt:65000:5")), 20, 300, (64512, 64513), services=True
                    ),
                ),
                BgpPeer("v6", ip_address("2001:db8::1"), 64512, export=PeerExport(local_preference=50, pods=False)),
            ),
            passwords=Passwords({"tor": Password("of the file")}),
            services=cluster(service("web", "10.96.0.1,fd00:96::1")).services,
            slices=cluster(piece("web", endpoint("10.244.1.1"))).slices,
        ),
        replace(PLAIN, cluster_ips=True),
    ),
    "password between nodes": (
        world(HERE_1, node("n2", 12, families="4"), passwords=Passwords({"mesh": Password("of the mesh")})),
        replace(PLAIN, node_password_key="mesh"),  # noqa: S106
    ),
    "filters": (
        world(
            node(HERE, 11, labels={"rack": "r1"}),
            node("n2", 12),
            peers=(
                replace(
                    PEER,
                    filters=("lab",),
                    export=PeerExport((named_community("rack"),), local_preference=90),
                    stale_s=3600,
                    add_path=AddPath.BOTH,
                ),
                BgpPeer("v6", ip_address("2001:db8::1"), 64512, both_families=True, extended_next_hop=True),
            ),
            bgp_filters={"lab": LAB},
            bgp_configurations={"default": EVERYWHERE, "rack": OF_RACK},
            services=cluster(
                service("web", "10.96.0.1", load_balancer=(ip_address("203.0.113.1"),)),
                service("near", "10.96.0.2", load_balancer=(ip_address("203.0.113.2"),), external_local=True),
                service(
                    "marked",
                    "10.96.0.3",
                    load_balancer=(ip_address("198.51.100.9"),),
                    marks=Marks((community("65000:9"), named_community("rack")), 150),
                ),
            ).services,
            slices=cluster(*(piece(one, endpoint("10.244.11.1", HERE)) for one in ("web", "near", "marked"))).slices,
        ),
        replace(PLAIN, load_balancer=True),
    ),
    "interface": (
        world(
            HERE_1,
            peers=(AT_ETH1, replace(AT_ETH1, name="right", interface="eth2.7")),
            bgp_neighbours=Neighbours({name: frozenset({IPv6Address("fe80::1")}) for name in ("eth1", "eth2.7")}),
        ),
        PLAIN,
    ),
    "six alone": (world(node(HERE, 11, families="6"), node("n2", 12, families="6")), PLAIN),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_birds_configuration_is_what_was_looked_at_and_bird_takes_it(name: str, tmp_path: Path) -> None:
    found = made(*SCENARIOS[name])
    assert found.router is not None
    assert found.problems == ()
    text = bird_config(found.router)
    golden = GOLDEN / f"{name.replace(' ', '-')}.conf"
    assert text == golden.read_text()
    (tmp_path / "bird.conf").write_text(text)
    done = subprocess.run(
        ["bird", "-p", "-c", str(tmp_path / "bird.conf")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_bird_takes_what_it_starts_with(tmp_path: Path) -> None:
    (tmp_path / "bird.conf").write_text(START)
    subprocess.run(["bird", "-p", "-c", str(tmp_path / "bird.conf")], check=True)


@pytest.mark.parametrize("name", ["options", "annotations", "resource", "password between nodes"])
def test_no_password_is_shown(name: str) -> None:
    found = made(*SCENARIOS[name])
    assert found.router is not None
    said = repr(found) + repr(SCENARIOS[name]) + bird_config(found.router, with_passwords=False)
    for secret in ("of the options", "of the node", "of the file", "of the mesh"):
        assert secret not in said
        assert encoded(secret) not in said


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
            world(node(HERE, 11, peer_ips="192.0.2.1", peer_asns="64600")),
            replace(PLAIN, peers=(TOR,)),
            ["--peer-router-ips[0]"],
            id="options go before the Node's annotations",
        ),
        pytest.param(
            world(node(HERE, 11, labels={"rack": "r1"}), peers=(replace(PEER, nodes=BEFORE),)),
            PLAIN,
            ["BGPPeer tor"],
            id="a BGPPeer of the nodes that it selects",
        ),
        pytest.param(world(HERE_1, peers=(replace(PEER, nodes=BEFORE),)), PLAIN, [], id="and of no other"),
    ],
)
def test_who_is_a_peer(given: Cluster, settings: BgpSettings, names: list[str]) -> None:
    assert sorted(set(sessions(made(given, settings)).values())) == names


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
        pytest.param(
            world(node(HERE, 11, node_asn="0")),
            ("Node", "metadata.annotations['kube-router.io/node.asn']"),
            id="node.asn",
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
    beside = BgpPeer("beside", ip_address("192.0.2.77"), 64601)
    nodes = {**given.nodes, "n2": node("n2", 12)}
    found = made(replace(given, nodes=nodes, bgp_peers={**given.bgp_peers, "beside": beside}))
    assert [(one.kind, one.field) for one in found.problems] == [problem]
    assert {"Node n2", "BGPPeer beside"} <= {*sessions(found).values()}


def test_without_the_nodes_password_no_node_is_a_peer_and_others_are() -> None:
    given = world(HERE_1, node("n2", 12), peers=(PEER,))
    found = made(given, replace(PLAIN, node_password_key="mesh"))  # noqa: S106
    assert [(one.kind, one.field) for one in found.problems] == [("Node", "--bgp-node-password-key")]
    assert [*sessions(found).values()] == ["BGPPeer tor"]


READY = piece("web", endpoint("10.244.11.1", HERE))
FAR = piece("web", endpoint("10.244.12.1", "n2"))
GOING = piece("web", endpoint("10.244.11.1", HERE, ready=False, serving=True, terminating=True))
LB: dict[str, Any] = {"load_balancer": (ip_address("203.0.113.1"),)}
ALL = replace(PLAIN, cluster_ips=True, external_ips=True, load_balancer=True)


@pytest.mark.parametrize(
    ("one", "slices", "settings", "told"),
    [
        pytest.param(service(**LB), READY, PLAIN, [], id="nothing unless it is asked for"),
        pytest.param(service(**LB), READY, ALL, ["10.96.0.1/32", "203.0.113.1/32"], id="what the options name"),
        pytest.param(service(**LB), FAR, ALL, ["10.96.0.1/32", "203.0.113.1/32"], id="served by another node's pod"),
        pytest.param(service(**LB), piece("web"), ALL, [], id="nobody would answer"),
        pytest.param(service(**LB), GOING, ALL, [], id="the last endpoint is going"),
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
            service(external_ips=(ip_address("2001:db8:9::1"),)),
            READY,
            replace(PLAIN, external_ips=True),
            ["2001:db8:9::1/128"],
            id="an external one of IPv6",
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


# ---- BGPConfigurations, BGPFilters, aggregates, what routes carry ---------------------------------------------------


def configuration(name: str = "default", **said: Any) -> dict[str, BgpConfiguration]:
    return {name: BgpConfiguration(name, **said)}


def at(number: int, **marks: Any) -> Any:
    return service(f"web{number}", f"10.96.0.{number}", load_balancer=(ip_address(f"203.0.113.{number}"),), **marks)


def with_services(*ones: Any, here: Node = HERE_1, **more: Any) -> Cluster:
    known = cluster(*ones, *(piece(one.name.name, endpoint("10.244.11.1", HERE)) for one in ones))
    return world(here, services=known.services, slices=known.slices, **more)


BALANCED = replace(PLAIN, load_balancer=True)
AGGREGATE = configuration(aggregates=(ip_network("203.0.113.0/24"),))


@pytest.mark.parametrize(
    ("annotated", "configurations", "own"),
    [
        pytest.param({}, {}, 64512, id="the option"),
        pytest.param({}, configuration(asn=65001), 65001, id="a BGPConfiguration goes before it"),
        pytest.param(
            {},
            configuration("aaa", asn=65001) | configuration("rack", asn=65002, nodes=BEFORE),
            65002,
            id="one for the node before one for all",
        ),
        pytest.param(
            {}, configuration(asn=65002, nodes=BEFORE, is_usable=False), 64512, id="whose nobody knows is none's"
        ),
        pytest.param({"node_asn": "65003"}, configuration(asn=65001), 65003, id="the Node's annotation before all"),
    ],
)
def test_what_goes_before_what(annotated: dict[str, str], configurations: Any, own: int) -> None:
    given = world(node(HERE, 11, labels={"rack": "r1"}, **annotated), node("n2", 12), bgp_configurations=configurations)
    router = made(given).router
    assert router is not None
    assert router.asn == own
    theirs = 65001 if any(one.asn == 65001 for one in configurations.values()) else 64512
    assert {one.asn for one in router.sessions} == {theirs}, "n2 has no rack and no annotation"


def test_a_node_that_a_configuration_takes_out_of_the_mesh_is_nobodys_peer() -> None:
    alone = configuration(peers_nodes=False, nodes=BEFORE)
    far = node("n2", 12, labels={"rack": "r1"})
    found = made(world(HERE_1, far, node("n3", 13), bgp_configurations=alone))
    assert {*sessions(found).values()} == {"Node n3"}


def test_a_configuration_that_changes_is_followed_also_in_what_services_are_told_of() -> None:
    given = with_services(at(1))
    first = bgp(given, PLAIN, None, HERE, OFF)
    assert first.router is not None
    assert first.router.services == ()
    second = bgp(replace(given, bgp_configurations=configuration(load_balancer=True)), PLAIN, None, HERE, first)
    assert second.router is not None
    assert list(map(str, second.router.services)) == ["203.0.113.1/32"]


@pytest.mark.parametrize(
    ("ones", "services", "aggregates"),
    [
        pytest.param((at(1),), [], ["203.0.113.0/24"], id="it stands for what is within it"),
        pytest.param((at(1, external_local=True),), ["203.0.113.1/32"], [], id="not for what some nodes alone serve"),
        pytest.param(
            (service("out", load_balancer=(ip_address("198.51.100.1"),)),),
            ["198.51.100.1/32"],
            [],
            id="nothing within it",
        ),
    ],
)
def test_an_aggregate_is_told_while_there_is_something_within_it(
    ones: tuple[Any, ...], services: list[str], aggregates: list[str]
) -> None:
    found = made(with_services(*ones, bgp_configurations=AGGREGATE), BALANCED).router
    assert found is not None
    assert (list(map(str, found.services)), list(map(str, found.aggregates))) == (services, aggregates)


@pytest.mark.parametrize(
    ("settings", "dropped"),
    [
        pytest.param(BALANCED, ["203.0.113.0/24", "10.244.0.0/16"], id="what nobody within them takes is dropped"),
        pytest.param(
            replace(BALANCED, drops_unserved=False),
            ["10.244.0.0/16"],
            id="without socket hooks the node's own packets to Services need their route",
        ),
    ],
)
def test_of_which_aggregates_the_kernel_has_a_blackhole(settings: BgpSettings, dropped: list[str]) -> None:
    both = configuration(aggregates=(ip_network("203.0.113.0/24"), ip_network("10.244.0.0/16")))
    found = made(with_services(at(1), bgp_configurations=both), settings).router
    assert found is not None
    assert list(map(str, found.dropped)) == dropped
    assert len(found.aggregates) == 2
    kernel = next(line for line in bird_config(found).splitlines() if "own_aggregates4" in line and "export" in line)
    assert [one for one in ("203.0.113.0/24", "10.244.0.0/16") if one in kernel] == dropped


def test_an_aggregate_goes_with_the_last_service_within_it() -> None:
    given = with_services(at(1), bgp_configurations=AGGREGATE)
    first = bgp(given, BALANCED, None, HERE, OFF)
    second = bgp(replace(given, slices={}), BALANCED, None, HERE, first)
    assert first.router is not None
    assert second.router is not None
    assert (len(first.router.aggregates), second.router.aggregates) == (1, ())


@pytest.mark.parametrize(
    ("changed", "settings"),
    [
        pytest.param({"labels": {EXCLUDED: ""}}, BALANCED, id="the label that load balancers go by"),
        pytest.param({"is_leaving": True}, BALANCED, id="it is about to be deleted"),
        pytest.param(
            {"is_cordoned": True}, replace(BALANCED, leaves_when_cordoned=True), id="cordoned, where that counts"
        ),
    ],
)
def test_a_node_that_goes_tells_of_no_services_and_goes_on_telling_of_its_pods(
    changed: dict[str, Any], settings: BgpSettings
) -> None:
    labels = changed.pop("labels", {})
    given = with_services(at(1), at(2), bgp_configurations=AGGREGATE)
    first = bgp(given, settings, None, HERE, OFF)
    going = replace(node(HERE, 11, labels=labels), **changed)
    found = bgp(replace(given, nodes={HERE: going}), settings, None, HERE, first).router
    assert found is not None
    assert (found.services, found.aggregates) == ((), ())
    assert len(found.pods) == 2
    stays = bgp(replace(given, nodes={HERE: replace(HERE_1, is_cordoned=True)}), BALANCED, None, HERE, first).router
    assert stays is not None
    assert stays.aggregates


def test_two_services_at_one_address_give_its_route_the_marks_of_both() -> None:
    other = service(
        "zeb", "10.96.0.9", load_balancer=(ip_address("203.0.113.1"),), marks=Marks((community("1:2"),), 50)
    )
    found = made(with_services(at(1, marks=Marks((community("1:1"),), 90)), other), BALANCED).router
    assert found is not None
    assert [one.marks for one in found.services] == [Marks((community("1:1"), community("1:2")), 90)]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param(
            with_services(at(1, marks=Marks((community("1:1"), named_community("lost"))))),
            ("Service", "metadata.annotations['sluiceway.io/bgp-communities'][1]"),
            id="by a name that nobody gives",
        ),
        pytest.param(
            with_services(
                at(1),
                bgp_configurations=configuration(
                    advertisements=(Advertisement(ip_network("203.0.113.0/24"), Marks((named_community("lost"),))),)
                ),
            ),
            ("Service", "--router"),
            id="by a name in a BGPConfiguration",
        ),
        pytest.param(
            with_services(
                at(1),
                bgp_configurations=configuration(
                    advertisements=(Advertisement(ip_network("203.0.113.0/24"), Marks(is_known=False)),)
                ),
            ),
            ("Service", "--router"),
            id="a BGPConfiguration cannot be read",
        ),
    ],
)
def test_what_should_carry_a_community_is_never_told_without_it(given: Cluster, problem: tuple[str, str]) -> None:
    found = made(given, BALANCED)
    assert [(one.kind, one.field) for one in found.problems] == [problem]
    assert found.router is not None
    assert found.router.services == ()


def test_pods_that_should_carry_a_community_are_announced_to_nodes_and_to_no_router() -> None:
    lost = Advertisement(ip_network("10.244.0.0/16"), Marks((named_community("lost"),)))
    open_to_all = BgpFilter("open", exports=(FilterRule(accepts=True, origins=(Origin.PODS,)),))
    found = made(
        world(
            HERE_1,
            node("n2", 12),
            peers=(replace(PEER, filters=("open",)),),
            bgp_filters={"open": open_to_all},
            bgp_configurations=configuration(advertisements=(lost,)),
        )
    )
    assert [(one.kind, one.field) for one in found.problems] == [("Node", "spec.podCIDRs")]
    assert found.router is not None
    text = bird_config(found.router)
    (out,) = (part for part in text.split("\nfilter ") if part.startswith("out_peer_192_0_2_1_4"))
    assert out.splitlines()[2].split(" then ") == [
        '  if (proto = "own_pods4" || proto = "own_aggregates4") && net ~ [ 10.244.11.0/24{24,24} ]',
        "reject;",
    ]


def test_what_a_range_carries_no_other_node_is_told() -> None:
    carries = Advertisement(ip_network("10.244.0.0/16"), Marks((community("no-export"),), 7))
    found = made(world(HERE_1, node("n2", 12), bgp_configurations=configuration(advertisements=(carries,)))).router
    assert found is not None
    text = bird_config(found)
    (out,) = (part for part in text.split("\nfilter ") if part.startswith("out_node_192_0_2_12_4"))
    assert out.splitlines()[1:5] == [
        *(f"  bgp_{kind}community.empty;" for kind in ("", "ext_", "large_")),
        "  unset(bgp_local_pref);",
    ]


@pytest.mark.parametrize(
    ("peer", "filters", "problem"),
    [
        pytest.param(
            {"filters": ("lab", "lost")}, {"lab": BgpFilter("lab")}, "spec.filters[1]", id="that is not there"
        ),
        pytest.param(
            {"filters": ("lab",)},
            {"lab": BgpFilter("lab", is_usable=False)},
            "spec.filters[0]",
            id="that cannot be read",
        ),
        pytest.param(
            {"filters": ("lab",)},
            {"lab": BgpFilter("lab", imports=(FilterRule(accepts=False, communities=(named_community("lost"),)),))},
            "spec.filters[0]",
            id="with an unknown name",
        ),
        pytest.param(
            {"export": PeerExport((community("1:1"), named_community("lost")))},
            {},
            "spec.export.communities[1]",
            id="none, and an unknown name of its own",
        ),
    ],
)
def test_a_peer_with_a_filter_has_no_session_rather_than_one_without(
    peer: dict[str, Any], filters: dict[str, BgpFilter], problem: str
) -> None:
    found = made(
        world(
            HERE_1,
            peers=(replace(PEER, **peer), replace(PEER, name="v6", address=ip_address("2001:db8::9"))),
            bgp_filters=filters,
        )
    )
    assert [(one.kind, str(one.name), one.field) for one in found.problems] == [("BGPPeer", "tor", problem)]
    assert [*sessions(found).values()] == ["BGPPeer v6"]
