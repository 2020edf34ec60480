"""What load balancers are told of services and of the node, and at which ports."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_address

import pytest

from agent.compile.health_check import HealthCheck
from agent.compile.node_port import EVERY
from agent.model.cluster import Cluster
from agent.model.name import ObjectName
from agent.model.node import Node
from agent.reconcile.propagation import Propagation
from agent.serve.health_pages import STALE_S, is_healthy, node_page, service_page
from agent.serve.health_ports import Health, HealthPorts, HealthPortsPart, is_eligible
from agent.serve.open_clients import Site
from agent.threads import Threads
from tests.agent.compile.objects import FRESH, compiled, endpoint, piece, service
from tests.agent.serve.test_port_server import LOCAL, LOCAL6, FreePort, eventually, get, is_closed

WEB, SHOP = ObjectName("default", "web"), ObjectName("default", "shop")
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
EARLIER = NOW - timedelta(seconds=70)


@pytest.mark.parametrize(
    ("count", "healthy", "status"),
    [
        pytest.param(2, True, HTTPStatus.OK, id="54 a node with endpoints is sent connections"),
        pytest.param(0, True, HTTPStatus.SERVICE_UNAVAILABLE, id="54 one without is not"),
        pytest.param(2, False, HTTPStatus.SERVICE_UNAVAILABLE, id="nor one whose agent is behind"),
    ],
)
def test_a_service_is_told_as_kube_proxy_tells_it(*, count: int, healthy: bool, status: HTTPStatus) -> None:
    page = service_page(HealthCheck(WEB, 32100, ((4, count), (6, 7))), 4, healthy=healthy)
    assert page.status is status
    assert json.loads(page.body) == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": count,
        "serviceProxyHealthy": healthy,
    }
    assert page.kind == "application/json"
    assert page.headers == {"X-Load-Balancing-Endpoint-Weight": str(count)}


@pytest.mark.parametrize(
    ("path", "healthy", "eligible", "status"),
    [
        pytest.param("/healthz", True, True, 200, id="84 a node that is well is eligible"),
        pytest.param("/healthz", True, False, 503, id="84 one that goes is not"),
        pytest.param("/healthz", False, True, 503, id="84 nor one whose agent is behind"),
        pytest.param("/livez", True, False, 200, id="84 livez does not ask whether the node goes"),
        pytest.param("/livez", False, True, 503, id="84 livez fails when the agent is behind"),
    ],
)
def test_the_node_is_told_as_kube_proxy_tells_it(*, path: str, healthy: bool, eligible: bool, status: int) -> None:
    page = node_page(path, NOW, EARLIER, healthy=healthy, eligible=eligible)
    assert page.status == status
    updated = "2026-05-04 03:02:01+00:00" if healthy else "2026-05-04 03:00:51+00:00"
    expected = {"lastUpdated": updated, "currentTime": "2026-05-04 03:02:01+00:00"}
    assert json.loads(page.body) == (expected | {"nodeEligible": eligible} if path == "/healthz" else expected)
    assert page.kind == "application/json"


def test_another_path_of_the_nodes_port_is_not_there() -> None:
    assert node_page("/metrics", NOW, NOW, healthy=True, eligible=True).status is HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("trouble", "pending_s", "healthy"),
    [
        pytest.param("", 0.0, True, id="all is written"),
        pytest.param("", STALE_S - 1, True, id="a change has its time"),
        pytest.param("", STALE_S, False, id="one that waits longer means that none gets through"),
        pytest.param("thread reconcile died", 0.0, False, id="a thread is dead"),
    ],
)
def test_health(*, trouble: str, pending_s: float, healthy: bool) -> None:
    assert is_healthy(trouble, pending_s) is healthy


def test_a_change_is_pending_from_its_arrival_until_it_is_written() -> None:
    now = 100
    seen = Propagation(lambda: now, lambda _: None)
    assert seen.pending_since_ns is None
    seen.arrived()
    now = 200
    seen.arrived()
    assert seen.pending_since_ns == 100
    seen.taken()
    assert seen.pending_since_ns == 100
    now = 300
    seen.arrived()
    assert seen.pending_since_ns == 100, "the oldest counts"
    seen.written(FRESH.policies)
    assert seen.pending_since_ns == 300, "what came meanwhile is not written"


@pytest.mark.parametrize(
    ("cluster", "eligible"),
    [
        pytest.param(Cluster(nodes={"n1": Node("n1")}, listed=frozenset({"Node"})), True, id="84 a node that stays"),
        pytest.param(
            Cluster(nodes={"n1": Node("n1", is_leaving=True)}, listed=frozenset({"Node"})), False, id="84 one that goes"
        ),
        pytest.param(Cluster(nodes={"n2": Node("n2")}, listed=frozenset({"Node"})), False, id="84 one that is gone"),
        pytest.param(Cluster(), True, id="one that was not heard of yet"),
        pytest.param(Cluster(listed=frozenset({"Node"})), True, id="one of a folder that has no nodes"),
    ],
)
def test_eligibility(*, cluster: Cluster, eligible: bool) -> None:
    assert is_eligible(cluster, "n1") is eligible


@pytest.fixture
def pending() -> list[float]:
    return [0.0]


@pytest.fixture
def own_port(free_port: FreePort) -> int:
    return free_port()


@pytest.fixture
def ports(own_port: int, pending: list[float]) -> Iterator[HealthPorts]:
    threads = Threads()
    health = Health(threads.trouble, lambda: pending[0], lambda: True)
    made = HealthPorts("n1", ("::", own_port), health, threads)
    made.start()
    yield made
    made.stop()


def test_the_nodes_own_port_is_open_in_both_families_before_any_service_is_known(
    ports: HealthPorts, own_port: int, pending: list[float]
) -> None:
    for address in (LOCAL, LOCAL6):
        site = Site(address, own_port)
        assert eventually(lambda site=site: not is_closed(site))  # type: ignore[misc]
        assert get(site, "/healthz")[0] == 200
    pending[0] = STALE_S
    assert get(Site(LOCAL, own_port), "/healthz")[0] == 503
    assert get(Site(LOCAL6, own_port), "/livez")[0] == 503
    assert ports.problems() == ()


def test_a_service_is_asked_where_node_ports_are_until_it_goes(
    ports: HealthPorts, own_port: int, free_port: FreePort
) -> None:
    port = free_port()
    four, six, own = Site(LOCAL, port), Site(LOCAL6, port), Site(LOCAL, own_port)
    ports.serve({WEB: HealthCheck(WEB, port, ((4, 2), (6, 0)))})
    assert eventually(lambda: not is_closed(four) and not is_closed(six))
    assert (get(four, "/any/path")[0], get(six)[0]) == (200, 503)
    ports.serve({WEB: HealthCheck(WEB, port, ((4, 0), (6, 2)))}, [ip_address(LOCAL)])
    assert eventually(lambda: is_closed(six) and is_closed(Site("127.0.0.2", port)))
    assert get(four)[0] == 503
    ports.serve({})
    assert eventually(lambda: is_closed(four))
    assert get(own, "/healthz")[0] == 200


def test_a_port_that_is_taken_is_a_problem_of_its_service_until_it_is_free(ports: HealthPorts) -> None:
    with socket.socket() as holder:
        holder.bind((LOCAL, 0))
        holder.listen()
        port = holder.getsockname()[1]
        ports.serve({WEB: HealthCheck(WEB, port, ((4, 1),))})
        assert eventually(lambda: bool(ports.problems()))
        (problem,) = ports.problems()
        assert (problem.kind, problem.name, problem.field) == ("Service", WEB, "spec.healthCheckNodePort")
        assert problem.text == f"port {port} of 0.0.0.0 cannot be opened: Address already in use; tried again every 5 s"
    ports.serve({})
    assert eventually(lambda: not ports.problems())


def test_the_nodes_port_that_is_taken_is_a_problem_of_the_node() -> None:
    threads = Threads()
    with socket.socket() as holder:
        holder.bind((LOCAL, 0))
        holder.listen()
        own = (LOCAL, holder.getsockname()[1])
        made = HealthPorts("n1", own, Health(threads.trouble, lambda: 0.0, lambda: True), threads)
        made.start()
        assert eventually(lambda: bool(made.problems()))
        (problem,) = made.problems()
        made.stop()
    assert (problem.kind, problem.name, problem.field) == ("Node", ObjectName("", "n1"), "--healthz-bind-address")


def test_a_port_that_two_services_ask_for_is_the_firsts_and_the_other_is_told(
    ports: HealthPorts, free_port: FreePort
) -> None:
    port = free_port()
    ports.serve({WEB: HealthCheck(WEB, port, ((4, 1), (6, 1))), SHOP: HealthCheck(SHOP, port, ((4, 3), (6, 3)))})
    assert eventually(lambda: not is_closed(Site(LOCAL, port)))
    assert json.loads(get(Site(LOCAL, port))[1])["service"]["name"] == "shop"
    (problem,) = ports.problems()
    assert (problem.name, problem.text) == (WEB, "Service default/shop has it already, and keeps it")


def test_the_part_hands_on_what_the_maps_have() -> None:
    given: list[object] = []
    part = HealthPortsPart(lambda *asked: given.append(asked))
    assert part.wanted(FRESH) is None, "nothing is known yet"
    found = compiled(service("web", health_check_port=32100), piece("web", endpoint("10.0.0.1", "here")))
    wanted = part.wanted(found)
    assert wanted is not None
    assert list(part.apply(wanted)) == []
    check = HealthCheck(WEB, 32100, ((4, 1), (6, 1)))
    assert given == [({WEB: check}, EVERY)]
