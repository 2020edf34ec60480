"""Every way between nodes: natively and encapsulated, to one's own node, one's own subnet and another subnet."""

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

PORT = 7000
PROBE = (sys.executable, "-I", "-S", str(Path(__file__).with_name("probe.py")))
PORTS = (Port("tcp", PORT), Port("udp", PORT, "UDP"))
WRITTEN = 1 << 20  # bytes, 64 KiB at a time
OVER_MTU = 4000  # bytes of a datagram
HEADERS = (28, 48)  # of an echo request over IPv4 and IPv6
SEGMENTED = 16_000  # bytes, of datagrams that the kernel is given in one piece
STREAM = "20M"  # bytes of a stream that is measured
LEAST = 1e8  # bit/s: a tenth of what a busy machine shows, and far above what survives losses
SUPERFRAME = 4000  # bytes on average, of what the programs see come in
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
# what the next packet from n1 to n2 carries: the protocol, and over UDP the port and the first word
OUTER = {"native": "1", "vxlan": "17 8472 08000000", "ipip": "4", "geneve": "17 6081 00006558"}
# where the other pod is, seen from n1; with two subnets n2 is on the other
PLACES = {"its own node": "n1", "its own subnet": "n3", "another subnet": "n2"}
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
FAR = pytest.mark.parametrize("node", [pytest.param(node, id=place) for place, node in PLACES.items()])
OTHERS = pytest.mark.parametrize("node", [pytest.param(n, id=place) for place, n in PLACES.items() if n != "n1"])
SERVICE = """
kind: Service
metadata: {{name: at-{node}}}
spec:
  type: NodePort
  selector: {{at: {node}}}
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: tcp, port: 80, targetPort: {port}}}, {{name: udp, port: 80, targetPort: {port}, protocol: UDP}}]
"""
# a service whose backend is the node itself, as a pod on its network would be
ON_HOST = """
kind: Service
metadata: {{name: on-{node}}}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: tcp, port: 80, targetPort: {port}}}, {{name: udp, port: 80, targetPort: {port}, protocol: UDP}}]
---
kind: EndpointSlice
metadata: {{name: on-{node}-4, labels: {{kubernetes.io/service-name: on-{node}}}}}
addressType: IPv4
ports: [{{name: tcp, port: {port}}}, {{name: udp, port: {port}, protocol: UDP}}]
endpoints: [{{addresses: ["{addresses[0]}"], nodeName: {node}}}]
---
kind: EndpointSlice
metadata: {{name: on-{node}-6, labels: {{kubernetes.io/service-name: on-{node}}}}}
addressType: IPv6
ports: [{{name: tcp, port: {port}}}, {{name: udp, port: {port}, protocol: UDP}}]
endpoints: [{{addresses: ["{addresses[1]}"], nodeName: {node}}}]
"""


@dataclass(frozen=True, slots=True)
class Mode:
    """A cluster in one mode, with a server in a pod of each node, on each node and outside."""

    cluster: Cluster
    mtu: int
    asking: Client  # in a pod on n1
    own: list[str]  # its addresses
    third: Client  # in a pod on n3
    pods: dict[str, list[str]]  # by node
    services: dict[str, Any]  # by node
    on_host: dict[str, Any]  # services whose backend is the node itself, by node

    def machine(self, name: str) -> Machine:
        """A machine by its name."""
        return self.cluster.site.machine(name)


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> Iterator[Mode]:
    options, mtu = MODES[request.param]
    name = f"swlab-mode-{os.getpid()}"
    try:
        yield _made(cluster.up(name, options, print), mtu)
    finally:
        site.remove(name)


def _made(made: Cluster, mtu: int) -> Mode:
    services, pods, on_host = {}, {}, {}
    for node in made.site.node_names:
        (services[node],) = made.apply(SERVICE.format(node=node, port=PORT))
        item = made.run(f"at-{node}", node, [*PROBE, "serve", str(PORT)], labels={"at": node}, ports=PORTS)
        pods[node] = _ips(item)
        server = use.client(made, item)
        server.machine.daemon("iperf3", ["iperf3", "--server"], place=server.place)
        own = made.site.machine(node).addresses
        on_host[node], *_ = made.apply(ON_HOST.format(node=node, port=PORT, addresses=own))
    for machine in (made.site.outside, *made.site.nodes):
        machine.daemon("probe", [*PROBE, "serve", str(PORT)])
    item = made.run("asking", "n1", ["sleep", "infinity"])
    third = use.client(made, made.run("third", "n3", ["sleep", "infinity"]))
    return Mode(made, mtu, use.client(made, item), _ips(item), third, pods, services, on_host)


@FAMILIES
@FAR
def test_an_echo_of_exactly_the_mtu_goes_between_pods_and_one_byte_more_does_not(
    mode: Mode, node: str, family: int
) -> None:
    size = mode.mtu - HEADERS[family]
    assert ping(mode.asking, mode.pods[node][family], size)
    assert f"mtu={mode.mtu}" in echo(mode.asking, mode.pods[node][family], size + 1, 0.2).replace(": ", "=")


@FAMILIES
@FAR
def test_pods_talk_both_ways_with_large_writes_and_datagrams_over_the_mtu(mode: Mode, node: str, family: int) -> None:
    assert both(mode.asking, mode.pods[node][family]) == {mode.own[family]}


@FAMILIES
@FAR
def test_every_hop_between_pods_answers(mode: Mode, node: str, family: int) -> None:
    address = mode.pods[node][family]
    argv = ["traceroute", "-n", "-q", "1", "-w", "2", "-m", "5", address]
    hops = mode.asking.machine.run(*argv, place=mode.asking.place).stdout.splitlines()[1:]
    assert [hop.split()[1] for hop in hops][-1] == address
    assert len(hops) == (2 if node == "n1" else 3)
    assert "*" not in "".join(hops)


@FAMILIES
@OTHERS
def test_a_stream_between_pods_flows(mode: Mode, node: str, family: int) -> None:
    assert stream(mode.asking, mode.pods[node][family]) > LEAST


def test_the_wire_carries_what_the_mode_says(mode: Mode) -> None:
    there, own = mode.machine("n2"), str(mode.machine("n1").addresses[0])
    argv = [*PROBE, "watch", "eth0", own]
    with ThreadPoolExecutor() as pool:
        seen = pool.submit(there.run, *argv)
        while not seen.done():
            ping(mode.asking, mode.pods["n2"][0], 56)
            if mode.cluster.site.options.encapsulation == "native":
                ping(use.host(mode.machine("n1")), str(there.addresses[0]), 56)
        found = seen.result().stdout
    assert found == OUTER[mode.cluster.site.options.encapsulation]


@FAMILIES
def test_superframes_stay_whole_and_are_cut_where_they_must_be(mode: Mode, family: int) -> None:
    """Through a node port of n1, whose uplink computes checksums, to n2, from outside and from a pod of n3."""
    wires = [mode.machine(name) for name in ("n2", "n3")]
    for machine in wires:
        machine.run("ethtool", "-K", "eth0", "tx", "on", "tso", "on", "tx-udp-segmentation", "on")
    try:
        port, address = mode.services["n2"]["spec"]["ports"][0]["nodePort"], str(mode.machine("n1").addresses[family])
        assert ask(use.host(mode.cluster.site.outside), "tcp", address, port, 4 * WRITTEN)
        assert ask(mode.third, "tcp", address, port, 4 * WRITTEN)
        assert ask(mode.third, "tcp", mode.pods["n2"][family], PORT, 4 * WRITTEN)
        assert ask(mode.third, "segments", mode.pods["n2"][family], PORT, SEGMENTED)
        assert ask(mode.third, "segments", mode.pods["n1"][family], PORT, SEGMENTED)
        before = came_in(mode.machine("n1"))
        stream(mode.third, mode.pods["n1"][family])
        packets, octets = (now - then for now, then in zip(came_in(mode.machine("n1")), before, strict=True))
        assert octets / packets > SUPERFRAME
    finally:
        for machine in wires:
            machine.run("ethtool", "-K", "eth0", "tx", "off")


@FAMILIES
@FAR
def test_a_pod_reaches_a_service_whose_backend_is_there(mode: Mode, node: str, family: int) -> None:
    address = mode.services[node]["spec"]["clusterIPs"][family]
    assert both(mode.asking, address, 80) == {mode.own[family]}


@FAMILIES
@FAR
def test_the_outside_reaches_a_node_port_whose_backend_is_there(mode: Mode, node: str, family: int) -> None:
    tcp, udp = (port["nodePort"] for port in mode.services[node]["spec"]["ports"])
    outside, address = use.host(mode.cluster.site.outside), str(mode.machine("n1").addresses[family])
    assert ask(outside, "tcp", address, tcp, WRITTEN)
    assert ask(outside, "udp", address, udp, OVER_MTU)


@FAMILIES
@FAR
def test_a_pod_reaches_a_node_port_whose_backend_is_that_node_itself(mode: Mode, node: str, family: int) -> None:
    tcp, udp = (port["nodePort"] for port in mode.on_host[node]["spec"]["ports"])
    address = str(mode.machine(node).addresses[family])
    assert ask(mode.asking, "tcp", address, tcp, WRITTEN)
    assert ask(mode.asking, "udp", address, udp, OVER_MTU)


@FAMILIES
def test_the_outside_sees_a_pod_under_its_nodes_address(mode: Mode, family: int) -> None:
    address = str(mode.cluster.site.outside.addresses[family])
    assert both(mode.asking, address) == {str(mode.machine("n1").addresses[family])}
    assert ping(mode.asking, address, 56)


@FAMILIES
@FAR
def test_a_node_reaches_a_pod(mode: Mode, node: str, family: int) -> None:
    own = str(mode.machine("n1").addresses[family])
    assert both(use.host(mode.machine("n1")), mode.pods[node][family]) == {own}
    assert ping(use.host(mode.machine("n1")), mode.pods[node][family], 56)


@FAMILIES
@FAR
def test_a_node_reaches_a_service_whose_backend_is_there(mode: Mode, node: str, family: int) -> None:
    address = mode.services[node]["spec"]["clusterIPs"][family]
    own = str(mode.machine("n1").addresses[family])
    assert both(use.host(mode.machine("n1")), address, 80) == {own}


@FAMILIES
@FAR
def test_a_node_sees_a_pod_under_the_pods_own_address(mode: Mode, node: str, family: int) -> None:
    address = str(mode.machine(node).addresses[family])
    assert both(mode.asking, address) == {mode.own[family]}
    assert ping(mode.asking, address, 56)


@FAMILIES
@OTHERS
def test_nodes_reach_each_other_as_ever(mode: Mode, node: str, family: int) -> None:
    own = str(mode.machine("n1").addresses[family])
    assert both(use.host(mode.machine("n1")), str(mode.machine(node).addresses[family])) == {own}


def stream(asking: Client, address: str) -> float:
    """Bits per second of a short stream."""
    argv = ["iperf3", "--json", "--client", address, "--bytes", STREAM]
    done = json.loads(asking.machine.run(*argv, place=asking.place).stdout)
    return float(done["end"]["sum_received"]["bits_per_second"])


def came_in(node: Machine) -> tuple[int, int]:
    """Packets and bytes that the uplinks and the tunnel brought so far, of those that the programs carried on."""
    rows = json.loads(node.run("dpctl", "status", "-o", "json").stdout)
    found = [r for r in rows if (r.get("program"), r.get("direction")) == ("uplink", "ingress") and not r["reason"]]
    return sum(r["packets"] for r in found), sum(r["octets"] for r in found)


def both(asking: Client, address: str, port: int = PORT) -> set[str]:
    """How the server sees the client, over TCP with large writes and over UDP with a datagram over the MTU."""
    return {ask(asking, "both", address, port, WRITTEN)}


def ask(asking: Client, kind: str, address: str, port: int, size: int) -> str:
    """How the server sees the client, after all came back."""
    argv = [*PROBE, "ask", kind, address, str(port), str(size)]
    return asking.machine.run(*argv, place=asking.place).stdout


def ping(asking: Client, address: str, size: int) -> bool:
    """Whether an echo request with so many bytes of data, not to be fragmented, is answered."""
    return " 1 received" in echo(asking, address, size)


def echo(asking: Client, address: str, size: int, wait_s: float = 1.0) -> str:
    """What is said of an echo request with so many bytes of data, not to be fragmented."""
    argv = ["ping", "-n", "-M", "do", "-c", "1", "-W", str(wait_s), "-s", str(size), address]
    done = asking.machine.run(*argv, check=False, place=asking.place)
    return done.stdout + done.stderr


def _ips(item: Object) -> list[str]:
    return [ip["ip"] for ip in item["status"]["podIPs"]]
