"""What BGPConfigurations and BGPFilters change of it: what goes before what, aggregates, and what routes carry."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.own import EXCLUDED
from agent.compile.bgp.settings import BgpSettings, bgp_settings
from agent.model.bgp import PeerExport, within
from agent.model.bgp_configuration import Advertisement, BgpConfiguration
from agent.model.bgp_filter import BgpFilter, FilterRule, Origin
from agent.model.cluster import Cluster
from agent.model.community import MOST_COMMUNITIES, Marks, community, named_community
from agent.model.node import Node
from agent.options.config import Options
from agent.serve.bgp_report import made as report_of
from tests.agent.compile.bgp.bgp_world import HERE_1, OF_RACK_1, PEER, PLAIN, made, node, sessions, world
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service


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


N2 = node("n2", 12)


@pytest.mark.parametrize(
    ("wide", "subnet", "peers", "lost"),
    [
        pytest.param("192.0.2.0/28", "192.0.2.0/24", (), "192.0.2.12 of Node n2", id="a part of the nodes' subnet"),
        pytest.param("192.0.2.0/24", "192.0.2.0/24", (), "", id="their subnet itself, whose own route goes before"),
        pytest.param("192.0.0.0/8", "192.0.2.0/24", (), "", id="a range around it"),
        pytest.param("192.0.0.0/8", "192.0.2.0/29", (), "192.0.2.12 of Node n2", id="one around a node elsewhere"),
        pytest.param("2001:db8::/64", "192.0.2.0/24", (), "2001:db8::12 of Node n2", id="of IPv6"),
        pytest.param("203.0.113.0/24", "192.0.2.0/24", (), "", id="a range without nodes"),
        pytest.param(
            "203.0.113.0/24",
            "192.0.2.0/24",
            (replace(PEER, address=ip_address("203.0.113.200"), multihop=3),),
            "203.0.113.200 of BGPPeer tor",
            id="one with a router that is a peer",
        ),
        pytest.param(
            "203.0.113.0/24",
            "192.0.2.0/24",
            (replace(PEER, address=ip_address("203.0.113.200"), nodes=OF_RACK_1),),
            "",
            id="one with a router that is another node's",
        ),
    ],
)
def test_an_aggregate_by_whose_blackhole_a_node_would_lose_others_is_none(
    wide: str, subnet: str, peers: tuple[Any, ...], lost: str
) -> None:
    one = service("web", "10.96.0.9", load_balancer=(next(ip_network(wide).hosts()),))
    known = cluster(one, piece("web", endpoint("10.244.11.1", HERE)))
    more: dict[str, Any] = {"services": known.services, "slices": known.slices}
    given = world(HERE_1, N2, peers=peers, bgp_configurations=configuration(aggregates=(ip_network(wide),)), **more)
    found = bgp(given, BALANCED, None, HERE, OFF, (), (ip_network(subnet),))
    again = bgp(replace(given, services={**known.services}), BALANCED, None, HERE, found, (), (ip_network(subnet),))
    for now in (found, again):
        assert now.router is not None
        told = [one for one in now.router.services if one.network.prefixlen == one.network.max_prefixlen]
        assert (len(now.router.aggregates), len(now.router.dropped)) == ((0, 0) if lost else (1, 1))
        assert bool(told) is (bool(lost) and ip_network(wide).version == 4)
        problems = [(one.kind, one.field) for one in now.problems if lost and lost in one.text]
        assert problems == ([("BGPConfiguration", "spec.aggregates")] if lost else [])


def test_an_aggregate_goes_with_the_last_service_within_it() -> None:
    given = with_services(at(1), bgp_configurations=AGGREGATE)
    first = bgp(given, BALANCED, None, HERE, OFF)
    second = bgp(replace(given, slices={}), BALANCED, None, HERE, first)
    assert first.router is not None
    assert second.router is not None
    assert (len(first.router.aggregates), second.router.aggregates) == (1, ())


@pytest.mark.parametrize(
    ("changed", "settings", "why"),
    [
        pytest.param(
            {"labels": {EXCLUDED: ""}},
            BALANCED,
            f"{EXCLUDED}, and --ignore-exclude-lb is off",
            id="the label that load balancers go by",
        ),
        pytest.param({"is_leaving": True}, BALANCED, "deleted", id="it is about to be deleted"),
        pytest.param(
            {"is_cordoned": True},
            replace(BALANCED, leaves_when_cordoned=True),
            "cordoned",
            id="cordoned, where that counts",
        ),
    ],
)
def test_a_node_that_goes_tells_of_no_services_and_goes_on_telling_of_its_pods(
    changed: dict[str, Any], settings: BgpSettings, why: str
) -> None:
    labels = changed.pop("labels", {})
    given = with_services(at(1), at(2), bgp_configurations=AGGREGATE)
    first = bgp(given, settings, None, HERE, OFF)
    going = replace(node(HERE, 11, labels=labels), **changed)
    found = bgp(replace(given, nodes={HERE: going}), settings, None, HERE, first).router
    assert found is not None
    assert (found.services, found.aggregates) == ((), ())
    assert len(found.pods) == 2
    assert why in report_of(found).why_gone
    stays = bgp(replace(given, nodes={HERE: replace(HERE_1, is_cordoned=True)}), BALANCED, None, HERE, first).router
    assert stays is not None
    assert stays.aggregates
    assert not stays.why_gone


def test_a_node_that_balancers_leave_out_tells_of_services_where_that_is_to_count_for_nothing() -> None:
    given = with_services(at(1), at(2), bgp_configurations=AGGREGATE)
    labelled = replace(given, nodes={HERE: node(HERE, 11, labels={EXCLUDED: ""})})
    ignoring = bgp_settings(Options(router=True, advertise_loadbalancer_ip=True, ignore_exclude_lb=True))
    assert ignoring is not None
    found, plain = made(labelled, ignoring).router, made(given, ignoring).router
    assert found is not None
    assert plain is not None
    assert found.aggregates
    assert (found.services, found.aggregates, found.why_gone) == (plain.services, plain.aggregates, "")
    leaving = replace(labelled, nodes={HERE: replace(labelled.nodes[HERE], is_leaving=True)})
    gone = made(leaving, ignoring).router
    assert gone is not None
    assert (gone.aggregates, "deleted" in gone.why_gone) == ((), True)


def test_two_services_at_one_address_give_its_route_the_marks_of_both() -> None:
    other = service(
        "zeb", "10.96.0.9", load_balancer=(ip_address("203.0.113.1"),), marks=Marks((community("1:2"),), 50)
    )
    found = made(with_services(at(1, marks=Marks((community("1:1"),), 90)), other), BALANCED).router
    assert found is not None
    assert [one.marks for one in found.services] == [Marks((community("1:1"), community("1:2")), 90)]


def test_who_writes_an_address_that_another_was_given_puts_nothing_on_its_route() -> None:
    given, mine = at(1, marks=Marks((community("1:1"),), 90)), Marks((community("no-export"),), 200)
    for name in ("aaa", "zeb"):
        other = service(name, "10.96.0.9", external_ips=(ip_address("203.0.113.1"),), marks=mine)
        found = made(with_services(given, other), replace(BALANCED, external_ips=True)).router
        assert found is not None
        (route,) = found.services
        assert (route.marks, route.service) == (given.marks, given.name)


def test_the_marks_of_several_services_at_one_address_fill_no_message() -> None:
    many = [
        service(
            f"web{number}",
            f"10.96.0.{number}",
            external_ips=(ip_address("203.0.113.1"),),
            marks=Marks(tuple(community(f"{number}:{one}") for one in range(MOST_COMMUNITIES))),
        )
        for number in range(1, 5)
    ]
    found = made(with_services(*many), replace(PLAIN, external_ips=True)).router
    assert found is not None
    (route,) = found.services
    assert route.marks.communities == many[0].marks.communities


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
