"""A datagram's fragments may come in any order: it arrives whole, to services, through masquerading, and back."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import cluster, site, use
from lab.cluster import Cluster
from lab.manifests import Object
from lab.pods import Port
from lab.site import Options
from lab.use import Client
from tests.behaviours import shows

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

PORT = 7000
SHUFFLE = (sys.executable, "-I", "-S", str(Path(__file__).with_name("shuffle.py")))
LARGE, PIECE = 20_000, 1200  # bytes of a datagram, and of a fragment: 17 of them
MODES = {
    "native": Options(nodes=2, socket_lb=False),
    "vxlan": Options(nodes=2, socket_lb=False, subnets=2, encapsulation="vxlan"),
}
PLACES = {"here": "n1", "on another node": "n2"}
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
PLACED = pytest.mark.parametrize("node", [pytest.param(node, id=place) for place, node in PLACES.items()])
ORDERS = pytest.mark.parametrize("order", ["reversed", "shuffled"])
SERVICE = """
kind: Service
metadata: {{name: at-{node}}}
spec:
  type: NodePort
  selector: {{at: {node}}}
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: udp, port: 80, targetPort: {port}, protocol: UDP}}]
"""


@dataclass(frozen=True, slots=True)
class Shuffled:
    """A cluster whose servers answer in shuffled fragments, on each node and outside."""

    cluster: Cluster
    asking: Client  # in a pod on n1
    server: Client  # the pod of the service there
    own: list[str]  # its addresses
    pods: dict[str, list[str]]  # by node
    services: dict[str, Any]  # by node

    @property
    def outside(self) -> Client:
        """A host that is no node."""
        return use.host(self.cluster.site.outside)

    def address(self, name: str, family: int) -> str:
        """A machine's address."""
        return str(self.cluster.site.machine(name).addresses[family])


@pytest.fixture(scope="module", params=MODES)
def lab(request: pytest.FixtureRequest) -> Iterator[Shuffled]:
    name = f"swlab-frag-{os.getpid()}"
    try:
        yield _made(cluster.up(name, MODES[request.param], print))
    finally:
        site.remove(name)


def _made(made: Cluster) -> Shuffled:
    services, pods, servers = {}, {}, {}
    for node in made.site.node_names:
        (services[node],) = made.apply(SERVICE.format(node=node, port=PORT))
        command = [*SHUFFLE, "serve", str(PORT), "shuffled"]
        item = made.run(f"at-{node}", node, command, labels={"at": node}, ports=(Port("udp", PORT, "UDP"),))
        pods[node], servers[node] = _ips(item), use.client(made, item)
    made.site.outside.daemon("shuffle", [*SHUFFLE, "serve", str(PORT), "shuffled"])
    item = made.run("asking", "n1", ["sleep", "infinity"])
    return Shuffled(made, use.client(made, item), servers["n1"], _ips(item), pods, services)


@FAMILIES
@PLACED
@ORDERS
def test_from_a_pod_to_a_pod(lab: Shuffled, node: str, family: int, order: str) -> None:
    assert ask(lab.asking, "udp", lab.pods[node][family], PORT, order) == lab.own[family]


@FAMILIES
@PLACED
@shows("72 a large datagram in fragments", ORDERS)
def test_from_a_pod_to_a_service_whose_backend_is_there(lab: Shuffled, node: str, family: int, order: str) -> None:
    address = lab.services[node]["spec"]["clusterIPs"][family]
    assert ask(lab.asking, "udp", address, 80, order) == lab.own[family]


@FAMILIES
@PLACED
@ORDERS
def test_from_outside_to_a_node_port_whose_backend_is_there(lab: Shuffled, node: str, family: int, order: str) -> None:
    port = lab.services[node]["spec"]["ports"][0]["nodePort"]
    # the client's own address is kept where the backend is at hand
    seen = lab.address("outside" if node == "n1" else "n1", family)
    assert ask(lab.outside, "udp", lab.address("n1", family), port, order) == seen


@FAMILIES
@ORDERS
def test_from_a_pod_to_the_outside_under_the_nodes_address(lab: Shuffled, family: int, order: str) -> None:
    assert ask(lab.asking, "udp", lab.address("outside", family), PORT, order) == lab.address("n1", family)


@FAMILIES
@ORDERS
def test_an_echo_from_a_pod_to_the_outside_under_the_nodes_address(lab: Shuffled, family: int, order: str) -> None:
    assert ask(lab.asking, "echo", lab.address("outside", family), 4711, order, 6000) == lab.own[family]


@FAMILIES
def test_from_a_pod_with_large_frames_to_a_service(lab: Shuffled, family: int) -> None:
    node = lab.cluster.site.machine("n1")
    devices = [
        word.rpartition("@")[0] for word in node.run("ip", "-o", "link").stdout.split() if word.startswith("swp")
    ]
    for device in devices:
        node.run("ip", "link", "set", device, "mtu", "9000")
    for pod in (lab.asking, lab.server):
        node.run("ip", "link", "set", "eth0", "mtu", "9000", context=pod.context)
    address = lab.services["n1"]["spec"]["clusterIPs"][family]
    assert ask(lab.asking, "udp", address, 80, "reversed", 60_000, 8944) == lab.own[family]


def ask(asking: Client, kind: str, address: str, port: int, order: str, size: int = LARGE, piece: int = PIECE) -> str:
    """How the server sees the client, after all came back."""
    argv = [*SHUFFLE, "ask", kind, address, str(port), str(size), order, str(piece)]
    return asking.machine.run(*argv, context=asking.context).stdout


def _ips(item: Object) -> list[str]:
    return [ip["ip"] for ip in item["status"]["podIPs"]]
