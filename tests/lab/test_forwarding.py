"""Real clients outside ask a node for a service whose pod is on another: whom it sees, and by whom it answers."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import agents, cluster, site, use
from lab.addresses import ROUTER
from lab.cluster import Cluster
from lab.manifests import Object
from lab.pods import Port
from lab.site import Options
from lab.use import Client
from tests.lab.modes import PORT, PROBE, WRITTEN, ask, came_in
from tests.lab.test_snat import talking

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

SEGMENTED = 16_000  # bytes, of datagrams that the kernel is given in one piece
NARROW = 1300  # octets of the way from the pod's node to the client
SILENT_S = 2.0  # at most, while agents are exchanged, or a quarter of the time in which they are
# each node has a subnet, the client is on the first one's; in IPIP the option says what annotations do elsewhere
MODES = {
    "native": Options(nodes=2, socket_lb=False, subnets=2),
    "vxlan": Options(nodes=2, socket_lb=False, subnets=2, encapsulation="vxlan"),
    "geneve": Options(nodes=2, socket_lb=False, subnets=2, encapsulation="geneve"),
    "ipip": Options(nodes=2, socket_lb=False, subnets=2, encapsulation="ipip", forwarding="dsr"),
}
SERVICE = """
kind: Service
metadata: {{name: far-{way}, annotations: {annotations}}}
spec:
  type: NodePort
  selector: {{app: far}}
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: tcp, port: 80, targetPort: {port}}}, {{name: udp, port: 80, targetPort: {port}, protocol: UDP}}]
"""
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])


@dataclass(frozen=True, slots=True)
class Forwarding:
    """A cluster with a server in a pod on the second node, and a service for each way there."""

    cluster: Cluster
    pod: Client
    services: dict[str, Object]  # by way

    @property
    def outside(self) -> Client:
        """A host that is no node."""
        return use.host(self.cluster.site.outside)

    def target(self, way: str, family: int, protocol: str = "TCP") -> tuple[str, int]:
        """A service's node port at the first node."""
        ports = {port.get("protocol", "TCP"): port["nodePort"] for port in self.services[way]["spec"]["ports"]}
        return str(self.cluster.site.machine("n1").addresses[family]), ports[protocol]


@pytest.fixture(scope="module", params=MODES)
def made(request: pytest.FixtureRequest) -> Iterator[Forwarding]:
    options, name = MODES[request.param], f"swlab-forwarding-{os.getpid()}"
    try:
        up = cluster.up(name, options, print)
        services = {}
        for way in ("snat", "tunnel", "dsr"):
            said = "{}" if way == options.forwarding else f"{{sluiceway.io/forwarding: {way}}}"
            (services[way],) = up.apply(SERVICE.format(way=way, annotations=said, port=PORT))
        ports = (Port("tcp", PORT), Port("udp", PORT, "UDP"))
        item = up.run("far", "n2", [*PROBE, "serve", str(PORT)], labels={"app": "far"}, ports=ports)
        yield Forwarding(up, use.client(up, item), services)
    finally:
        site.remove(name)


@FAMILIES
@pytest.mark.parametrize("way", ["snat", "tunnel", "dsr"])
def test_whom_the_pod_sees_and_by_whom_it_answers(made: Forwarding, way: str, family: int) -> None:
    first = made.cluster.site.machine("n1")
    seen = str((first if way == "snat" else made.cluster.site.outside).addresses[family])
    before = came_in(first)[1]
    assert ask(made.outside, "tcp", WRITTEN, made.target(way, family)) == seen
    octets = came_in(first)[1] - before
    assert octets > WRITTEN
    assert (octets < 1.5 * WRITTEN) == (way == "dsr"), "answers come by the first node, or do not"
    for size in (100, 1400, 4000):
        assert ask(made.outside, "udp", size, made.target(way, family, "UDP")) == seen
    assert ask(made.outside, "segments", SEGMENTED, made.target(way, family, "UDP")) == seen


@FAMILIES
def test_a_narrow_way_to_the_client_is_told_to_the_pod(made: Forwarding, family: int) -> None:
    """Its router tells the first node, whose address the answers have, of packets that the second one sent."""
    router, client = made.cluster.site.machine(ROUTER), str(made.cluster.site.outside.addresses[family])
    narrow = ("ip", ("-4", "-6")[family], "route", "replace", client, "dev", "br0", "mtu", "lock", str(NARROW))
    router.run(*narrow)
    try:
        assert ask(made.outside, "tcp", WRITTEN, made.target("dsr", family)) == client
        route = made.pod.machine.run("ip", "route", "get", client, context=made.pod.context).stdout
        assert f"mtu {NARROW}" in route
    finally:
        router.run(*narrow[:2], "route", "del", client)


def test_flows_outlive_the_agents(made: Forwarding) -> None:
    by_tunnel, by_dsr = (made.target(way, 0, "UDP") for way in ("tunnel", "dsr"))
    with talking(made.outside, "udp", *by_tunnel) as tunnel, talking(made.outside, "udp", *by_dsr) as dsr:
        began = time.monotonic()
        for node in made.cluster.site.nodes:
            agents.kill(node)
            agents.start_again(node)
        for node in made.cluster.site.nodes:
            agents.wait(node)
        without_s = time.monotonic() - began
    for seen in (tunnel, dsr):
        assert seen["seen"] == [str(made.cluster.site.outside.addresses[0])]
        assert seen["silent_s"] < max(SILENT_S, without_s / 4)
