"""Real connections through a cluster's services, with the socket hook and without it."""

import pytest

from lab import use
from tests.lab.conftest import BACKENDS, Echo

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

OFTEN = 50  # that one of three backends gets none of them has a chance of 1 in 200 million
KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])


@KINDS
@FAMILIES
def test_a_pod_reaches_pods_on_every_node(echo: Echo, kind: str, family: int) -> None:
    for name in sorted(BACKENDS):
        assert echo.asking.ask(kind, echo.pod_ips(name)[family], use.SERVER_PORT).answers == {name: 1}


@KINDS
@FAMILIES
def test_a_pod_reaches_every_backend_by_the_cluster_address(echo: Echo, kind: str, family: int) -> None:
    seen = echo.asking.ask(kind, echo.ips("echo")[family], 80, OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@FAMILIES
def test_a_node_reaches_every_backend_by_the_cluster_address(echo: Echo, kind: str, family: int) -> None:
    seen = echo.node("n2").ask(kind, echo.ips("echo")[family], 80, OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@FAMILIES
@pytest.mark.parametrize("node", ["n1", "n2", "n3"])
def test_the_outside_reaches_every_backend_by_any_node_port(echo: Echo, kind: str, family: int, node: str) -> None:
    address = str(echo.cluster.site.machine(node).addresses[family])
    seen = echo.outside.ask(kind, address, echo.node_port("echo"), OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@FAMILIES
@pytest.mark.parametrize("node", [pytest.param("n1", id="its own node"), pytest.param("n2", id="another node")])
def test_a_pod_reaches_every_backend_by_a_node_port(echo: Echo, kind: str, family: int, node: str) -> None:
    address = str(echo.cluster.site.machine(node).addresses[family])
    seen = echo.asking.ask(kind, address, echo.node_port("echo"), OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@FAMILIES
def test_the_outside_reaches_every_backend_by_an_external_address(echo: Echo, kind: str, family: int) -> None:
    address = echo.services["echo"]["spec"]["externalIPs"][family]
    machine = echo.cluster.site.outside
    machine.run("ip", "route", "replace", address, "via", str(echo.cluster.site.machine("n3").addresses[family]))
    seen = echo.outside.ask(kind, address, 80, OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@FAMILIES
def test_a_pod_reaches_every_backend_by_an_external_address(echo: Echo, kind: str, family: int) -> None:
    seen = echo.asking.ask(kind, echo.services["echo"]["spec"]["externalIPs"][family], 80, OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@FAMILIES
def test_a_pod_reaches_itself_by_its_service(echo: Echo, kind: str, family: int) -> None:
    server = use.client(echo.cluster, echo.pods["web1"])
    assert server.ask(kind, echo.ips("itself")[family], 80, 5).answers == {"web1": 5}


@KINDS
@FAMILIES
def test_a_service_without_endpoints_refuses_a_pod_at_once(echo: Echo, kind: str, family: int) -> None:
    seen = echo.asking.ask(kind, echo.ips("nobody")[family], 80)
    assert any("ConnectionRefused" in error for error in seen.errors), seen
    assert seen.slowest_s < 1.0


@KINDS
@FAMILIES
def test_a_service_without_endpoints_refuses_the_outside_at_once(echo: Echo, kind: str, family: int) -> None:
    address = str(echo.cluster.site.machine("n1").addresses[family])
    seen = echo.outside.ask(kind, address, echo.node_port("nobody"))
    assert any("ConnectionRefused" in error for error in seen.errors), seen
    assert seen.slowest_s < 1.0


@FAMILIES
def test_session_affinity_sends_a_client_to_one_backend(echo: Echo, family: int) -> None:
    seen = echo.asking.ask("tcp", echo.ips("same")[family], 80, OFTEN)
    assert (len(seen.names), seen.errors) == (1, {})


@FAMILIES
def test_a_local_service_answers_on_the_node_that_has_an_endpoint_and_is_silent_elsewhere(
    echo: Echo, family: int
) -> None:
    port, machine = echo.node_port("near"), echo.cluster.site.machine
    assert echo.outside.ask("tcp", str(machine("n1").addresses[family]), port, 5).answers == {"web1": 5}
    assert echo.outside.ask("tcp", str(machine("n2").addresses[family]), port).errors == {"TimeoutError: timed out": 1}
