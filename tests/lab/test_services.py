"""Real connections through a cluster's services, with the socket hook and without it."""

import sys

import pytest

from lab import use
from tests.behaviours import shows
from tests.lab.conftest import BACKENDS, OFTEN, Echo

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
PLACES = pytest.mark.parametrize("node", [pytest.param("n1", id="its own node"), pytest.param("n2", id="another")])
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])


@KINDS
@shows("75 a pod asks a pod", FAMILIES)
def test_a_pod_reaches_pods_on_every_node(echo: Echo, kind: str, family: int) -> None:
    for name in sorted(BACKENDS):
        assert echo.asking.ask(kind, echo.pod_ips(name)[family], use.SERVER_PORT).answers == {name: 1}


@KINDS
@shows("1 76 a pod asks a cluster IP", FAMILIES)
def test_a_pod_reaches_every_backend_by_the_cluster_address(echo: Echo, kind: str, family: int) -> None:
    seen = echo.asking.ask(kind, echo.ips("echo")[family], 80, OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@shows("76 a node asks a cluster IP", FAMILIES)
def test_a_node_reaches_every_backend_by_the_cluster_address(echo: Echo, kind: str, family: int) -> None:
    seen = echo.node("n2").ask(kind, echo.ips("echo")[family], 80, OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@FAMILIES
@shows("32 36 a node port from outside", pytest.mark.parametrize("node", ["n1", "n2", "n3"]))
def test_the_outside_reaches_every_backend_by_any_node_port(echo: Echo, kind: str, family: int, node: str) -> None:
    address = str(echo.cluster.site.machine(node).addresses[family])
    seen = echo.outside.ask(kind, address, echo.node_port("echo"), OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@FAMILIES
@shows("32 36 a node port from a pod", PLACES)
def test_a_pod_reaches_every_backend_by_a_node_port(echo: Echo, kind: str, family: int, node: str) -> None:
    address = str(echo.cluster.site.machine(node).addresses[family])
    seen = echo.other.ask(kind, address, echo.node_port("echo"), OFTEN)
    assert (seen.names, seen.errors) == (BACKENDS, {})


@KINDS
@shows("50 an external IP that no node has", FAMILIES)
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
@shows("6 a pod reaches itself", pytest.mark.parametrize("field", ["clusterIPs", "externalIPs", "nodePort"]))
def test_a_pod_reaches_itself_by_its_service(echo: Echo, kind: str, family: int, field: str) -> None:
    server = use.client(echo.cluster, echo.pods["web1"])
    address, port = str(echo.cluster.site.machine("n1").addresses[family]), echo.node_port("itself")
    if field != "nodePort":
        address, port = echo.services["itself"]["spec"][field][family], 80
    assert server.ask(kind, address, port, 5).answers == {"web1": 5}


@KINDS
@shows("20 a pod is refused", FAMILIES)
def test_a_service_without_endpoints_refuses_a_pod_at_once(echo: Echo, kind: str, family: int) -> None:
    seen = echo.asking.ask(kind, echo.ips("nobody")[family], 80)
    assert [error for error in seen.errors if "ConnectionRefused" not in error] == [], "none waits in vain"
    assert seen.errors
    assert not seen.answers


@KINDS
@shows("20 the outside is refused", FAMILIES)
def test_a_service_without_endpoints_refuses_the_outside_at_once(echo: Echo, kind: str, family: int) -> None:
    address = str(echo.cluster.site.machine("n1").addresses[family])
    seen = echo.outside.ask(kind, address, echo.node_port("nobody"))
    assert [error for error in seen.errors if "ConnectionRefused" not in error] == [], "none waits in vain"
    assert seen.errors
    assert not seen.answers


@FAMILIES
def test_session_affinity_sends_a_client_to_one_backend(echo: Echo, family: int) -> None:
    seen = echo.asking.ask("tcp", echo.ips("same")[family], 80, OFTEN)
    assert (len(seen.names), seen.errors) == (1, {})


@shows("38 externalTrafficPolicy Local", FAMILIES)
def test_a_local_service_answers_on_the_node_that_has_an_endpoint_and_is_silent_elsewhere(
    echo: Echo, family: int
) -> None:
    port, machine = echo.node_port("near"), echo.cluster.site.machine
    assert echo.outside.ask("tcp", str(machine("n1").addresses[family]), port, 5).answers == {"web1": 5}
    assert echo.outside.ask("tcp", str(machine("n2").addresses[family]), port, patience_s=use.SILENT_S).errors == {
        "TimeoutError: timed out": 1
    }


FROM_ONE_PORT = """
import socket, sys
for address, port in zip(sys.argv[1::2], sys.argv[2::2]):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(15)
        asking.bind(("", 20404))  # which the kernel draws for nobody
        asking.sendto(b"x", (address, int(port)))
        _, source = asking.recvfrom(100)
        print(*source)
"""


def test_a_backend_answers_with_its_own_address_after_it_answered_the_same_port_for_a_service(
    echo_socket: Echo,
) -> None:
    asking, port = echo_socket.other, echo_socket.node_port("far")
    node, backend = str(echo_socket.cluster.site.machine("n2").addresses[0]), echo_socket.pod_ips("web2")[0]
    argv = [sys.executable, "-c", FROM_ONE_PORT, node, str(port), backend, str(use.SERVER_PORT)]
    answers = asking.machine.run(*argv, context=asking.context).stdout.splitlines()
    assert answers == [f"{node} {port}", f"{backend} {use.SERVER_PORT}"]
