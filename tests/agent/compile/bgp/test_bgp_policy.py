"""What BGPConfigurations and BGPFilters change: what goes before what, and who has a session."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.settings import BgpSettings
from agent.model.bgp import PeerExport, within
from agent.model.bgp_filter import BgpFilter, FilterRule, Origin
from agent.model.community import community, named_community
from tests.agent.compile.bgp.bgp_world import (
    HERE_1,
    OF_RACK_1,
    PEER,
    PLAIN,
    at,
    configuration,
    made,
    node,
    sessions,
    with_services,
    world,
)
from tests.agent.compile.objects import HERE


@pytest.mark.parametrize(
    ("annotated", "configurations", "own"),
    [
        pytest.param({}, {}, 64512, id="the option"),
        pytest.param({}, configuration(asn=65001), 65001, id="a BGPConfiguration goes before it"),
        pytest.param(
            {},
            configuration("aaa", asn=65001) | configuration("rack", asn=65002, nodes=OF_RACK_1),
            65002,
            id="one for the node before one for all",
        ),
        pytest.param(
            {}, configuration(asn=65002, nodes=OF_RACK_1, is_usable=False), 64512, id="whose nobody knows is none's"
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


LONG = replace(PLAIN, restart_s=300, restart_time_s=300)
SAYS_SO = (replace(PEER, graceful_restart=True),)


@pytest.mark.parametrize(
    ("settings", "configurations", "peers", "restart_s"),
    [
        pytest.param(LONG, {}, (PEER,), 300, id="the option's time"),
        pytest.param(LONG, {}, SAYS_SO, 300, id="a BGPPeer that asks for it has the node's time"),
        pytest.param(LONG, configuration(restart_time_s=60), SAYS_SO, 60, id="which a BGPConfiguration may give"),
        pytest.param(replace(LONG, restart_s=0), {}, (PEER,), 0, id="none by option"),
        pytest.param(replace(LONG, restart_s=0), {}, SAYS_SO, 300, id="but of a BGPPeer that asks for it"),
        pytest.param(LONG, {}, (replace(PEER, restart_time_s=30),), 30, id="a BGPPeer's own time"),
        pytest.param(replace(LONG, restart_s=0), {}, (replace(PEER, restart_time_s=30),), 0, id="which asks for none"),
        pytest.param(LONG, configuration(restarts=True), (PEER,), 300, id="a BGPConfiguration that asks for it"),
        pytest.param(LONG, configuration(restarts=False), (PEER,), 0, id="or does not"),
        pytest.param(
            LONG,
            configuration(restart_time_s=60) | configuration("rack", restarts=True, nodes=OF_RACK_1),
            (PEER,),
            60,
            id="each field of a BGPConfiguration's counts by itself",
        ),
        pytest.param(
            LONG,
            configuration(restarts=False) | configuration("rack", restart_time_s=60, nodes=OF_RACK_1),
            (PEER,),
            0,
            id="a time alone asks for none",
        ),
    ],
)
def test_for_how_long_routes_are_kept(settings: BgpSettings, configurations: Any, peers: Any, restart_s: int) -> None:
    here = node(HERE, 11, labels={"rack": "r1"})
    router = made(world(here, peers=peers, bgp_configurations=configurations), settings).router
    assert router is not None
    assert [one.restart_s for one in router.sessions] == [restart_s]


def test_a_node_that_a_configuration_takes_out_of_the_mesh_is_nobodys_peer() -> None:
    alone = configuration(peers_nodes=False, nodes=OF_RACK_1)
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


@pytest.mark.parametrize(
    ("asn", "rules"),
    [
        pytest.param(64600, ["BGPFilter site export[0]", "BGPFilter site export[2]"], id="eBGP: of another AS"),
        pytest.param(64512, ["BGPFilter site export[1]", "BGPFilter site export[2]"], id="iBGP: of the same"),
    ],
)
def test_a_rule_is_of_the_peers_that_its_type_names(asn: int, rules: list[str]) -> None:
    exports = tuple(
        FilterRule(accepts=False, origins=(Origin.PEERS,), of_internal=kind) for kind in (False, True, None)
    )
    given = world(HERE_1, peers=(replace(PEER, asn=asn, filters=("site",)),))
    router = made(replace(given, bgp_filters={"site": BgpFilter("site", exports=exports)})).router
    assert router is not None
    assert [step.by for step in router.sessions[0].exports if "Filter" in step.by] == rules


def test_what_nodes_relay_is_what_routers_told_and_no_more() -> None:
    asked = configuration(relayed=(within(ip_network("198.51.100.0/24")),))
    router = made(world(HERE_1, node("n2", 12, families="4"), bgp_configurations=asked)).router
    assert router is not None
    (session,) = router.sessions
    own, told = session.exports
    assert (own.origins, told.origins, told.prefixes) == (
        (Origin.PODS,),
        (Origin.ROUTERS,),
        (within(ip_network("198.51.100.0/24")),),
    )
    assert session.imports[1].prefixes == told.prefixes
    assert told.by == "BGPConfiguration default relay"


def test_a_router_of_the_same_as_is_followed_onto_a_subnet_of_the_nodes() -> None:
    given = world(HERE_1, peers=(replace(PEER, asn=64512),))
    first = bgp(given, PLAIN, None, HERE, OFF)
    second = bgp(given, PLAIN, None, HERE, first, (), (ip_network("192.0.2.0/24"),))
    for found, is_direct in ((first, False), (second, True)):
        assert found.router is not None
        assert [one.is_direct for one in found.router.sessions] == [is_direct]


@pytest.mark.parametrize("source", ["198.51.100.11", "192.0.2.111"])
def test_a_router_of_the_same_as_is_near_by_the_address_that_the_node_speaks_from(source: str) -> None:
    given = world(HERE_1, peers=(replace(PEER, asn=64512, source=ip_address(source)),))
    found = bgp(given, PLAIN, None, HERE, OFF, (), (ip_network("192.0.2.0/24"), ip_network("198.51.100.11/32")))
    assert found.router is not None
    assert [one.is_direct for one in found.router.sessions] == [source == "192.0.2.111"]


def test_a_next_hop_that_moves_to_another_subnet_is_followed() -> None:
    given = world(HERE_1, node("n2", 12))
    first = bgp(given, PLAIN, None, HERE, OFF)
    far = (ip_address("192.0.2.12"),)
    second = bgp(given, PLAIN, None, HERE, first, far)
    assert second.router is not None
    assert second.router.tunnelled == far
    assert bgp(given, PLAIN, None, HERE, second, far) is second
