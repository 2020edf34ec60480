"""Over VXLAN nobody sends what the tunnel does not carry: TCP from the first segment on, others after an ICMP error."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import cluster, site, use
from lab.cluster import Cluster
from lab.machine import Machine
from lab.manifests import Object
from lab.pods import Port
from lab.site import Options
from lab.use import Client
from tests.patience import until

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

PORT = 7000
HERE = Path(__file__).parent
PROBE = (sys.executable, "-I", "-S", str(HERE / "probe.py"))
PATH_MTU = (sys.executable, "-I", "-S", str(HERE / "path_mtu.py"))
SHUFFLE = (sys.executable, "-I", "-S", str(HERE / "shuffle.py"))
PORTS = (Port("tcp", PORT), Port("udp", PORT, "UDP"))
TUNNEL, WIDER = 1450, 1500
HEADERS = (40, 60)  # of TCP over IPv4 and IPv6
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
SERVICE = f"""
kind: Service
metadata: {{name: far}}
spec:
  type: NodePort
  selector: {{at: n2}}
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: tcp, port: 80, targetPort: {PORT}}}, {{name: udp, port: 80, targetPort: {PORT}, protocol: UDP}}]
"""


@dataclass(frozen=True, slots=True)
class Tunnelled:
    """Two nodes with a tunnel between them; the pods' own links carry more than it does."""

    cluster: Cluster
    asking: Client  # in a pod on n1
    server: Client  # the pod on n2
    addresses: list[str]  # its
    service: Mapping[str, Any]

    def target(self, where: str, family: int, protocol: str = "tcp") -> tuple[Client, str, int]:
        """Who asks whom."""
        outside = use.host(self.cluster.site.outside)
        ports = {port["name"]: port["nodePort"] for port in self.service["spec"]["ports"]}
        return {
            "a pod from a pod": (self.asking, self.addresses[family], PORT),
            "a service from a pod": (self.asking, self.service["spec"]["clusterIPs"][family], 80),
            "a node port from outside": (outside, self._node(family), ports[protocol]),
            "a service from the node": (self._host(), self.service["spec"]["clusterIPs"][family], 80),
        }[where]

    def _host(self) -> Client:
        return use.host(self.cluster.site.machine("n1"))

    def _node(self, family: int) -> str:
        return str(self.cluster.site.machine("n1").addresses[family])


WHERE = pytest.mark.parametrize(
    "where", ["a pod from a pod", "a service from a pod", "a node port from outside", "a service from the node"]
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Tunnelled]:
    name = f"swlab-mtu-{os.getpid()}"
    try:
        yield _made(cluster.up(name, Options(nodes=2, socket_lb=False, subnets=2, encapsulation="vxlan"), print))
    finally:
        site.remove(name)


def _made(made: Cluster) -> Tunnelled:
    (service,) = made.apply(SERVICE)
    server = made.run("server", "n2", [*PROBE, "serve", str(PORT)], labels={"at": "n2"}, ports=PORTS)
    asking = made.run("asking", "n1", ["sleep", "infinity"])
    found = Tunnelled(made, use.client(made, asking), use.client(made, server), _ips(server), service)
    for pod in (found.asking, found.server):
        for end in (pod.context, use.host(pod.machine).context):
            device = "eth0" if end is pod.context else _veth(pod.machine)
            pod.machine.run("ip", "link", "set", device, "mtu", str(WIDER), context=end)
    return found


def _veth(machine: Machine) -> str:
    shown = machine.run("ip", "-o", "link", "show", "type", "veth").stdout
    return next(word for word in shown.split() if word.startswith("swp")).partition("@")[0]


@WHERE
@FAMILIES
def test_the_first_segment_carries_the_tunnels_maximum_segment_size(lab: Tunnelled, where: str, family: int) -> None:
    asking, address, port = lab.target(where, family)
    log = lab.server.machine.home / "mss.log"
    log.unlink(missing_ok=True)
    lab.server.machine.daemon("mss", [*PATH_MTU, "mss", str(PORT)], context=lab.server.context)
    try:
        _wait(log, "listening")
        asking.machine.run(*PATH_MTU, "connect", address, str(port), context=asking.context)
        assert _wait(log, "\n").split()[1:] == [str(TUNNEL - HEADERS[family])]
    finally:
        lab.server.machine.stop("mss")


@WHERE
@FAMILIES
def test_a_sender_of_what_must_not_be_fragmented_learns_the_path_mtu(lab: Tunnelled, where: str, family: int) -> None:
    asking, address, port = lab.target(where, family, "udp")
    argv = [*PATH_MTU, "mtu", address, str(port), str(WIDER - 48), str(TUNNEL)]
    assert asking.machine.run(*argv, context=asking.context).stdout == str(TUNNEL)


@WHERE
@FAMILIES
def test_megabytes_go_both_ways(lab: Tunnelled, where: str, family: int) -> None:
    asking, address, port = lab.target(where, family)
    asking.machine.run(*PROBE, "ask", "tcp", str(1 << 20), address, str(port), context=asking.context)


def _wait(log: Path, word: str) -> str:
    """What the log says when it has a line more than the one that begins it."""

    def text() -> str:
        return log.read_text() if log.exists() else ""

    until(lambda: (word in text()) if word.strip() else text().count("\n") > 1, lambda: f"nothing more than {text()!r}")
    return text()


def _ips(item: Object) -> list[str]:
    return [ip["ip"] for ip in item["status"]["podIPs"]]
