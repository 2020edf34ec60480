"""Where a Service is reached, by whom, and by which of its endpoints; and which external addresses it may have."""

from dataclasses import replace
from typing import Any

import pytest

from agent.compile.frontend import EXTERNAL, INTERNAL, frontends
from agent.compile.public_range import PublicRanges
from agent.model.address import parse_address, parse_network, unmapped
from agent.model.service import HostAddress, Protocol, Service, ServicePort
from maps import abi
from tests.agent.compile.objects import HTTP, service

CLUSTER_IP, EXTERNAL_IP, BALANCER, NODE_PORT = "10.96.0.1:80", "203.0.113.5:80", "203.0.113.6:80", "0.0.0.0:30080"
PUBLIC: dict[str, Any] = {
    "external_ips": (parse_address("203.0.113.5"),),
    "load_balancer": (parse_address("203.0.113.6"),),
    "ports": (replace(HTTP, node_port=30080),),
}


def reached(
    one: Service, ranges: PublicRanges | None = None, *, told: bool | None = None
) -> dict[tuple[str, abi.Scope], bool]:
    """Address, port and who asks, with whether the endpoints of this node alone serve him."""
    found = {}
    for entry in frontends(one, ranges, told=told).entries.values():
        key = abi.ServiceKey.unpack(entry.key)
        found[f"{unmapped(key.addr)}:{key.port}", abi.Scope(key.scope)] = entry.local
    return found


ALL, HERE = False, True


@pytest.mark.parametrize(
    ("site", "scope", "internal", "external", "both"),
    [
        # with internalTrafficPolicy Local, externalTrafficPolicy Local, both
        pytest.param(CLUSTER_IP, INTERNAL, HERE, ALL, HERE, id="59 a cluster IP goes by internalTrafficPolicy"),
        pytest.param(NODE_PORT, EXTERNAL, ALL, HERE, HERE, id="38 a node port goes by externalTrafficPolicy"),
        pytest.param(NODE_PORT, INTERNAL, ALL, ALL, ALL, id="39 inside a node port leads to all"),
        pytest.param(EXTERNAL_IP, EXTERNAL, ALL, HERE, HERE, id="50 an external IP goes by externalTrafficPolicy"),
        pytest.param(EXTERNAL_IP, INTERNAL, ALL, ALL, ALL, id="39 inside an external IP leads to all"),
        pytest.param(BALANCER, EXTERNAL, ALL, HERE, HERE, id="55 a balancer's address goes by externalTrafficPolicy"),
        pytest.param(BALANCER, INTERNAL, ALL, ALL, ALL, id="51 39 inside a balancer's address leads to all"),
    ],
)
def test_which_endpoints_serve_whom(site: str, scope: abi.Scope, *, internal: bool, external: bool, both: bool) -> None:
    def local(*, here: bool, there: bool) -> bool:
        return reached(service(**PUBLIC, internal_local=here, external_local=there))[site, scope]

    assert local(here=False, there=False) is ALL
    assert local(here=True, there=False) is internal
    assert local(here=False, there=True) is external
    assert local(here=True, there=True) is both


def test_another_proxys_services_keep_their_addresses_alone() -> None:
    one = service(**PUBLIC, host_ports=(HostAddress(parse_address("10.0.0.1"), 8443, 0),))
    found = frontends(one, PublicRanges((), ()), serves=False)
    assert [entry.field for entry in found.entries.values()] == ["hostPorts[0]"] * 2
    assert not found.problems
    served = frontends(one)
    assert frontends(one, serves=False).addresses == served.addresses


@pytest.mark.parametrize(
    ("told", "said", "wanted"),
    [
        pytest.param(None, (), False, id="where routers are told nothing"),
        pytest.param(None, (("clusterip", True),), False, id="then whatever the Service says"),
        pytest.param(False, (), False, id="where they are told of others"),
        pytest.param(True, (), True, id="who is told asks there"),
        pytest.param(False, (("clusterip", True),), True, id="of a Service that says so"),
        pytest.param(True, (("clusterip", False),), False, id="not of one that says no"),
    ],
)
def test_who_outside_asks_a_cluster_ip(said: tuple[tuple[str, bool], ...], *, told: bool | None, wanted: bool) -> None:
    for is_local in (ALL, HERE):
        found = reached(service(**PUBLIC, advertised=said, internal_local=is_local), told=told)
        assert found.get((CLUSTER_IP, EXTERNAL)) == (is_local if wanted else None)


@pytest.mark.parametrize(
    ("fields", "sites"),
    [
        pytest.param(PUBLIC, {CLUSTER_IP, EXTERNAL_IP, BALANCER, NODE_PORT}, id="4 56 all that a service has"),
        pytest.param(
            {**PUBLIC, "ports": (HTTP,)},
            {CLUSTER_IP, EXTERNAL_IP, BALANCER},
            id="52 a load balancer without node ports (allocateLoadBalancerNodePorts) is reached by its address",
        ),
        pytest.param(
            {"ports": (HTTP, ServicePort("http-udp", Protocol.UDP, 80))},
            {CLUSTER_IP},
            id="3 a port of two protocols is two",
        ),
    ],
)
def test_where_a_service_is_reached(fields: dict[str, Any], sites: set[str]) -> None:
    assert {site for site, _ in reached(service(**fields))} == sites


INSIDE, ELSEWHERE = parse_network("203.0.113.0/24"), parse_network("198.51.100.0/24")
INSIDE6 = parse_network("fd00:5::/32")


@pytest.mark.parametrize(
    ("ranges", "sites", "fields"),
    [
        pytest.param(None, {EXTERNAL_IP, BALANCER}, [], id="without validation any address is served"),
        pytest.param(
            PublicRanges(), set(), ["spec.externalIPs[0]", "status.loadBalancer.ingress[0]"], id="without a range none"
        ),
        pytest.param(
            PublicRanges(external=(ELSEWHERE, INSIDE)),
            {EXTERNAL_IP},
            ["status.loadBalancer.ingress[0]"],
            id="a range of external IPs says nothing of balancers' addresses",
        ),
        pytest.param(
            PublicRanges(balancer=(INSIDE,)),
            {BALANCER},
            ["spec.externalIPs[0]"],
            id="nor the other way round",
        ),
        pytest.param(PublicRanges((INSIDE,), (INSIDE,)), {EXTERNAL_IP, BALANCER}, [], id="each in a range of its own"),
        pytest.param(
            PublicRanges((ELSEWHERE,), (INSIDE6,)),
            set(),
            ["spec.externalIPs[0]", "status.loadBalancer.ingress[0]"],
            id="none in a range, of this family or the other",
        ),
    ],
)
def test_external_addresses_are_of_the_operators_ranges(
    ranges: PublicRanges | None, sites: set[str], fields: list[str]
) -> None:
    one = service(**PUBLIC)
    assert {site for site, _ in reached(one, ranges)} == {CLUSTER_IP, NODE_PORT, *sites}
    found = frontends(one, ranges)
    assert [problem.field for problem in found.problems] == fields
    known = {unmapped(abi.ServiceAddrKey.unpack(key).addr) for key in found.addresses}
    assert known == {parse_address(site.partition(":")[0]) for site in (CLUSTER_IP, *sites)}, "it is nobody's else"


def test_an_address_outside_the_ranges_is_named_with_the_option() -> None:
    one = service("web", "10.96.0.1,fd00::1", external_ips=(parse_address("fd00:9::9"),))
    (problem,) = frontends(one, PublicRanges(external=(INSIDE6,))).problems
    assert (problem.kind, problem.name, problem.field) == ("Service", one.name, "spec.externalIPs[0]")
    assert problem.text == (
        "fd00:9::9 is not served: it is in no range of --service-external-ip-range, and --strict-external-ip-validation"
        " is on"
    )
    assert frontends(one, PublicRanges(external=(parse_network("fd00:9::/64"),))).problems == ()
