"""A service's address leads to its ports alone, and nobody outside speaks for a service."""

from functools import reduce
from operator import truediv

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps.abi import DropReason, Scope
from tests.behaviours import shows
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    OTHER_POD_DEVICE,
    POD,
    POD6,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses

pytestmark = pytest.mark.kernel

INTERNAL, EXTERNAL = Scope.SCOPE_INTERNAL, Scope.SCOPE_EXTERNAL
SCOPES = pytest.mark.parametrize("scope", [INTERNAL, EXTERNAL], ids=["cluster IP", "external IP"])
FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
PORTS = pytest.mark.parametrize("l4", [syn(dport=99), datagram(dport=99)], ids=["TCP", "UDP"])
WITHIN = pytest.mark.parametrize("program", ["pod_ingress", "uplink_egress"], ids=["a pod", "the node"])


def asker(program: str, family: int) -> str:
    """The address of who sends what a program sees."""
    return {"pod_ingress": (POD, POD6), "uplink_egress": (NODE, NODE6)}[program][family]


def serve(node: Datapath, family: int, scope: Scope, backend: str = "") -> str:
    """A TCP and UDP service at port 80 of the address that is returned; *scope* is who may ask there."""
    vip = VIP6 if family else VIP
    for protocol in (6, 17):
        for asked in {INTERNAL, scope}:
            node.service(
                vip, 80, [(backend or (OTHER6 if family else OTHER), 8080, not backend)], protocol=protocol, scope=asked
            )
    node.service_address(vip, scope)
    return vip


@FAMILIES
@SCOPES
@shows("129 another port of a service's address", PORTS)
def test_from_outside_another_port_is_refused(node: Datapath, family: int, scope: Scope, l4: Packet) -> None:
    vip, client = serve(node, family, scope), CLIENT6 if family else CLIENT
    done = node.run("uplink_ingress", frame(client, vip, l4))
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NO_SERVICE)
    assert addresses(done.packet) == (vip, client)
    assert checksums_hold(done.packet)
    if TCP in l4:
        assert done.packet[TCP].flags == "RA"
    assert node.tables["flows"].count() == 0


@FAMILIES
def test_from_outside_its_own_port_is_served_where_it_leads_there(node: Datapath, family: int) -> None:
    vip, client = serve(node, family, EXTERNAL), CLIENT6 if family else CLIENT
    assert node.run("uplink_ingress", frame(client, vip, syn())).reason == DropReason.DROP_NONE


@FAMILIES
@shows("130 a ping has no answer", SCOPES)
def test_from_outside_what_has_no_port_ends_silently(node: Datapath, family: int, scope: Scope) -> None:
    vip, client = serve(node, family, scope), CLIENT6 if family else CLIENT
    for l4 in (ICMPv6EchoRequest(id=7) if family else ICMP(id=7), Raw(b"none of both")):
        done = node.run("uplink_ingress", frame(client, vip, l4))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NO_SERVICE_SILENT)


@FAMILIES
@SCOPES
def test_from_outside_what_cannot_be_read_ends_too(node: Datapath, family: int, scope: Scope) -> None:
    vip, client = serve(node, family, scope), CLIENT6 if family else CLIENT
    cut = {6: b"\x9c\x40\0\x50", 17: b"\x9c\x40"}  # of a first fragment there may be more behind
    for protocol, octets in cut.items():
        first = (
            IPv6(src=client, dst=vip, nh=protocol) if family else IP(src=client, dst=vip, proto=protocol, flags="MF")
        )
        done = node.run("uplink_ingress", Ether(bytes(Ether(dst=GATEWAY_MAC) / first / Raw(octets))))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SHORT_PACKET)
        own = IPv6(src=client, dst=NODE6, nh=protocol) if family else IP(src=client, dst=NODE, proto=protocol)
        left = node.run("uplink_ingress", Ether(bytes(Ether(dst=GATEWAY_MAC) / own / Raw(octets))))
        assert (left.verdict, dict(left.reasons)) == (TC_ACT_UNSPEC, {}), "the node's own to judge"
    if family:
        headers = reduce(truediv, [IPv6ExtHdrDestOpt() for _ in range(9)], IPv6(src=client, dst=vip))
        done = node.run("uplink_ingress", Ether(bytes(Ether(dst=GATEWAY_MAC) / headers / syn())))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_EXTENSION_HEADERS)


@FAMILIES
@SCOPES
@PORTS
def test_an_address_that_is_also_a_nodes_is_that_nodes_at_other_ports(
    node: Datapath, family: int, scope: Scope, l4: Packet
) -> None:
    here, there, client = (NODE6, "fd88::12", CLIENT6) if family else (NODE, "10.88.0.12", CLIENT)
    node.prefix(f"{there}/{128 if family else 32}")
    for address in (here, there):
        node.service_address(address, scope)
        assert node.run("uplink_ingress", frame(client, address, l4)).verdict == TC_ACT_UNSPEC
        assert node.run("uplink_egress", frame(here, address, l4)).verdict == TC_ACT_UNSPEC
        assert node.run("pod_ingress", frame(POD6 if family else POD, address, l4)).verdict == TC_ACT_OK
        assert node.run("uplink_ingress", frame(address, client, l4)).verdict == TC_ACT_UNSPEC


@FAMILIES
@SCOPES
@PORTS
@WITHIN
def test_from_within_another_port_is_refused(
    node: Datapath, family: int, scope: Scope, l4: Packet, program: str
) -> None:
    src, vip = asker(program, family), serve(node, family, scope)
    done = node.run(program, frame(src, vip, l4))
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NO_SERVICE)
    assert addresses(done.packet) == (vip, src)
    assert checksums_hold(done.packet)
    assert node.tables["flows"].count() == 0


@FAMILIES
@SCOPES
@WITHIN
def test_from_within_an_echo_ends_silently(node: Datapath, family: int, scope: Scope, program: str) -> None:
    vip, ping = serve(node, family, scope), ICMPv6EchoRequest(id=7) if family else ICMP(id=7)
    done = node.run(program, frame(asker(program, family), vip, ping))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NO_SERVICE_SILENT)
    assert node.tables["flows"].count() == 0


@FAMILIES
@SCOPES
def test_what_a_pod_sends_without_ports_ends_silently(node: Datapath, family: int, scope: Scope) -> None:
    vip = serve(node, family, scope)
    done = node.run("pod_ingress", frame(asker("pod_ingress", family), vip, Raw(b"none of both")))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NO_SERVICE_SILENT)


@FAMILIES
@SCOPES
def test_a_pod_may_ask_the_way_to_a_service(node: Datapath, family: int, scope: Scope) -> None:
    """The node answers that the hop limit is spent, as traceroute has it."""
    vip = serve(node, family, scope)
    done = node.run("pod_ingress", frame(asker("pod_ingress", family), vip, Raw(b"none of both"), ttl=1))
    assert done.verdict == TC_ACT_OK


@FAMILIES
@pytest.mark.parametrize(
    ("asks", "answers"),
    [
        pytest.param(syn, data, id="TCP"),
        pytest.param(datagram, datagram, id="UDP"),
        pytest.param(None, None, id="echo"),
    ],
)
def test_the_node_answers_a_load_balancer_under_a_services_address(
    node: Datapath, family: int, asks: type | None, answers: type | None
) -> None:
    """One that is a proxy checks the node's health, say, under the address that the Service's status names."""
    vip, own = serve(node, family, EXTERNAL), NODE6 if family else NODE
    if asks and answers:
        question, answer = asks(sport=40000, dport=10256), answers(sport=10256, dport=40000)
    else:
        question = ICMPv6EchoRequest(id=7) if family else ICMP(id=7)
        answer = ICMPv6EchoReply(id=7) if family else ICMP(type="echo-reply", id=7)
    assert node.run("uplink_egress", frame(own, vip, datagram(10256, 40000))).reason == DropReason.DROP_NO_SERVICE
    assert node.run("uplink_ingress", frame(vip, own, question)).verdict == TC_ACT_UNSPEC
    assert node.run("uplink_egress", frame(own, vip, answer)).verdict == TC_ACT_UNSPEC


@FAMILIES
def test_the_nodes_connection_from_before_a_service_had_the_address_goes_on(node: Datapath, family: int) -> None:
    vip, own = serve(node, family, EXTERNAL), NODE6 if family else NODE
    assert node.run("uplink_egress", frame(own, vip, data(dport=99))).verdict == TC_ACT_UNSPEC


@FAMILIES
@pytest.mark.parametrize("l4", [syn(), data(), datagram(), Raw(b"no ports")], ids=["SYN", "TCP", "UDP", "neither"])
@pytest.mark.parametrize("to", [(OTHER, OTHER6), (NODE, NODE6)], ids=["a pod", "the node"])
def test_nobody_outside_has_a_cluster_ip(node: Datapath, family: int, l4: Packet, to: tuple[str, str]) -> None:
    vip = serve(node, family, INTERNAL)
    done = node.run("uplink_ingress", frame(vip, to[family], l4))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SERVICE_SOURCE)
    assert node.tables["flows"].count() == 0


@FAMILIES
@pytest.mark.parametrize("l4", [syn, data, datagram], ids=["SYN", "TCP", "UDP"])
def test_nobody_outside_speaks_for_a_service_but_its_address_may_be_a_hosts(
    node: Datapath, family: int, l4: type
) -> None:
    vip, pod = serve(node, family, EXTERNAL), OTHER6 if family else OTHER
    done = node.run("uplink_ingress", frame(vip, pod, l4(sport=80, dport=40000)))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SERVICE_SOURCE)
    assert node.tables["flows"].count() == 0
    done = node.run("uplink_ingress", frame(vip, pod, l4(sport=40000, dport=40000)))
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)


@FAMILIES
@SCOPES
@pytest.mark.parametrize(("begins", "forged"), [(syn, data), (datagram, datagram)], ids=["TCP", "UDP"])
def test_nobody_outside_answers_for_a_service_that_a_pod_asked(
    node: Datapath, family: int, scope: Scope, begins: type, forged: type
) -> None:
    vip, pod = serve(node, family, scope, REMOTE6 if family else REMOTE), POD6 if family else POD
    assert node.run("pod_ingress", frame(pod, vip, begins(dport=80))).reason == DropReason.DROP_NONE
    before = sorted(map(str, node.tables["flows"].items()))
    done = node.run("uplink_ingress", frame(vip, pod, forged(sport=80, dport=40000)))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SERVICE_SOURCE)
    assert sorted(map(str, node.tables["flows"].items())) == before
    answer = frame(REMOTE6 if family else REMOTE, pod, forged(sport=8080, dport=40000))
    assert node.run("uplink_ingress", answer).reason == DropReason.DROP_NONE


RANGES = (("10.96.0.0/12", "10.97.77.7"), ("fd00:10:96::/112", "fd00:10:96::77"))  # and an address in each


@FAMILIES
@PORTS
@pytest.mark.parametrize("program", ["pod_ingress", "uplink_egress", "uplink_ingress"])
def test_an_address_of_the_services_range_that_none_has_is_refused(
    node: Datapath, family: int, l4: Packet, program: str
) -> None:
    network, address = RANGES[family]
    src = (CLIENT6 if family else CLIENT) if program == "uplink_ingress" else asker(program, family)
    node.service_range(network)
    done = node.run(program, frame(src, address, l4))
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NO_SERVICE)
    assert addresses(done.packet) == (address, src)
    assert node.tables["flows"].count() == 0


@FAMILIES
def test_nobody_outside_has_an_address_of_the_services_range(node: Datapath, family: int) -> None:
    network, address = RANGES[family]
    node.service_range(network)
    done = node.run("uplink_ingress", frame(address, NODE6 if family else NODE, datagram()))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SERVICE_SOURCE)


@FAMILIES
def test_services_pods_and_nodes_are_what_they_are_within_the_services_range(node: Datapath, family: int) -> None:
    network, taken = RANGES[family]
    pod = POD6 if family else POD
    node.service_range(network)
    vip = serve(node, family, INTERNAL)  # in the range
    assert node.run("pod_ingress", frame(pod, vip, syn())).reason == DropReason.DROP_NONE
    node.prefix(f"{taken}/{128 if family else 32}")
    assert node.run("pod_ingress", frame(pod, taken, syn())).reason == DropReason.DROP_NONE
    node.endpoint(taken, OTHER_POD_DEVICE, OTHER_MAC)
    assert node.run("pod_ingress", frame(pod, taken, datagram())).verdict == TC_ACT_REDIRECT


@FAMILIES
@pytest.mark.parametrize("program", ["uplink_ingress", "pod_ingress", "uplink_egress"])
def test_of_a_pool_that_is_routed_here_whole_free_addresses_are_refused(
    node: Datapath, family: int, program: str
) -> None:
    """Named as a range of services: what is for a free address would go back to the router, and come again."""
    vip = serve(node, family, EXTERNAL)
    node.service_range("fd00:10:96::/112" if family else "10.96.0.0/16")
    free = "fd00:10:96::bad" if family else "10.96.0.99"
    src = (CLIENT6 if family else CLIENT) if program == "uplink_ingress" else asker(program, family)
    assert node.run(program, frame(src, vip, syn())).reason == DropReason.DROP_NONE
    for l4 in (syn(dport=80), datagram(dport=80), syn(dport=99)):
        done = node.run(program, frame(src, free, l4))
        assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NO_SERVICE)
        assert addresses(done.packet) == (free, src)
