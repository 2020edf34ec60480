"""What routes carry: communities and local preference, of Services, ranges and pods, or no route."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.compile.bgp.bird import bird_config
from agent.model.bgp_configuration import Advertisement
from agent.model.bgp_filter import BgpFilter, FilterRule, Origin
from agent.model.cluster import Cluster
from agent.model.community import MOST_COMMUNITIES, Marks, community, named_community
from tests.agent.compile.bgp.bgp_world import (
    BALANCED,
    HERE_1,
    PEER,
    PLAIN,
    at,
    configuration,
    made,
    node,
    with_services,
    world,
)
from tests.agent.compile.objects import HERE, cluster, endpoint, piece, service


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


def test_who_writes_an_address_that_another_wrote_before_puts_nothing_on_its_route() -> None:
    """Of his own Services' one address the marks of both count."""
    shared, mine = (ip_address("203.0.113.1"),), Marks((community("no-export"),), 200)
    first = service("b/web", external_ips=shared, marks=Marks((community("1:1"),), 90), created="2026-01-01T00:00:00Z")
    other = service("a/web", "10.96.0.9", external_ips=shared, marks=mine, created="2026-01-01T00:00:01Z")
    pieces = [piece(f"{namespace}/web", endpoint("10.244.11.1", HERE)) for namespace in "ab"]
    for order in ((first, other), (other, first)):
        known = cluster(*order, *pieces)
        given = world(HERE_1, services=known.services, slices=known.slices)
        found = made(given, replace(PLAIN, external_ips=True)).router
        assert found is not None
        (route,) = found.services
        assert (route.marks, route.service) == (first.marks, first.name)


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
