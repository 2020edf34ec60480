"""Every way between nodes: natively and encapsulated, to one's own node, one's own subnet and another subnet."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import cluster, site, use
from lab.addresses import ROUTER
from lab.machine import Machine
from tests.lab import big_tcp
from tests.lab.modes import (
    MODES,
    ON_HOST,
    OVER_MTU,
    PORT,
    PROBE,
    WRITTEN,
    Mode,
    addresses,
    ask,
    both,
    came_in,
    echo,
    ping,
    stream,
)

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

HEADERS = (28, 48)  # of an echo request over IPv4 and IPv6
SEGMENTED = 16_000  # bytes, of datagrams that the kernel is given in one piece
LEAST = 1e8  # bit/s: a tenth of what a busy machine shows, and far above what survives losses
GSO_LENGTH = 4000  # bytes on average, of what the programs see come in
# what the next packet from n1 to n2 carries: the protocol, and over UDP the port and the first word
OUTER = {"native": "1", "vxlan": "17 8472 08000000", "ipip": "4", "geneve": "17 6081 00006558"}
# where the other pod is, seen from n1; with two subnets n2 is on the other
PLACES = {"its own node": "n1", "its own subnet": "n3", "another subnet": "n2"}
FAMILIES = pytest.mark.parametrize("family", [pytest.param(0, id="ipv4"), pytest.param(1, id="ipv6")])
FAR = pytest.mark.parametrize("node", [pytest.param(node, id=place) for place, node in PLACES.items()])
OTHERS = pytest.mark.parametrize("node", [pytest.param(n, id=place) for place, n in PLACES.items() if n != "n1"])


OUTSIDE = """
kind: Service
metadata: {{name: outside}}
spec:
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: tcp, port: 80, targetPort: {port}}}, {{name: udp, port: 80, targetPort: {port}, protocol: UDP}}]
---
kind: EndpointSlice
metadata: {{name: outside-4, labels: {{kubernetes.io/service-name: outside}}}}
addressType: IPv4
ports: [{{name: tcp, port: {port}}}, {{name: udp, port: {port}, protocol: UDP}}]
endpoints: [{{addresses: ["{ipv4}"], conditions: {{ready: true}}}}]
---
kind: EndpointSlice
metadata: {{name: outside-6, labels: {{kubernetes.io/service-name: outside}}}}
addressType: IPv6
ports: [{{name: tcp, port: {port}}}, {{name: udp, port: {port}, protocol: UDP}}]
endpoints: [{{addresses: ["{ipv6}"], conditions: {{ready: true}}}}]
"""
# three servers that tell the port which they see, or one socket's (UDP) or one port's (TCP) question to each of them
PORT_SEEN = """
import socket, sys, selectors, time
kind, what, *words = sys.argv[1:]
ports = (7101, 7102, 7103)
if what == "serve":
    chosen = selectors.DefaultSelector()
    for port in ports:
        if kind == "tcp":
            one = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            one.bind(("::", port))
        chosen.register(one, selectors.EVENT_READ)
    while True:
        for key, _ in chosen.select():
            if kind == "tcp":
                connection, peer = key.fileobj.accept()
                connection.sendall(str(peer[1]).encode())
                connection.close()
            else:
                peer = key.fileobj.recvfrom(100)[1]
                key.fileobj.sendto(str(peer[1]).encode(), peer)
family = socket.AF_INET6 if ":" in what else socket.AF_INET
def asking():
    one = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.settimeout(3)
    one.bind(("", int(words[0])))
    return one
shared = asking() if kind == "udp" else None
for port in ports:
    for _ in range(500):
        one = shared or asking()
        try:
            if kind == "tcp":
                one.connect((what, port))
            else:
                one.sendto(b"?", (what, port))
            print(one.recv(100).decode())
            break
        except OSError:
            time.sleep(0.2)  # the servers start
    else:
        print("nobody")
"""


# of each size, which of two datagrams, each sent when the one before is lost, is the first to come back whole
FIRST = """
import os, socket, sys
address, port, *sizes = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(3)
    for data in (os.urandom(int(size)) for size in sizes):
        for number in (1, 2):
            asking.sendto(data, (address, int(port)))
            try:
                print(number if asking.recv(65536).endswith(data) else "came back otherwise")
                break
            except TimeoutError:
                pass
"""
PATH_MTU = (sys.executable, "-I", "-S", str(Path(__file__).with_name("path_mtu.py")))


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> Iterator[Mode]:
    options, mtu = MODES[request.param]
    name = f"swlab-mode-{os.getpid()}"
    try:
        yield Mode.of(cluster.up(name, options, print), mtu)
    finally:
        site.remove(name)


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
    assert both(mode.asking, (mode.pods[node][family], PORT)) == {mode.own[family]}


@FAMILIES
@FAR
def test_every_hop_between_pods_answers(mode: Mode, node: str, family: int) -> None:
    address = mode.pods[node][family]
    argv = ["traceroute", "-n", "-q", "1", "-w", "2", "-m", "5", address]
    hops = mode.asking.machine.run(*argv, context=mode.asking.context).stdout.splitlines()[1:]
    assert [hop.split()[1] for hop in hops][-1] == address
    assert len(hops) == (2 if node == "n1" else 3)
    assert "*" not in "".join(hops)


@FAMILIES
@OTHERS
def test_a_stream_between_pods_flows(mode: Mode, node: str, family: int) -> None:
    assert stream(mode.asking, mode.pods[node][family]) > LEAST


def test_packets_between_nodes_are_encapsulated_as_the_mode_says(mode: Mode) -> None:
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
def test_gso_packets_stay_whole_and_are_segmented_where_they_must_be(mode: Mode, family: int) -> None:
    """Through a node port of n1, whose uplink computes checksums, to n2, from outside and from a pod of n3."""
    receivers = [mode.machine(name) for name in ("n2", "n3")]
    for machine in receivers:
        machine.run("ethtool", "-K", "eth0", "tx", "on", "tso", "on", "tx-udp-segmentation", "on")
    try:
        port, address = mode.services["n2"]["spec"]["ports"][0]["nodePort"], str(mode.machine("n1").addresses[family])
        assert ask(use.host(mode.cluster.site.outside), "tcp", 4 * WRITTEN, (address, port))
        assert ask(mode.third, "tcp", 4 * WRITTEN, (address, port))
        assert ask(mode.third, "tcp", 4 * WRITTEN, (mode.pods["n2"][family], PORT))
        assert ask(mode.third, "segments", SEGMENTED, (mode.pods["n2"][family], PORT))
        assert ask(mode.third, "segments", SEGMENTED, (mode.pods["n1"][family], PORT))
        before = came_in(mode.machine("n1"))
        stream(mode.third, mode.pods["n1"][family])
        packets, octets = (now - then for now, then in zip(came_in(mode.machine("n1")), before, strict=True))
        assert octets / packets > GSO_LENGTH
    finally:
        for machine in receivers:
            machine.run("ethtool", "-K", "eth0", "tx", "off")


@pytest.mark.skipif(not big_tcp.is_known(), reason="Linux 6.3 has them first")
def test_gso_packets_of_more_than_64_kib_flow(mode: Mode) -> None:
    """To the own node, and between nodes whose devices cut nothing."""
    nodes = [mode.machine(name) for name in ("n1", "n3")]
    hops = [use.host(machine) for machine in (mode.machine(ROUTER), *nodes)]
    for machine in nodes:
        machine.run("ethtool", "-K", "eth0", "tx", "on", "tso", "on")
    try:
        with big_tcp.raised(mode.asking, *hops):
            for node in ("n1", "n3"):
                before = big_tcp.sent(mode.asking)
                assert stream(mode.asking, mode.pods[node][0]) > LEAST
                packets, octets = (now - then for now, then in zip(big_tcp.sent(mode.asking), before, strict=True))
                assert octets / packets > big_tcp.USUAL
                assert both(mode.asking, (mode.services[node]["spec"]["clusterIPs"][0], 80)) == {mode.own[0]}
    finally:
        for machine in nodes:
            machine.run("ethtool", "-K", "eth0", "tx", "off")


@FAMILIES
@FAR
def test_a_pod_reaches_a_service_whose_backend_is_there(mode: Mode, node: str, family: int) -> None:
    address = mode.services[node]["spec"]["clusterIPs"][family]
    assert both(mode.asking, (address, 80)) == {mode.own[family]}


@FAMILIES
@FAR
@pytest.mark.parametrize("who", ["a pod", "its node"])
def test_datagrams_that_the_kernel_is_given_in_one_piece_reach_a_service(
    mode: Mode, node: str, family: int, who: str
) -> None:
    """As QUIC sends them (UDP_SEGMENT): their checksum is left to whoever cuts them."""
    asking = mode.asking if who == "a pod" else use.host(mode.machine("n1"))
    assert ask(asking, "segments", SEGMENTED, (mode.services[node]["spec"]["clusterIPs"][family], 80))


@FAMILIES
@FAR
def test_the_outside_reaches_a_node_port_whose_backend_is_there(mode: Mode, node: str, family: int) -> None:
    tcp, udp = (port["nodePort"] for port in mode.services[node]["spec"]["ports"])
    outside, address = use.host(mode.cluster.site.outside), str(mode.machine("n1").addresses[family])
    assert ask(outside, "tcp", WRITTEN, (address, tcp))
    assert ask(outside, "udp", OVER_MTU, (address, udp))


@FAMILIES
@FAR
def test_a_pod_reaches_one_on_the_network_of_a_node(mode: Mode, node: str, family: int) -> None:
    direct = (addresses(mode.on_host[node])[family], ON_HOST)
    service = (mode.on_host_services[node]["spec"]["clusterIPs"][family], 80)
    assert both(mode.asking, direct, service) == {mode.own[family]}


@FAMILIES
@FAR
def test_a_pod_on_the_network_of_its_node_reaches_pods_and_others_like_it(mode: Mode, node: str, family: int) -> None:
    asking = mode.on_host["n1"]
    services = [of[node]["spec"]["clusterIPs"][family] for of in (mode.services, mode.on_host_services)]
    targets = [(mode.pods[node][family], PORT), *((address, 80) for address in services)]
    assert both(use.client(mode.cluster, asking), *targets) == {addresses(asking)[family]}


@FAMILIES
@FAR
def test_a_pod_reaches_a_node_port_whose_backend_is_on_the_network_of_that_node(
    mode: Mode, node: str, family: int
) -> None:
    tcp, udp = (port["nodePort"] for port in mode.on_host_services[node]["spec"]["ports"])
    address = str(mode.machine(node).addresses[family])
    assert ask(mode.asking, "tcp", WRITTEN, (address, tcp))
    assert ask(mode.asking, "udp", OVER_MTU, (address, udp))


@FAMILIES
@pytest.mark.parametrize("who", ["a pod", "the node"])
def test_a_services_endpoint_outside_the_cluster_sees_the_node(mode: Mode, who: str, family: int) -> None:
    outside, own = mode.cluster.site.outside.addresses, str(mode.machine("n1").addresses[family])
    service, *_ = mode.cluster.apply(OUTSIDE.format(port=PORT, ipv4=outside[0], ipv6=outside[1]))
    asking = mode.asking if who == "a pod" else use.host(mode.machine("n1"))
    assert both(asking, (service["spec"]["clusterIPs"][family], 80)) == {own}


@FAMILIES
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_whom_a_pod_asks_outside_sees_the_port_that_it_asks_from(mode: Mode, kind: str, family: int) -> None:
    outside = mode.cluster.site.outside
    argv = [sys.executable, "-c", PORT_SEEN, kind]
    outside.daemon(f"sees-{kind}", [*argv, "serve"])
    try:
        for port in ("700", "5060", "25060"):
            seen = mode.asking.machine.run(*argv, str(outside.addresses[family]), port, context=mode.asking.context)
            assert set(seen.stdout.split()) == {port}
    finally:
        outside.stop(f"sees-{kind}")


@FAMILIES
def test_the_outside_sees_a_pod_under_its_nodes_address(mode: Mode, family: int) -> None:
    address = str(mode.cluster.site.outside.addresses[family])
    assert both(mode.asking, (address, PORT)) == {str(mode.machine("n1").addresses[family])}
    assert ping(mode.asking, address, 56)


@FAMILIES
@FAR
def test_a_node_reaches_a_pod(mode: Mode, node: str, family: int) -> None:
    own = str(mode.machine("n1").addresses[family])
    assert both(use.host(mode.machine("n1")), (mode.pods[node][family], PORT)) == {own}
    assert ping(use.host(mode.machine("n1")), mode.pods[node][family], 56)


@FAMILIES
@FAR
def test_a_node_reaches_a_service_whose_backend_is_there(mode: Mode, node: str, family: int) -> None:
    address = mode.services[node]["spec"]["clusterIPs"][family]
    own = str(mode.machine("n1").addresses[family])
    assert both(use.host(mode.machine("n1")), (address, 80)) == {own}


def forget_mtus(machine: Machine) -> None:
    """Have a node's kernel know no path MTU."""
    machine.run("ip", "route", "flush", "cache")
    machine.run("ip", "-6", "route", "flush", "cache")


@FAMILIES
@OTHERS
def test_a_nodes_first_datagram_that_fits_its_uplink_alone_reaches_a_service(
    mode: Mode, node: str, family: int
) -> None:
    """It is sent whole or in fragments of the uplink's size, and too large for the tunnel to the backend.

    So is what goes by loopback, to a node port at the node's own address. Who forbids fragments is told the MTU.
    """
    machine, spec = mode.machine("n1"), mode.services[node]["spec"]
    address, whole = spec["clusterIPs"][family], 1500 - HEADERS[family]
    try:
        argv = [sys.executable, "-c", FIRST, address, "80", *map(str, (whole, whole - 1, 2 * whole, 8001))]
        assert machine.run(*argv).stdout.split() == ["1"] * 4
        if mode.cluster.site.options.encapsulation == "ipip" and mode.way(node) < 1500:
            (port,) = (each["nodePort"] for each in spec["ports"] if each["protocol"] == "UDP")
            argv = [sys.executable, "-c", FIRST, str(machine.addresses[family]), str(port), str(whole), "15001"]
            assert machine.run(*argv).stdout.split() == ["1"] * 2
        told = machine.run(*PATH_MTU, "mtu", address, "80", str(whole), str(mode.way(node))).stdout
        assert told == str(mode.way(node))
    finally:
        forget_mtus(machine)


@FAMILIES
@FAR
def test_a_node_sees_a_pod_under_the_pods_own_address(mode: Mode, node: str, family: int) -> None:
    address = str(mode.machine(node).addresses[family])
    assert both(mode.asking, (address, PORT)) == {mode.own[family]}
    assert ping(mode.asking, address, 56)


@FAMILIES
@OTHERS
def test_nodes_reach_each_other_as_ever(mode: Mode, node: str, family: int) -> None:
    own = str(mode.machine("n1").addresses[family])
    assert both(use.host(mode.machine("n1")), (str(mode.machine(node).addresses[family]), PORT)) == {own}
