"""What is unusual and no mistake, and BIRD takes it: long names, a family without an address, a Node that is gone."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.settings import BgpSettings, OptionPeer
from agent.model.bgp import BgpPeer, Neighbours
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
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service

LONG_DEVICE = "enp129s0f0np0.1"
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
