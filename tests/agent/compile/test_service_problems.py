"""What a Service asks for and is not given, and who is told."""

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Address

import pytest

from agent.compile.desired import desired
from agent.model.address import parse_address, parse_network
from agent.model.local import Device, Local
from agent.model.name import MOST_TOLD
from agent.model.service import Protocol
from tests.agent.compile.objects import (
    FRESH,
    HERE,
    HTTP,
    SETTINGS,
    Object,
    cluster,
    compiled,
    endpoint,
    piece,
    service,
    shown,
)

FAR, NEAR = endpoint("10.1.0.1"), endpoint("10.0.0.5", HERE)
NODE_PORT = replace(HTTP, node_port=30080)
PROBLEMS = [
    pytest.param(
        [service("a", ports=(NODE_PORT,)), service("b", "10.96.0.2", ports=(NODE_PORT,))],
        ("Service", "default/b", "spec.ports[0].nodePort"),
        id="a node port belongs to the first service by name",
    ),
    pytest.param(
        [service(ports=(replace(HTTP, node_port=40080),))],
        ("Service", "default/web", "spec.ports[0].nodePort"),
        id="a node port from before the API server's range was another",
    ),
    pytest.param(
        [service("a"), service("b")],
        ("Service", "default/b", "spec.clusterIPs[0]"),
        id="a cluster IP belongs to the first service by name",
    ),
    pytest.param(
        [service(), piece("web", FAR, port_name="metrics")],
        ("EndpointSlice", "default/web-1", "ports[0].name"),
        id="a slice's port that the service does not have",
    ),
    pytest.param(
        [service(external_ips=(parse_address("fd00::9"),))],
        ("Service", "default/web", "spec.externalIPs[0]"),
        id="an address of a family that the service has not",
    ),
    pytest.param(
        [service(ports=(HTTP, replace(HTTP, name="again")))],
        ("Service", "default/web", "spec.ports[1]"),
        id="one port number twice in one service",
    ),
]
TAKEN, FREE, OWN = parse_address("10.96.0.1"), parse_address("203.0.113.9"), parse_address("192.0.2.1")
AT_NODE_PORT = replace(HTTP, port=30080)  # what NODE_PORT has of nodes
# who writes a Service may name it as he likes: "a" comes first
CLAIMS = [
    pytest.param(
        [service("b"), service("a", "10.96.0.9", external_ips=(TAKEN,))],
        "default/a",
        id="a cluster IP goes before another Service's external IP",
    ),
    pytest.param(
        [service("b"), service("a", "10.96.0.9", load_balancer=(TAKEN,))],
        "default/a",
        id="a cluster IP goes before a balancer's address",
    ),
    pytest.param(
        [service("b", load_balancer=(FREE,)), service("a", "10.96.0.9", external_ips=(FREE,))],
        "default/a",
        id="a balancer's address goes before another Service's external IP",
    ),
    pytest.param(
        [
            service("b", external_ips=(FREE,), load_balancer=(FREE,)),
            service("a", "10.96.0.9", external_ips=(FREE,)),
        ],
        "default/a",
        id="a balancer's address that is an external IP too is a balancer's",
    ),
    pytest.param(
        [service("b", external_ips=(FREE,)), service("a", "10.96.0.9", external_ips=(FREE,))],
        "default/b",
        id="an external IP is the first Service's by name",
    ),
    pytest.param(
        [
            service("b", external_ips=(FREE,), created="2026-01-01T00:00:00Z"),
            service("a", "10.96.0.9", external_ips=(FREE,), created="2026-01-01T00:00:01Z"),
        ],
        "default/a",
        id="an external IP is the older Service's, however the other is called",
    ),
    pytest.param(
        [service("b", ports=(NODE_PORT,)), service("a", "10.96.0.9", external_ips=(OWN,), ports=(AT_NODE_PORT,))],
        "default/a",
        id="a node port goes before another Service's external IP, where that is the node's",
    ),
    pytest.param(
        [service("b", ports=(NODE_PORT,)), service("a", "10.96.0.9", load_balancer=(OWN,), ports=(AT_NODE_PORT,))],
        "default/a",
        id="a node port goes before a balancer's address that is the node's",
    ),
]


@pytest.mark.parametrize(("objects", "loser"), CLAIMS)
def test_what_a_service_was_given_goes_before_what_another_writes(objects: list[Object], loser: str) -> None:
    whole, nothing = compiled(*objects), compiled()
    for order in (objects, objects[::-1]):
        step = nothing
        for at in range(len(order)):
            step = desired(cluster(*order[: at + 1]), SETTINGS, step)
        for found in (whole, step):
            assert {str(problem.name) for problem in found.problems} == {loser}


@pytest.mark.parametrize(
    "others",
    [
        pytest.param((), id="nobody has a node port of that number"),
        pytest.param((service("c", "10.96.0.8", external_ips=(FREE,), ports=(AT_NODE_PORT,)),), id="who asks as much"),
        pytest.param((service("c", "10.96.0.8", ports=(replace(NODE_PORT, protocol=Protocol.UDP),)),), id="UDP's"),
        pytest.param((service("c", "fd00::8", ports=(NODE_PORT,)),), id="IPv6's"),
    ],
)
def test_an_external_ip_of_the_node_is_served_at_a_number_among_node_ports(others: tuple[Object, ...]) -> None:
    for at in ("a", "d"):
        found = compiled(service(at, external_ips=(OWN,), ports=(AT_NODE_PORT,)), *others)
        assert not found.problems
        assert "192.0.2.1:30080/TCP out" in shown(found)


def test_what_a_node_port_kept_from_others_is_theirs_when_it_goes() -> None:
    asking = service("a", "10.96.0.9", external_ips=(OWN,), ports=(AT_NODE_PORT,))
    first = compiled(service("b", ports=(NODE_PORT,)), asking)
    assert "192.0.2.1:30080/TCP out" not in shown(first)
    second = desired(cluster(service("b"), asking), SETTINGS, first)
    assert "192.0.2.1:30080/TCP out" in shown(second)
    assert not second.problems


@pytest.mark.parametrize("given", [(parse_network("198.51.100.0/24"),), (parse_network("192.0.2.0/24"),)])
def test_a_node_port_keeps_nothing_at_addresses_without_node_ports(given: tuple[IPv4Network]) -> None:
    limited = replace(SETTINGS, node_port_addresses=given)
    asking = service("a", "10.96.0.9", external_ips=(OWN,), ports=(AT_NODE_PORT,))
    found = desired(cluster(service("b", ports=(NODE_PORT,)), asking), limited, FRESH)
    assert ("192.0.2.1:30080/TCP out" in shown(found)) is (OWN not in given[0])


def test_an_address_that_becomes_the_nodes_has_its_node_ports() -> None:
    asking = service("a", "10.96.0.9", external_ips=(FREE,), ports=(AT_NODE_PORT,))
    first = compiled(service("b", ports=(NODE_PORT,)), asking)
    assert "203.0.113.9:30080/TCP out" in shown(first)
    local = Local((Device(2, "eth0", (FREE,)),), netns_cookie=1)
    second = desired(replace(first.source, local=local), SETTINGS, first)
    assert "203.0.113.9:30080/TCP out" not in shown(second)
    assert [str(problem.name) for problem in second.problems] == ["default/a"]


def test_an_address_that_was_an_external_ip_and_becomes_a_balancers_is_the_balancers() -> None:
    first = desired(
        cluster(service("b", external_ips=(FREE,)), service("a", "10.96.0.9", external_ips=(FREE,))),
        SETTINGS,
        compiled(),
    )
    assert {str(problem.name) for problem in first.problems} == {"default/b"}
    now = desired(
        cluster(service("b", load_balancer=(FREE,)), service("a", "10.96.0.9", external_ips=(FREE,))), SETTINGS, first
    )
    assert {str(problem.name) for problem in now.problems} == {"default/a"}


@pytest.mark.parametrize(("objects", "expected"), PROBLEMS)
def test_problem_names_object_and_field(objects: list[Object], expected: tuple[str, str, str]) -> None:
    (problem,) = compiled(*objects).problems
    assert (problem.kind, str(problem.name), problem.field) == expected


def test_the_loser_of_a_frontend_keeps_its_others() -> None:
    wanted = compiled(service("a", ports=(NODE_PORT,)), service("b", "10.96.0.2", ports=(NODE_PORT,)))
    assert [len(one.records.of_map("services")) for one in wanted.services.records.values()] == [3, 1]


def test_of_very_many_mistakes_in_one_service_the_first_are_told() -> None:
    """An object has room for a hundred thousand, and each node would log them all."""
    ips = tuple(IPv6Address(f"fd00::{at:x}") for at in range(1, 2000))
    given: list[Object] = [service(external_ips=ips), piece("web", FAR, port_name="metrics")]
    found = compiled(*given, service("other", "10.96.0.2", external_ips=ips[:1])).problems
    of_web = [one for one in found if str(one.name) == "default/web"]
    assert (len(of_web), of_web[-1].text.split()[0]) == (MOST_TOLD + 1, str(len(ips) - MOST_TOLD))
    assert {str(one.name) for one in found} == {"default/web", "default/web-1", "default/other"}
