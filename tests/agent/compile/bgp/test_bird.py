"""BIRD's whole configuration of a cluster, as it was looked at, and BIRD itself takes it."""

import base64
import subprocess
from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.bird import START, bird_config
from agent.compile.bgp.settings import BgpSettings, OptionPeer
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
from agent.model.ip_pool import IpPool
from agent.model.local import Device, FarGateway, Local
from agent.model.policy import Operator, Requirement, Selector
from tests.agent.compile.bgp.bgp_world import AT_ETH1, HERE_1, PEER, PLAIN, TOR, made, node, world
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service

GOLDEN = Path(__file__).with_name("golden")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


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
        FilterRule(accepts=False, origins=(Origin.PEERS,), interface="eth*", excepted=(within(ip_network("::/0")),)),
        FilterRule(
            accepts=True,
            prefixes=(within(ip_network("198.51.100.0/24")),),
            excepted=(PrefixRange(ip_network("198.51.100.128/25"), 26, 32),),
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

EVERYTHING_TOLD = tuple(PrefixRange(ip_network(text), 0, most) for text, most in (("0.0.0.0/0", 32), ("::/0", 128)))
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
            slices=cluster(
                piece("web", endpoint("10.244.1.1")), piece("web", endpoint("fd00:244:1::1"), suffix="2")
            ).slices,
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
    "relay": (
        world(
            node(HERE, 11, rr_server="7"),
            node("n2", 12, rr_client="7"),
            node("n3", 13),
            peers=(PEER,),
            bgp_configurations={
                "default": BgpConfiguration("default", relayed=(within(ip_network("198.51.100.0/24")),))
            },
        ),
        PLAIN,
    ),
    "believed": (
        world(
            HERE_1,
            node("n2", 12),
            node("n3", 13, families="4"),
            peers=(replace(PEER, imports=EVERYTHING_TOLD),),
            bgp_configurations={"default": BgpConfiguration("default", relayed=EVERYTHING_TOLD)},
            ip_pools={"pods": IpPool("pods", (ip_network("10.50.0.0/16"),))},
            local=Local((Device(2, "eth0", HERE_1.internal_ips),)),
        ),
        replace(PLAIN, service_cidrs=(ip_network("10.96.0.0/16"), ip_network("fd00:10:96::/112"))),
    ),
    "interface": (
        world(
            HERE_1,
            peers=(AT_ETH1, replace(AT_ETH1, name="right", interface="eth2.7")),
            bgp_neighbours=Neighbours({name: frozenset({IPv6Address("fe80::1")}) for name in ("eth1", "eth2.7")}),
        ),
        PLAIN,
    ),
    "inside": (
        world(
            HERE_1,
            node("n2", 12, families="4"),
            peers=(
                replace(PEER, name="near", asn=64512, ttl_security=True, bfd=Bfd(50, 50)),
                replace(PEER, name="far", asn=64512, address=ip_address("198.51.100.1")),
                replace(PEER, name="three", asn=64512, address=ip_address("192.0.2.3"), multihop=3, ttl_security=True),
                replace(PEER, name="other", local_asn=64700, asn=64700, address=ip_address("192.0.2.4")),
            ),
        ),
        replace(PLAIN, peers=(OptionPeer(ip_address("192.0.2.2"), 64512),), multihop=9),
    ),
    "far gateway": (
        world(
            HERE_1,
            node("n2", 12, families="4"),
            local=Local(
                (Device(2, "lo", HERE_1.internal_ips, loopback=True),),
                far_gateways=(
                    FarGateway(ip_network("0.0.0.0/0"), ip_address("192.0.2.1"), "eth0.5"),
                    FarGateway(ip_network("10.0.0.0/16"), ip_address("10.0.0.1"), "enp7s0"),
                    FarGateway(ip_network("::/0"), ip_address("2001:db8::1"), "eth0.5"),
                    FarGateway(ip_network("10.1.0.0/16"), ip_address("10.0.0.1"), "no'name"),
                ),
            ),
        ),
        PLAIN,
    ),
    "six alone": (world(node(HERE, 11, families="6"), node("n2", 12, families="6")), PLAIN),
}


TUNNELLED = {"relay": tuple(map(ip_address, ("192.0.2.12", "2001:db8::12")))}  # by the scenario's name
_SUBNETS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/64"))
SUBNETS = {"inside": _SUBNETS, "believed": _SUBNETS}


def test_a_routers_routes_are_kept_beyond_graceful_restart_where_that_is_asked_for_alone() -> None:
    asked = replace(PEER, name="kept", address=ip_address("192.0.2.2"), stale_s=600)
    found = made(world(HERE_1, node("n2", 12), peers=(PEER, asked)))
    assert found.router is not None
    said = bird_config(found.router)
    assert said.count("long lived graceful restart on;") == 1
    # of a router without either line its own word would count on how long
    assert said.count("long lived graceful restart o") == len(found.router.sessions) == 4


@pytest.mark.parametrize("name", SCENARIOS)
def test_birds_configuration_is_what_was_looked_at_and_bird_takes_it(name: str, tmp_path: Path) -> None:
    given, settings = SCENARIOS[name]
    found = bgp(given, settings, None, HERE, OFF, TUNNELLED.get(name, ()), SUBNETS.get(name, ()))
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
