"""A pod sends under its own MAC and addresses, or not at all."""

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps.abi import DropReason
from tests.bpf.datapath import (
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    OTHER_POD_DEVICE,
    POD,
    POD6,
    POD_LINK,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP,
    Datapath,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import UNREACHABLE, icmp_error

pytestmark = pytest.mark.kernel

LINK_LOCAL = POD_LINK
SOLICITED = "ff02::1:ff00:3"


def multicast(src: str, dst: str, message: Packet, hops: int = 255) -> Packet:
    """A link's own IPv6 packet from the pod."""
    return Ether(bytes(Ether(src=POD_MAC, dst="33:33:ff:00:00:03") / IPv6(src=src, dst=dst, hlim=hops) / message))


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(frame(POD, OTHER, syn(), mac=OTHER_MAC), id="TCP"),
        pytest.param(frame(POD6, OTHER6, datagram(), mac=OTHER_MAC), id="UDP, IPv6"),
        pytest.param(frame(POD, OTHER, Raw(b"none"), mac=OTHER_MAC), id="a protocol without ports"),
        pytest.param(
            icmp_error(frame(OTHER, POD, syn()), UNREACHABLE, POD, mac="ee:ee:ee:ee:ee:ee"), id="an ICMP error"
        ),
        pytest.param(frame(POD, "224.0.0.251", datagram(dport=5353), mac=OTHER_MAC), id="multicast"),
        pytest.param(frame(POD, OTHER, syn(), mac=OTHER_MAC, ttl=1), id="at the end of its TTL"),
    ],
)
def test_anothers_mac_is_dropped(node: Datapath, packet: Packet) -> None:
    done = node.run("pod_ingress", packet)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_MAC)
    assert node.tables["flows"].count() == 0


@pytest.mark.parametrize(
    "src",
    [
        pytest.param(OTHER, id="a neighbour's"),
        pytest.param(OTHER6, id="a neighbour's, IPv6"),
        pytest.param(REMOTE, id="another node's pod's"),
        pytest.param(REMOTE6, id="another node's pod's, IPv6"),
        pytest.param(NODE, id="the node's"),
        pytest.param(NODE6, id="the node's, IPv6"),
        pytest.param(VIP, id="a service's"),
        pytest.param("127.0.0.1", id="loopback"),
        pytest.param("0.0.0.0", id="none"),
        pytest.param("::1", id="loopback, IPv6"),
        pytest.param("169.254.1.1", id="its gateway's"),
    ],
)
@pytest.mark.parametrize("l4", [syn(), datagram(), Raw(b"none")], ids=["TCP", "UDP", "no ports"])
def test_anothers_address_is_dropped(node: Datapath, src: str, l4: Packet) -> None:
    done = node.run("pod_ingress", frame(src, OTHER6 if ":" in src else OTHER, l4))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_ADDRESS)
    assert node.tables["flows"].count() == 0


def test_a_neighbours_flow_is_not_open_to_the_pod(node: Datapath) -> None:
    node.service(VIP, 80, [(REMOTE, 8080, False)])
    node.endpoint(OTHER, 1, OTHER_MAC)
    assert node.run("pod_ingress", frame(OTHER, VIP, syn(), mac=OTHER_MAC)).verdict == TC_ACT_OK
    node.endpoint(OTHER, OTHER_POD_DEVICE, OTHER_MAC)
    node.node(revision=2)
    done = node.run("pod_ingress", frame(OTHER, VIP, data(), mac=OTHER_MAC))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_ADDRESS)


def test_an_established_flow_with_anothers_mac_is_dropped(node: Datapath) -> None:
    assert node.run("pod_ingress", frame(POD, OTHER, syn())).verdict == TC_ACT_REDIRECT
    done = node.run("pod_ingress", frame(POD, OTHER, data(), mac=OTHER_MAC))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_MAC)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(
            multicast(LINK_LOCAL, SOLICITED, ICMPv6ND_NS(tgt=OTHER6) / ICMPv6NDOptSrcLLAddr(lladdr=POD_MAC)),
            id="neighbour solicitation from a link-local address",
        ),
        pytest.param(multicast("::", SOLICITED, ICMPv6ND_NS(tgt=POD6)), id="duplicate address detection"),
        pytest.param(multicast(POD6, SOLICITED, ICMPv6ND_NS(tgt=OTHER6)), id="neighbour solicitation"),
        pytest.param(multicast(LINK_LOCAL, "ff02::2", ICMPv6ND_RS()), id="router solicitation"),
        pytest.param(
            multicast("::", "ff02::16", IPv6ExtHdrHopByHop(options=RouterAlert()) / ICMPv6MLReport2(), hops=1),
            id="multicast listener report",
        ),
        pytest.param(frame(POD, "224.0.0.251", datagram(dport=5353)), id="IPv4 multicast"),
        pytest.param(frame(POD, "255.255.255.255", datagram(dport=68)), id="IPv4 broadcast"),
    ],
)
def test_the_links_own_packets_go_to_the_stack_unchanged(node: Datapath, packet: Packet) -> None:
    done = node.run("pod_ingress", packet)
    assert (done.verdict, done.reason) == (TC_ACT_OK, DropReason.DROP_NONE)
    assert bytes(done.packet) == bytes(packet)
    assert node.tables["flows"].count() == 0


@pytest.mark.parametrize("l4", [syn(), UDP(sport=1, dport=2)], ids=["TCP", "UDP"])
def test_a_link_local_address_is_no_source_for_transports(node: Datapath, l4: Packet) -> None:
    done = node.run("pod_ingress", frame(LINK_LOCAL, OTHER6, l4))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_ADDRESS)


@pytest.mark.parametrize(("pod", "other"), [(POD, "10.88.0.99"), (POD6, "fd88::99")], ids=["IPv4", "IPv6"])
def test_the_pods_own_packets_to_elsewhere_go_by_the_stack(node: Datapath, pod: str, other: str) -> None:
    done = node.run("pod_ingress", frame(pod, other, syn()))
    assert (done.verdict, done.reason) == (TC_ACT_OK, DropReason.DROP_NONE)


def test_a_ping_to_a_neighbour_goes_straight_to_it(node: Datapath) -> None:
    done = node.run("pod_ingress", frame(POD6, OTHER6, ICMPv6EchoRequest()))
    assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, OTHER_MAC)
