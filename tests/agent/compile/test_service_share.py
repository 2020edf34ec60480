"""Where Services ask for more than maps have, no namespace's take the place that others' have, on any node."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.compile import service_share
from agent.compile.desired import Desired, desired
from agent.compile.service_need import need
from agent.compile.service_room import ServiceRoom
from agent.compile.settings import Settings
from agent.model.address import Family, parse_address, parse_network
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.name import MOST_TOLD, ObjectName
from agent.model.service import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Protocol,
    Scheduler,
    Service,
    ServicePort,
    WeightOf,
    Weights,
    endpoint_slice,
)
from agent.options.choices import L2Announce, ServiceProxy
from agent.reconcile.round import Rounds
from tests.agent.compile.bgp.bgp_world import BALANCED, node
from tests.agent.compile.objects import FRESH, HERE, Object, cluster, endpoint, name, piece, service
from tests.agent.compile.test_large_policy import lines_of
from tests.agent.reconcile.kernels import MemoryKernel, assert_no_packet_meets_a_gap, started

ROOM = 24
SETTINGS = Settings(HERE, service_room=ServiceRoom(services=ROOM))
OF_BACKENDS = Settings(HERE, service_room=ServiceRoom(backends=ROOM))


def some(namespace: str, count: int, day: int = 1, *, ends: int = 0, **fields: Any) -> list[Object]:
    """Services of a namespace, made one after the other on a day, each with one cluster IP and port."""
    found: list[Object] = []
    for at in range(count):
        text, ip = f"{namespace}/s{at:02}", IPv4Address(0x0A600000 + (sum(namespace.encode()) << 8) + at)
        found.append(service(text, str(ip), created=f"2026-01-{day:02}T00:00:{at:02}Z", **fields))
        if ends:
            found.append(piece(text, *(endpoint(f"10.{day}.{at}.{end + 1}") for end in range(ends))))
    return found


def places(found: Desired) -> dict[str, int]:
    """How many Services of each namespace are served."""
    served: dict[str, int] = {}
    for one, records in found.services.records.items():
        served[one.namespace] = served.get(one.namespace, 0) + bool(records.records.of_map("services"))
    return served


def taken(found: Desired, which: str = "services") -> int:
    return sum(len(one.records.of_map(which)) for one in found.services.records.values())


ROWS = [
    pytest.param([some("a", 10), some("b", 14)], {"a": 10, "b": 14}, id="what fits is served, however unequal"),
    pytest.param([some("a", 10), some("loud", 99, 2)], {"a": 10, "loud": 14}, id="what was there stays"),
    pytest.param([some("a", 20), some("loud", 60, 2)], {"a": 18, "loud": 6}, id="all but half of an even share"),
    pytest.param([some("loud", 60), some("a", 6, 2)], {"loud": 18, "a": 6}, id="who comes later has a place"),
    pytest.param([some("loud", 60), some("a", 20, 2)], {"loud": 18, "a": 6}, id="which is half of an even share"),
    pytest.param(
        [some("loud", 60), *(some(namespace, 2, 2) for namespace in "abcd")],
        {"loud": 16, "a": 2, "b": 2, "c": 2, "d": 2},
        id="what others do not need is whoever's",
    ),
    pytest.param(
        [some("loud", 60), some("large", 16, 2), some("a", 2, 3)],
        {"loud": 17, "large": 5, "a": 2},
        id="who asks for little has all of it",
    ),
]


@pytest.mark.parametrize(("namespaces", "expected"), ROWS)
def test_each_namespace_is_sure_of_half_of_an_even_share_and_the_older_has_the_rest(
    namespaces: list[list[Object]], expected: dict[str, int]
) -> None:
    objects = [one for some_of in namespaces for one in some_of]
    found = desired(cluster(*objects), SETTINGS, FRESH)
    assert places(found) == expected
    assert taken(found) <= ROOM
    refused = {one.name for one in objects if isinstance(one, Service)} - {
        one for one, made in found.services.records.items() if made.records.of_map("services")
    }
    assert found.services.shares.refused.keys() == refused
    told = {problem.name for problem in found.problems}
    assert told <= refused
    for namespace in places(found):
        count = sum(one.namespace == namespace for one in refused)
        assert sum(one.namespace == namespace for one in told) == min(count, MOST_TOLD), "each node would log them all"


def test_of_one_namespace_the_older_have_the_places_whatever_they_are_called() -> None:
    objects, young = some("a", 30), service("a/0", "10.200.0.1", created="2026-02-01T00:00:00Z")
    found = desired(cluster(young, *objects), SETTINGS, FRESH)
    served = [str(one) for one, made in found.services.records.items() if made.records.of_map("services")]
    assert served == [f"a/s{at:02}" for at in range(ROOM)]


def test_who_has_no_place_is_told_and_what_to_do() -> None:
    found = desired(cluster(*some("a", 2), *some("loud", 60, 2)), SETTINGS, FRESH)
    problem = found.problems[0]
    assert (problem.kind, problem.field) == ("Service", "spec")
    assert problem.text == (
        "is not served: Services of all namespaces ask for more addresses with ports than the 24 there is room for, and"
        " those of 'loud' for more than their share; delete what is not needed there, or raise --max-services"
        " (of a namespace's the 32 oldest are told)"
    )


def test_when_it_is_less_again_all_are_served() -> None:
    quiet, loud = some("a", 10), some("loud", 60, 2)
    crowded = desired(cluster(*quiet, *loud), SETTINGS, FRESH)
    after = desired(cluster(*quiet, *loud[:14]), SETTINGS, crowded)
    assert places(after) == {"a": 10, "loud": 14}
    assert not after.problems
    assert not after.services.shares.refused


def test_backends_are_shared_out_too() -> None:
    quiet, loud = some("a", 3, 2, ends=2), some("loud", 20, ends=4)
    found = desired(cluster(*quiet, *loud), OF_BACKENDS, FRESH)
    assert places(found) == {"a": 3, "loud": 4}
    assert taken(found, "backends") == 3 * 2 + 4 * 4
    assert all("--max-backends" in problem.text for problem in found.problems)
    without = [one for one in loud if isinstance(one, Service)]
    assert places(desired(cluster(*quiet, *without), OF_BACKENDS, found)) == {"a": 3, "loud": 20}


WEIGHTED = Weights({(WeightOf.NODE, "elsewhere"): 255})


@pytest.mark.parametrize(
    ("room", "which", "option", "fields"),
    [
        pytest.param(
            ServiceRoom(ranges=ROOM),
            "source_ranges",
            "--max-services",
            {
                "load_balancer": (parse_address("203.0.113.1"),),
                "source_ranges": tuple(parse_network(f"198.51.{at}.0/24") for at in range(4)),
            },
            id="ranges of sources",
        ),
        pytest.param(ServiceRoom(tables=100), "maglevs", "--max-backends", {"weights": WEIGHTED}, id="tables"),
        pytest.param(ServiceRoom(rings=ROOM), "rings", "--max-services", {"scheduler": Scheduler.RR}, id="rings"),
    ],
)
def test_so_is_what_else_a_service_takes(room: ServiceRoom, which: str, option: str, fields: dict[str, Any]) -> None:
    objects = [*some("a", 1, 2, ends=1), *some("loud", 40, ends=2, **fields)]
    found = desired(cluster(*objects), Settings(HERE, service_room=room), FRESH)
    served = places(found)
    assert served["a"] == 1
    assert 0 < served["loud"] < 40
    assert taken(found, which) <= max(room.ranges, room.tables, room.rings)
    told = {
        problem.text.partition("or raise ")[2].split()[0] for problem in found.problems if "their share" in problem.text
    }
    assert told == {option}


def test_who_alone_asks_for_more_than_all_have_takes_no_place() -> None:
    much = service(
        "loud/much", "10.200.0.1", ports=tuple(ServicePort(str(at), Protocol.TCP, at) for at in range(1, 99))
    )
    found = desired(cluster(*some("a", 10), *some("loud", 14, 2), much), SETTINGS, FRESH)
    assert places(found) == {"a": 10, "loud": 14}
    assert [str(problem.name) for problem in found.problems] == ["loud/much"]


def test_where_another_proxy_serves_nobody_asks_for_a_place() -> None:
    found = desired(cluster(*some("loud", 60)), replace(SETTINGS, service_proxy=ServiceProxy.OFF), FRESH)
    assert not found.problems
    assert not found.services.shares.asking


EXTERNAL = (parse_address("203.0.113.7"), parse_address("203.0.113.8"))


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_every_node_says_the_same(node: str) -> None:
    """Its own endpoints, hints for it and its devices say nothing."""
    ends = [endpoint(f"10.9.0.{at}", f"n{at % 3}", for_zones=("z",) if at % 2 else ()) for at in range(1, 7)]
    objects: list[Object] = [*some("a", 4, 2, ends=3)]
    for at in range(8):
        one = service(f"loud/s{at}", f"10.98.0.{at}", external_ips=EXTERNAL, external_local=True)
        objects += [one, piece(f"loud/s{at}", *ends)]
    local = Local((Device(2, "eth0", EXTERNAL[:1]),), netns_cookie=1)
    here = replace(cluster(*objects), local=local) if node == "n1" else cluster(*objects, zone="z")
    found = desired(here, replace(OF_BACKENDS, node_name=node), FRESH)
    refused = {str(one) for one in found.services.shares.refused}
    assert refused == {"a/s02", "a/s03", *(f"loud/s{at}" for at in range(2, 8))}
    assert taken(found, "backends") <= ROOM


def test_an_address_of_a_service_without_a_place_is_announced_by_nobody() -> None:
    settings = replace(SETTINGS, l2_announce=L2Announce.EXTERNAL)
    uplink = Device(2, "eth0", (parse_address("192.0.2.1"),), mac=b"\2\0\0\0\0\1")
    given = (one for one in some("a", 30) if isinstance(one, Service))
    objects = [replace(one, external_ips=(IPv4Address(0xCB007100 + at),)) for at, one in enumerate(given)]

    def at(*given: Object) -> Cluster:
        return replace(cluster(*given, local=Local((uplink,), netns_cookie=1)), announcers=frozenset({HERE}))

    found = desired(at(*objects), settings, FRESH)
    assert {str(one.address) for one in found.announced} == {f"203.0.113.{at}" for at in range(ROOM // 3)}
    less = desired(at(*objects[20:]), settings, found)
    assert {str(one.address) for one in less.announced} == {f"203.0.113.{at}" for at in range(20, 28)}


def test_bgp_tells_of_no_service_without_a_place() -> None:
    settings = replace(SETTINGS, bgp=BALANCED)
    given = [one for one in some("a", 30, ends=1) if isinstance(one, Service)]
    objects = [replace(one, load_balancer=(IPv4Address(0xCB007100 + at),)) for at, one in enumerate(given)]
    ends = [piece(str(one.name), endpoint("10.1.0.1")) for one in given]

    def told(found: Desired) -> set[str]:
        assert found.bgp.router is not None
        return {str(one.network.network_address) for one in found.bgp.router.services}

    def at(first: int) -> Cluster:
        return replace(cluster(*objects[first:], *ends[first:]), nodes={HERE: node(HERE, 11)})

    found = desired(at(0), settings, FRESH)
    assert told(found) == {f"203.0.113.{number}" for number in range(ROOM // 3)}
    assert told(desired(at(20), settings, found)) == {f"203.0.113.{number}" for number in range(20, 28)}


NAMES = [f"{namespace}/{text}" for namespace in "abc" for text in "wxyz"]
named_services = st.builds(
    service,
    st.sampled_from(NAMES),
    ports=st.sampled_from([tuple(ServicePort(str(at), Protocol.TCP, at) for at in range(1, 1 + n)) for n in (1, 3, 9)]),
    created=st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
    external_local=st.booleans(),
    internal_local=st.booleans(),
    publish_not_ready=st.booleans(),
    scheduler=st.sampled_from([Scheduler.MAGLEV, Scheduler.RR]),
    weights=st.sampled_from([Weights(), WEIGHTED]),
)
nodes = st.sampled_from([HERE, "elsewhere"])
endpoints = st.builds(
    lambda at, node, **so: endpoint(f"10.0.0.{at}", node, **so),
    st.integers(1, 9),
    nodes,
    ready=st.booleans(),
    serving=st.booleans(),
    terminating=st.booleans(),
)
OF_NEED = ("services", "backends", "source_ranges", "maglevs", "rings")  # what is counted, by the maps it is for
SIZES = (16, 12, 16, 40, 12)
LIMITED = Settings(HERE, service_room=ServiceRoom(*SIZES))


def slice_of(one: Service, ends: Iterable[Endpoint]) -> EndpointSlice:
    found = tuple(EndpointPort(port.name, port.protocol, 8000 + port.port) for port in one.ports)
    return endpoint_slice(ObjectName(one.name.namespace, f"{one.name.name}-1"), one.name, found, Family.IPV4, ends)


@st.composite
def crowds(draw: st.DrawFn) -> Cluster:
    objects: list[Object] = []
    for at, one in enumerate(draw(st.lists(named_services, unique_by=lambda one: one.name))):
        own = replace(one, cluster_ips=(IPv4Address(0x0A600000 + NAMES.index(str(one.name))),))
        if draw(st.booleans()):
            own = replace(own, external_ips=(IPv4Address(0xCB007100 + at),))
        objects += [own, slice_of(own, draw(st.lists(endpoints, max_size=4)))]
    return cluster(*objects)


@settings(max_examples=150, deadline=None)
@given(st.lists(crowds(), min_size=1, max_size=4))
def test_who_has_a_place_does_not_depend_on_the_way_there(way: list[Cluster]) -> None:
    now = Desired()
    for step in way:
        now = desired(step, LIMITED, now)
    at_once = desired(way[-1], LIMITED, FRESH)
    assert now.services.shares == at_once.services.shares
    assert places(now) == places(at_once)
    assert sorted(now.problems) == sorted(at_once.problems)


@settings(max_examples=150, deadline=None)
@given(crowds())
def test_there_is_room_for_all_that_have_a_place_and_for_no_other_by_its_age(given: Cluster) -> None:
    found = desired(given, LIMITED, FRESH)
    assert all(taken(found, which) <= room for which, room in zip(OF_NEED, SIZES, strict=True))
    shares = found.services.shares
    for namespace, total in shares.totals.items():
        if all(2 * 3 * asked <= room for asked, room in zip(total, SIZES, strict=True)):
            assert not any(one.namespace == namespace for one in shares.crowded), "half of a third is sure"


@settings(max_examples=150, deadline=None)
@given(crowds())
def test_what_is_counted_is_never_less_than_what_is_made(given: Cluster) -> None:
    found = desired(given, Settings(HERE), FRESH)
    for of, one in found.services.records.items():
        counted = need(given.services[of], given.slices.get(of, ()), None, (30000, 32767), told=None)
        made = [
            len(one.records.of_map(which)) for which in ("services", "backends", "source_ranges", "maglevs", "rings")
        ]
        assert all(has <= asked for has, asked in zip(made, counted, strict=True))


def test_an_endpoint_of_another_namespace_has_nobodys_place_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not of endpoints that there is not enough."""
    asked: list[object] = []
    right = service_share._crowded  # noqa: SLF001  what is counted

    def noted(*given: Any) -> Any:
        asked.append(given)
        return right(*given)

    def work(count: int) -> int:
        before = desired(cluster(*some("a", 2, ends=2), *some("loud", count, 2)), SETTINGS, FRESH)
        more = piece("a/s00", endpoint("10.1.0.1"), endpoint("10.1.0.2"), endpoint("10.1.0.3"))
        after = replace(before.source, slices={**before.source.slices, name("a/s00"): (more,)})
        asked.clear()
        return lines_of(lambda: desired(after, SETTINGS, before))

    monkeypatch.setattr(service_share, "_crowded", noted)
    assert work(800) < 1.1 * work(100)
    assert not asked


def brought(rounds: Rounds, wanted: Cluster) -> None:
    for _ in rounds.round(wanted):
        pass


@pytest.mark.parametrize("which", ["services", "backends"])
def test_the_maps_have_place_for_a_namespace_that_comes_late_also_after_an_agent_that_had_none(which: str) -> None:
    """That of an earlier release gave places to who came first, and its maps are full of them."""
    kernel = MemoryKernel(**{which: ROOM})
    loud, late = some("loud", 60, ends=2), some("a", 2, 2, ends=2)
    earlier = started(kernel, Settings(HERE))
    brought(earlier, cluster(*loud))
    assert earlier.map_error is not None
    assert len(kernel.held(which)) == ROOM
    ours = Settings(HERE, service_room=ServiceRoom(**{which: ROOM}))
    shown = []
    for agent in range(3):
        rounds = started(kernel, ours)
        for _ in range(2):
            for _ in rounds.round(cluster(*loud, *late)):
                assert_no_packet_meets_a_gap(kernel)
            assert rounds.map_error is None, f"agent {agent}"
            shown.append(kernel.held("services"))
    assert shown == [shown[0]] * len(shown), "and no answer changes, whoever starts anew"
    asked = {str(key.addr.ipv4_mapped) for key in shown[0]}
    assert {str(one.cluster_ips[0]) for one in late if isinstance(one, Service)} <= asked
