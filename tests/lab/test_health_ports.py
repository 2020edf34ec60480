"""Load balancers ask nodes: at a service's health-check node port, and at the node's own port."""

import json
from collections.abc import Iterator

import pytest

from lab import agents
from lab.cluster import Cluster
from tests.lab.conftest import Echo
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

PORT, OWN_PORT = 32100, 10256
BALANCED = """
kind: Service
metadata: {name: balanced}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  healthCheckNodePort: 32100
  ipFamilyPolicy: RequireDualStack
  selector: {at: n2}
  ports: [{port: 80, targetPort: 8080}]
"""
ASK = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
try:
    connection.request("GET", sys.argv[3])
    answer = connection.getresponse()
    print(answer.status, answer.headers["X-Load-Balancing-Endpoint-Weight"], answer.read().decode())
except OSError as error:
    print(type(error).__name__)
"""
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])


def asked(lab: Cluster, node: str, family: int, port: int = PORT, path: str = "/") -> str:
    """What a host outside hears of a node."""
    address = str(lab.site.machine(node).addresses[family])
    return str(lab.site.outside.run("python3", "-c", ASK, address, str(port), path).stdout).strip()


@pytest.fixture(scope="module")
def balanced(echo_socket: Echo) -> Iterator[Cluster]:
    """A cluster with a service whose one endpoint is on n2."""
    lab = echo_socket.cluster
    lab.apply(BALANCED)
    until(lambda: asked(lab, "n1", 1).startswith("503") and asked(lab, "n2", 0).startswith("200"))
    yield lab
    lab.remove("Service", "balanced")
    until(lambda: asked(lab, "n1", 0) == "ConnectionRefusedError")


@FAMILIES
def test_the_outside_hears_which_node_has_endpoints(balanced: Cluster, family: int) -> None:
    assert asked(balanced, "n2", family).startswith("200 1 {")
    assert asked(balanced, "n1", family).startswith("503 0 {")
    body = asked(balanced, "n2", family).partition(" 1 ")[2]
    assert json.loads(body)["service"] == {"namespace": "default", "name": "balanced"}


@FAMILIES
def test_the_outside_hears_that_a_node_is_well(balanced: Cluster, family: int) -> None:
    for path in ("/healthz", "/livez"):
        assert asked(balanced, "n3", family, OWN_PORT, path).startswith("200 None {")


def test_an_agent_that_ends_or_dies_leaves_no_port_and_the_next_opens_them(balanced: Cluster) -> None:
    node = balanced.site.machine("n2")
    for end, flags, ipv4 in (
        (agents.stop, ["--nodeport-addresses=127.0.0.0/8,fd88::/64"], "ConnectionRefusedError"),
        (agents.kill, [], "200"),
    ):
        end(node)
        assert (asked(balanced, "n2", 0), asked(balanced, "n2", 1, OWN_PORT)) == ("ConnectionRefusedError",) * 2
        agents.start_again(node, flags=flags)
        agents.wait(node)
        until(lambda: asked(balanced, "n2", 1).startswith("200"))
        assert asked(balanced, "n2", 0).startswith(ipv4), "only where node ports are"
        assert asked(balanced, "n2", 0, OWN_PORT, "/livez").startswith("200"), "which is no matter of the node's own"


def test_a_service_of_one_family_is_asked_by_the_other_too(balanced: Cluster) -> None:
    balanced.apply(
        BALANCED.replace("balanced", "single")
        .replace(str(PORT), "32101")
        .replace("ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv4]")
    )
    until(lambda: asked(balanced, "n2", 1, 32101).startswith("200 1 {"))
    assert asked(balanced, "n1", 1, 32101).startswith("503 0 {")
    balanced.remove("Service", "single")
