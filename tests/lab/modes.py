"""A cluster in each mode between nodes, with somebody to ask wherever packets may go, and how to ask."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lab import use
from lab.cluster import Cluster
from lab.machine import Machine
from lab.manifests import Object
from lab.pods import Port
from lab.site import Options
from lab.use import Client

PORT = 7000
ON_HOST = 7001  # of a pod on its node's network, where PORT is the node's own server's
PROBE = (sys.executable, "-I", "-S", str(Path(__file__).with_name("probe.py")))
WRITTEN = 1 << 20  # bytes, 64 KiB at a time
OVER_MTU = 4000  # bytes of a datagram
STREAM = "20M"  # bytes of a stream that is measured
# without the socket hook, which would hide what the packet programs do
MODES = {
    "native": (Options(socket_lb=False), 1500),
    "vxlan": (Options(socket_lb=False, subnets=2, encapsulation="vxlan"), 1450),
    "vxlan across subnets": (Options(socket_lb=False, subnets=2, encapsulation="vxlan", cross_subnet=True), 1450),
    "ipip": (Options(socket_lb=False, subnets=2, encapsulation="ipip"), 1480),
    "ipip across subnets": (Options(socket_lb=False, subnets=2, encapsulation="ipip", cross_subnet=True), 1480),
    "geneve": (Options(socket_lb=False, subnets=2, encapsulation="geneve"), 1450),
    "geneve across subnets": (Options(socket_lb=False, subnets=2, encapsulation="geneve", cross_subnet=True), 1450),
}
SERVICE = """
kind: Service
metadata: {{name: {called}}}
spec:
  type: NodePort
  selector: {{app: {called}}}
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: tcp, port: 80, targetPort: {port}}}, {{name: udp, port: 80, targetPort: {port}, protocol: UDP}}]
"""


@dataclass(frozen=True, slots=True)
class Mode:
    """A cluster in one mode, with a server in a pod of each node, in one on its network, on each node and outside."""

    cluster: Cluster
    mtu: int
    asking: Client  # in a pod on n1
    own: list[str]  # its addresses
    third: Client  # in a pod on n3
    pods: dict[str, list[str]]  # by node
    services: dict[str, Any]  # by node
    on_host: dict[str, Object]  # pods on the network of their node, by node
    on_host_services: dict[str, Any]  # by node

    def machine(self, name: str) -> Machine:
        """A machine by its name."""
        return self.cluster.site.machine(name)

    def way(self, node: str) -> int:
        """The MTU of the way from n1 to another node's pods."""
        options = self.cluster.site.options
        return self.mtu if node == "n2" or not options.cross_subnet else 1500

    @classmethod
    def of(cls, made: Cluster, mtu: int) -> Self:
        """Fill a cluster that is up."""
        services, pods, on_host, on_host_services = {}, {}, {}, {}
        for node in made.site.node_names:
            item, services[node] = serve(made, f"at-{node}", node, PORT)
            pods[node] = addresses(item)
            server = use.client(made, item)
            server.machine.daemon("iperf3", ["iperf3", "--server"], context=server.context)
            on_host[node], on_host_services[node] = serve(made, f"on-{node}", node, ON_HOST, host_network=True)
        for machine in (made.site.outside, *made.site.nodes):
            machine.daemon("probe", [*PROBE, "serve", str(PORT)])
        item = made.run("asking", "n1", ["sleep", "infinity"])
        third = use.client(made, made.run("third", "n3", ["sleep", "infinity"]))
        own = addresses(item)
        return cls(made, mtu, use.client(made, item), own, third, pods, services, on_host, on_host_services)


def serve(made: Cluster, called: str, node: str, port: int, *, host_network: bool = False) -> tuple[Object, Object]:
    """A pod that serves as the probe does, and its Service."""
    (service,) = made.apply(SERVICE.format(called=called, port=port))
    ports = (Port("tcp", port), Port("udp", port, "UDP"))
    command = [*PROBE, "serve", str(port)]
    return made.run(called, node, command, labels={"app": called}, ports=ports, host_network=host_network), service


def addresses(item: Object) -> list[str]:
    """A pod's addresses, IPv4 first."""
    return [ip["ip"] for ip in item["status"]["podIPs"]]


def stream(asking: Client, address: str) -> float:
    """Bits per second of a short stream."""
    argv = ["iperf3", "--json", "--client", address, "--bytes", STREAM]
    done = json.loads(asking.machine.run(*argv, context=asking.context).stdout)
    return float(done["end"]["sum_received"]["bits_per_second"])


def came_in(node: Machine) -> tuple[int, int]:
    """Packets and bytes that the uplinks and the tunnel brought so far, of those that the programs carried on."""
    rows = json.loads(node.run("dpctl", "status", "-o", "json").stdout)
    found = [r for r in rows if (r.get("program"), r.get("direction")) == ("uplink", "ingress") and not r["reason"]]
    return sum(r["packets"] for r in found), sum(r["octets"] for r in found)


def both(asking: Client, *targets: tuple[str, int]) -> set[str]:
    """How the servers see the client, over TCP with large writes and over UDP with a datagram over the MTU."""
    return set(ask(asking, "both", WRITTEN, *targets).split())


def ask(asking: Client, kind: str, size: int, *targets: tuple[str, int]) -> str:
    """How the servers see the client, after all came back."""
    argv = [*PROBE, "ask", kind, str(size), *(str(word) for target in targets for word in target)]
    return asking.machine.run(*argv, context=asking.context).stdout


def ping(asking: Client, address: str, size: int) -> bool:
    """Whether an echo request with so many bytes of data, not to be fragmented, is answered."""
    return " 1 received" in echo(asking, address, size)


def echo(asking: Client, address: str, size: int, wait_s: float = 1.0) -> str:
    """The output of ping for an echo request with so many bytes of data, not to be fragmented."""
    argv = ["ping", "-n", "-M", "do", "-c", "1", "-W", str(wait_s), "-s", str(size), address]
    done = asking.machine.run(*argv, check=False, context=asking.context)
    return done.stdout + done.stderr
