"""A Service that asks for more than there is room for at all costs what it costs to say so, and no other Service."""

import tracemalloc
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from agent.compile.desired import desired
from agent.compile.frontend import frontends
from agent.compile.service_room import ServiceRoom, TooMuch
from agent.compile.settings import Settings
from agent.model.address import Family, parse_address, parse_network
from agent.model.service import EndpointPort, EndpointSlice, Protocol, Service, ServicePort, endpoint_slice
from tests.agent.compile.objects import FRESH, HERE, HTTP, cluster, endpoint, name, piece, service, shown
from tests.agent.compile.test_large_policy import lines_of

ROOM = ServiceRoom(services=4096, backends=4096, ranges=4096)
SETTINGS = Settings(HERE, service_room=ROOM)
OTHER = (service("z", "10.96.0.9"), piece("z", endpoint("10.0.0.9")))
SERVED = {"10.96.0.9:80/TCP in": "10.0.0.9:8080"}
MANY = 300


def ports(count: int, *, node_ports: bool = False) -> tuple[ServicePort, ...]:
    return tuple(ServicePort(f"p{at}", Protocol.TCP, 1000 + at, 30000 + at if node_ports else 0) for at in range(count))


def addresses(count: int) -> tuple[IPv4Address, ...]:
    return tuple(IPv4Address(0xCB007100 + at) for at in range(count))


def slice_of(owner: str, count: int, endpoints: int) -> EndpointSlice:
    found = tuple(EndpointPort(f"p{at}", Protocol.TCP, 8000 + at) for at in range(count))
    ends = [endpoint(str(IPv4Address(0x0A010000 + at))) for at in range(endpoints)]
    return endpoint_slice(name(f"{owner}-1"), name(owner), found, Family.IPV4, ends)


RANGES = tuple(parse_network(f"{IPv4Address(0xCB007100 + at)}/32") for at in range(MANY))
BALANCED = service(ports=ports(MANY), load_balancer=(parse_address("203.0.113.1"),), source_ranges=RANGES)


@pytest.mark.parametrize(
    ("given", "pieces", "option"),
    [
        pytest.param(service(ports=ports(MANY), external_ips=addresses(MANY)), (), "--max-services", id="addresses"),
        pytest.param(service(ports=ports(MANY)), (slice_of("web", MANY, MANY),), "--max-backends", id="endpoints"),
        pytest.param(BALANCED, (), "--max-services", id="ranges of sources"),
    ],
)
def test_what_one_service_multiplies_to_is_refused_before_it_is_made(
    given: Service, pieces: tuple[EndpointSlice, ...], option: str
) -> None:
    tracemalloc.start()
    found = desired(cluster(given, *pieces, *OTHER), SETTINGS, FRESH)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert shown(found) == SERVED
    (problem,) = found.problems
    assert (problem.kind, str(problem.name)) == ("Service", "default/web")
    assert f"than the 4096 there is room for; leave some out, or raise {option}" in problem.text
    assert peak < 8 << 20


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(service(ports=ports(7), external_ips=addresses(5)), id="external addresses"),
        pytest.param(service(ports=ports(7, node_ports=True), external_ips=addresses(5)), id="and node ports"),
        pytest.param(service(ports=(*ports(3, node_ports=True), HTTP)), id="some ports with node ports"),
        pytest.param(service(ip="10.96.0.1,fd00::1", ports=ports(3, node_ports=True)), id="both families"),
        pytest.param(service(ports=ports(3), external_ips=addresses(2), load_balancer=addresses(2)), id="twice"),
    ],
)
def test_as_much_as_there_is_room_for_is_made(given: Service) -> None:
    count = len(frontends(given).entries)
    assert len(frontends(given, room=count).entries) == count
    with pytest.raises(TooMuch):
        frontends(given, room=count - 1)


def test_a_service_that_becomes_too_much_is_served_again_when_it_is_less() -> None:
    small = service(ports=ports(2), external_ips=addresses(2))
    before = desired(cluster(small, slice_of("web", 2, 1), *OTHER), SETTINGS, FRESH)
    large = replace(
        before.source, services={**before.source.services, small.name: service(external_ips=addresses(9999))}
    )
    between = desired(large, SETTINGS, before)
    assert shown(between) == SERVED
    assert shown(desired(before.source, SETTINGS, between)) == shown(before)


def test_many_ports_cost_no_more_than_there_are_endpoints_behind_them() -> None:
    """Not each port of the Service times each of its slices."""

    def work(count: int) -> int:
        given = cluster(service(ports=ports(count)), slice_of("web", count, 1))
        return lines_of(lambda: desired(given, Settings(HERE), FRESH))

    assert work(2000) < 5 * work(500)
