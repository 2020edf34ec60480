"""A VF in a pod: who may send, by address and MAC, and of whom ARP and neighbour discovery may speak."""

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from maps.abi import DropReason
from tests.bpf.datapath import NODE, POD, POD6, POD_MAC, VIP, Datapath, frame, syn
from tests.bpf.policed import routes
from tests.bpf.rules import NOTHING
from tests.bpf.vf import INGRESS, PEER, PEER6, PEER_MAC, VF, VF6, VF_LINK, VF_MAC, PodVf, passes, programs, vf

__all__ = ["programs", "routes", "vf"]

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

ALL_NODES = "ff02::1"
FROM, HERE = ICMPv6NDOptSrcLLAddr(lladdr=VF_MAC), ICMPv6NDOptDstLLAddr(lladdr=VF_MAC)


@pytest.mark.parametrize(
    ("src", "dst", "mac", "reason"),
    [
        pytest.param(POD, PEER, POD_MAC, DropReason.DROP_SOURCE_ADDRESS, id="another pod's address and MAC"),
        pytest.param(POD, PEER, VF_MAC, DropReason.DROP_SOURCE_ADDRESS, id="another pod's address"),
        pytest.param(POD6, PEER6, VF_MAC, DropReason.DROP_SOURCE_ADDRESS, id="another pod's IPv6 address"),
        pytest.param(NODE, PEER, VF_MAC, DropReason.DROP_SOURCE_ADDRESS, id="the node's address"),
        pytest.param("10.9.0.9", PEER, VF_MAC, DropReason.DROP_SOURCE_ADDRESS, id="nobody's address"),
        pytest.param(VF, PEER, POD_MAC, DropReason.DROP_SOURCE_MAC, id="another MAC"),
        pytest.param(VF6, PEER6, POD_MAC, DropReason.DROP_SOURCE_MAC, id="another MAC, IPv6"),
    ],
)
def test_a_pod_speaks_under_its_own_name_alone(vf: PodVf, src: str, dst: str, mac: str, reason: DropReason) -> None:
    assert vf.sends(dst, syn(), src=src, mac=mac).reason is reason


def test_a_veths_pod_has_not_the_address_of_a_vf(vf: PodVf, node: Datapath) -> None:
    spoofed = node.run("pod_ingress", frame(VF, PEER, syn(), mac=POD_MAC))
    assert spoofed.reason is DropReason.DROP_SOURCE_ADDRESS
    assert passes(vf.sends(PEER, syn())), "the node remembers nothing of it for others"


@pytest.mark.parametrize("src", [pytest.param(VF, id="its own"), pytest.param(VF6, id="its own, IPv6")])
def test_nobody_on_the_wire_has_the_pods_address(vf: PodVf, src: str) -> None:
    assert vf.is_sent(src, syn()).reason is DropReason.DROP_OWN_SOURCE


def test_nobody_on_the_wire_is_a_service(vf: PodVf, node: Datapath) -> None:
    node.service_address(VIP)
    assert vf.is_sent(VIP, syn()).reason is DropReason.DROP_SERVICE_SOURCE


def test_a_tagged_frame_is_of_another_network(vf: PodVf) -> None:
    plain = frame(VF, PEER, syn(), mac=VF_MAC, to=PEER_MAC)
    tagged = Ether(src=VF_MAC, dst=PEER_MAC) / Dot1Q(vlan=5) / plain[IP]
    assert not passes(vf.run("vf_egress", Ether(bytes(tagged))))


def arp(operation: int, sender: str, target: str, mac: str = VF_MAC) -> Packet:
    return Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=operation, hwsrc=mac, psrc=sender, pdst=target)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(arp(1, VF, PEER), DropReason.DROP_NONE, id="a question"),
        pytest.param(arp(1, VF, VF), DropReason.DROP_NONE, id="where it is now"),
        pytest.param(arp(2, PEER, VF), DropReason.DROP_ARP, id="another's answer"),
        pytest.param(arp(1, PEER, PEER), DropReason.DROP_ARP, id="where another would be"),
    ],
)
def test_arp_speaks_of_the_pod_alone(vf: PodVf, packet: Packet, reason: DropReason) -> None:
    vf.policed(egress=NOTHING)
    assert vf.run("vf_egress", Ether(bytes(packet))).reason is reason


@pytest.mark.parametrize(
    ("src", "dst", "message", "reason"),
    [
        pytest.param(VF_LINK, PEER6, ICMPv6ND_NS(tgt=PEER6) / FROM, "NONE", id="a question"),
        pytest.param(VF6, ALL_NODES, ICMPv6ND_NA(tgt=VF6, S=0) / HERE, "NONE", id="where it is now"),
        pytest.param(VF6, ALL_NODES, ICMPv6ND_NA(tgt=PEER6, S=0) / HERE, "ND", id="where another would be"),
        pytest.param(VF_LINK, ALL_NODES, ICMPv6ND_RA(), "ND", id="a router's words"),
    ],
)
def test_neighbour_discovery_speaks_of_the_pod_alone(
    vf: PodVf, src: str, dst: str, message: Packet, reason: str
) -> None:
    vf.policed(egress=NOTHING, ingress=NOTHING)
    packet = Ether(src=VF_MAC, dst=PEER_MAC) / IPv6(src=src, dst=dst, hlim=255) / message
    assert vf.run("vf_egress", Ether(bytes(packet))).reason is DropReason[f"DROP_{reason}"]


def test_neighbours_are_heard_whatever_policy_says(vf: PodVf) -> None:
    vf.policed(ingress=NOTHING)
    asks = Ether(src=PEER_MAC, dst=VF_MAC) / IPv6(src=PEER6, dst=VF6, hlim=255) / ICMPv6ND_NS(tgt=VF6)
    assert passes(vf.run("vf_ingress", Ether(bytes(asks))))
    assert passes(vf.run("vf_ingress", Ether(bytes(arp(1, PEER, VF, PEER_MAC)))))
    assert vf.is_sent(PEER6, ICMPv6EchoRequest()).reason is INGRESS
    assert vf.is_sent(PEER, ICMP()).reason is INGRESS
