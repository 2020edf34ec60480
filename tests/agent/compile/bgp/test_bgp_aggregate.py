"""What a node tells of Services: by an aggregate in their place, and nothing when it goes."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from agent.compile.bgp.bgp import OFF, bgp
from agent.compile.bgp.bird import bird_config
from agent.compile.bgp.settings import BgpSettings, bgp_settings
from agent.compile.leaving import EXCLUDED
from agent.options.config import Options
from agent.serve.bgp_report import made as report_of
from tests.agent.compile.bgp.bgp_world import (
    AGGREGATE,
    BALANCED,
    HERE_1,
    OF_RACK_1,
    PEER,
    at,
    configuration,
    made,
    node,
    with_services,
    world,
)
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service


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
        pytest.param("192.0.2.0/24", "192.0.2.0/24", (), "is on the subnet 192.0.2.0/24", id="their subnet itself"),
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
def test_an_aggregate_by_which_a_node_would_lose_others_is_none(
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
