"""What is answered at a service's health-check node port: the ready endpoints on this node, by IP version."""

from dataclasses import replace
from typing import Any

import pytest

from agent.compile.context import NodeContext
from agent.compile.desired import desired
from agent.compile.health_check import HealthCheck, health_check
from agent.model.node import Node
from agent.model.service import EndpointSlice, Service
from tests.agent.compile.objects import HERE, SETTINGS, cluster, compiled, endpoint, name, piece, service

PORT = 32100
CONTEXT = NodeContext(Node(HERE))
ENDING: dict[str, Any] = {"ready": False, "terminating": True}


def checked(ip: str = "10.96.0.1", **fields: Any) -> Service:
    return service("web", ip, external_local=True, health_check_port=PORT, **fields)


def counts(one: Service, *slices: EndpointSlice) -> tuple[tuple[int, int], ...]:
    found = health_check(one, slices, CONTEXT)
    assert found is not None
    assert (found.service, found.port) == (name("web"), PORT)
    return found.endpoints


@pytest.mark.parametrize(
    ("slices", "count"),
    [
        pytest.param([], 0, id="a service without endpoints has none here"),
        pytest.param([piece("web", endpoint("10.0.0.1", HERE))], 1, id="54 a ready endpoint of this node counts"),
        pytest.param([piece("web", endpoint("10.0.0.1"))], 0, id="54 one of another node does not"),
        pytest.param([piece("web", endpoint("10.0.0.1", ""))], 0, id="one that names no node is nobody's"),
        pytest.param(
            [piece("web", endpoint("10.0.0.1", HERE, ready=False))], 0, id="one that is not ready does not count"
        ),
        pytest.param(
            [piece("web", endpoint("10.0.0.1", HERE, serving=True, **ENDING))],
            0,
            id="28 one that ends and still serves does not count",
        ),
        pytest.param(
            [
                piece("web", endpoint("10.0.0.1", HERE, serving=True, **ENDING), endpoint("10.0.0.2", HERE)),
            ],
            1,
            id="28 beside one that ends the others count",
        ),
        pytest.param(
            [
                piece("web", endpoint("10.0.0.1", HERE)),
                piece("web", endpoint("10.0.0.1", HERE), suffix="2", port=8443, port_name="https"),
            ],
            1,
            id="an endpoint with two ports is one",
        ),
        pytest.param(
            [replace(piece("web", endpoint("10.0.0.1", HERE)), ports=())],
            0,
            id="an endpoint without a port is none",
        ),
    ],
)
def test_ready_endpoints_of_this_node_are_counted(slices: list[EndpointSlice], count: int) -> None:
    assert counts(checked(), *slices) == ((4, count), (6, count))


def test_each_ip_version_of_the_service_is_counted_alone_and_stands_for_one_that_it_has_not() -> None:
    slices = (
        piece("web", endpoint("10.0.0.1", HERE), endpoint("10.0.0.2", HERE)),
        piece("web", endpoint("fd00::1", HERE), suffix="6"),
    )
    assert counts(checked("10.96.0.1,fd00:96::1"), *slices) == ((4, 2), (6, 1))
    assert counts(checked("10.96.0.1"), *slices) == ((4, 2), (6, 2))
    assert counts(checked("fd00:96::1"), *slices) == ((4, 1), (6, 1))


def test_a_service_that_publishes_endpoints_that_are_not_ready_counts_them() -> None:
    unready = piece("web", endpoint("10.0.0.1", HERE, ready=False))
    assert counts(checked(publish_not_ready=True), unready) == ((4, 1), (6, 1))


def test_a_service_without_the_port_has_no_check() -> None:
    assert health_check(service(), (), CONTEXT) is None


def test_checks_come_and_go_and_stay_the_same_value_while_nothing_of_theirs_changes() -> None:
    one, ready = checked(), piece("web", endpoint("10.0.0.1", HERE))
    other = service("other", "10.96.0.2")
    first = compiled(one, ready, other)
    assert first.services.checks == {name("web"): HealthCheck(name("web"), PORT, ((4, 1), (6, 1)))}
    same = desired(cluster(one, ready, replace(other, affinity_s=5)), SETTINGS, first)
    assert same.services.checks is first.services.checks
    fewer = desired(cluster(one, other), SETTINGS, same)
    assert fewer.services.checks[name("web")].endpoints == ((4, 0), (6, 0))
    assert desired(cluster(other), SETTINGS, fewer).services.checks == {}
