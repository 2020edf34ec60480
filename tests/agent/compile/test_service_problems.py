"""What a Service asks for and is not given, and who is told."""

from dataclasses import replace

import pytest

from agent.compile.desired import desired
from agent.model.address import parse_address
from tests.agent.compile.objects import HERE, HTTP, SETTINGS, Object, cluster, compiled, endpoint, piece, service

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
TAKEN, FREE = parse_address("10.96.0.1"), parse_address("203.0.113.9")
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
