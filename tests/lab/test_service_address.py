"""A service's address at a port that it does not have: refused at once, whoever asks, and never sent on."""

import sys

import pytest

from lab.use import Client
from tests.lab.conftest import Echo, dropped

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
FIELDS = pytest.mark.parametrize("field", ["externalIPs", "clusterIPs"])
WITHIN = pytest.mark.parametrize("who", ["a pod", "the node"])
NO_PORT = 81


def address_of(echo: Echo, family: int, field: str) -> str:
    """An address of the service, to which those outside have a route by n3."""
    return routed(echo, family, echo.services["echo"]["spec"][field][family])


def routed(echo: Echo, family: int, address: str) -> str:
    """The address, for those outside by n3."""
    via = str(echo.cluster.site.machine("n3").addresses[family])
    echo.cluster.site.outside.run("ip", "route", "replace", address, "via", via)
    return address


@KINDS
@FAMILIES
@FIELDS
def test_the_outside_is_refused(echo: Echo, kind: str, family: int, field: str) -> None:
    address, node = address_of(echo, family, field), echo.cluster.site.machine("n3")
    before = dropped(node, "no_service")
    assert echo.outside.ask(kind, address, NO_PORT).is_refused
    assert dropped(node, "no_service") == before + 1


@KINDS
@FAMILIES
@FIELDS
@WITHIN
def test_a_pod_and_a_node_are_refused(echo: Echo, kind: str, family: int, field: str, who: str) -> None:
    asking: Client = echo.asking if who == "a pod" else echo.node("n2")
    before = dropped(asking.machine, "no_service")
    assert asking.ask(kind, echo.services["echo"]["spec"][field][family], NO_PORT).is_refused
    is_at_the_socket = kind == "tcp" and echo.cluster.site.options.socket_lb
    assert dropped(asking.machine, "no_service") == before + (not is_at_the_socket)


@FAMILIES
def test_all_are_refused_at_a_load_balancers_address(echo: Echo, family: int) -> None:
    ingress = echo.services["balanced"]["status"]["loadBalancer"]["ingress"]
    address, node = routed(echo, family, ingress[family]["ip"]), echo.cluster.site.machine("n3")
    before = dropped(node, "no_service")
    for kind in ("tcp", "udp"):
        assert echo.outside.ask(kind, address, NO_PORT).is_refused
        assert echo.asking.ask(kind, address, NO_PORT).is_refused
        assert echo.node("n2").ask(kind, address, NO_PORT).is_refused
    assert dropped(node, "no_service") == before + 2, "those outside by n3; the others are refused where they are"
    assert echo.outside.ask("tcp", address, 80).errors == {}, "while its own port is served"


@FAMILIES
@FIELDS
@WITHIN
def test_nobody_answers_an_echo_and_nobody_else_sees_it(echo: Echo, family: int, field: str, who: str) -> None:
    asking: Client = echo.asking if who == "a pod" else echo.node("n2")
    before = dropped(asking.machine, "no_service_silent")
    argv = ["ping", "-n", "-c", "1", "-W", "0.2", echo.services["echo"]["spec"][field][family]]
    done = asking.machine.run(*argv, check=False, context=asking.context)
    assert " 0 received" in done.stdout
    assert dropped(asking.machine, "no_service_silent") == before + 1


CONNECTS = """
import socket, sys
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as asking:
    asking.connect((address, int(sys.argv[2])))
    print(asking.getsockname()[0])
"""


@FAMILIES
@FIELDS
@WITHIN
def test_who_connects_a_datagram_socket_learns_the_own_address(echo: Echo, family: int, field: str, who: str) -> None:
    """As getaddrinfo() does, to sort what it has found."""
    asking: Client = echo.asking if who == "a pod" else echo.node("n2")
    argv = [sys.executable, "-c", CONNECTS, echo.services["echo"]["spec"][field][family], str(NO_PORT)]
    assert asking.machine.run(*argv, context=asking.context).stdout.strip()


# from an address that is not the asker's own; prints nothing
FORGED = """
import socket, sys
source, target = sys.argv[1:]
family = socket.AF_INET6 if ":" in source else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as asking:
    level, transparent = (socket.IPPROTO_IPV6, 75) if family == socket.AF_INET6 else (socket.IPPROTO_IP, 19)
    asking.setsockopt(level, transparent, 1)
    asking.bind((source, 80))
    asking.sendto(b"x", (target, 8080))
"""


@FAMILIES
@FIELDS
def test_the_outside_does_not_speak_for_a_service(echo: Echo, family: int, field: str) -> None:
    node, pod = echo.cluster.site.machine("n3"), echo.pod_ips("web3")[family]
    before = dropped(node, "service_source")
    source = echo.services["echo"]["spec"][field][family]
    echo.cluster.site.outside.run(sys.executable, "-c", FORGED, source, pod)
    assert dropped(node, "service_source") == before + 1
