"""What a pod says of neighbours is of itself alone, so that nobody fills or changes what its node knows of them."""

import pytest
from scapy.layers.dhcp6 import DHCP6_Advertise
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLQuery2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from maps.abi import DropReason
from tests.bpf.datapath import (
    CLIENT,
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    POD_LINK,
    POD_MAC,
    TC_ACT_OK,
    TC_ACT_SHOT,
    Datapath,
    frame,
)

pytestmark = pytest.mark.kernel

GATEWAY, MADE_UP, MADE_UP6 = "169.254.1.1", "10.244.1.77", "fd00::77"
MADE_UP_LINK = "fe80::1:2"
SOLICITED = "ff02::1:ff00:3"


def arp(sender: str, *, mac: str = POD_MAC, says: str = POD_MAC, target: str = GATEWAY, op: int = 1) -> Packet:
    """What a pod's interface asks or answers by ARP, from one MAC and saying another."""
    return Ether(bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=op, hwsrc=says, psrc=sender, pdst=target)))


def nd(src: str, message: Packet, *, dst: str = SOLICITED, mac: str = POD_MAC) -> Packet:
    """A message of neighbour discovery."""
    return Ether(bytes(Ether(src=mac, dst="33:33:ff:00:00:03") / IPv6(src=src, dst=dst, hlim=255) / message))


SOURCE = ICMPv6NDOptSrcLLAddr(lladdr=POD_MAC)
ANOTHERS = ICMPv6NDOptSrcLLAddr(lladdr=OTHER_MAC)
NONCE = Raw(b"\x0e\x01abcdef")  # RFC 7527


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(arp(POD), id="a question"),
        pytest.param(arp(POD, op=2), id="an answer"),
        pytest.param(nd(POD6, ICMPv6ND_NS(tgt=NODE6) / SOURCE), id="a solicitation"),
        pytest.param(nd(POD_LINK, ICMPv6ND_NS(tgt=NODE6) / SOURCE), id="a solicitation from the link-local address"),
        pytest.param(nd(POD_LINK, ICMPv6ND_NS(tgt=NODE6) / SOURCE, dst=NODE6), id="a probe of a known neighbour"),
        pytest.param(nd("::", ICMPv6ND_NS(tgt=POD6)), id="is my address free"),
        pytest.param(nd("::", ICMPv6ND_NS(tgt=POD6) / NONCE), id="is my address free, with a nonce"),
        pytest.param(nd(POD_LINK, ICMPv6ND_RS() / SOURCE, dst="ff02::2"), id="are there routers"),
        pytest.param(
            nd(POD6, ICMPv6ND_NA(tgt=POD6) / ICMPv6NDOptDstLLAddr(lladdr=POD_MAC), dst=NODE6), id="an advertisement"
        ),
        pytest.param(nd(POD_LINK, ICMPv6EchoRequest(), dst="fe80::1"), id="a ping on the link"),
        pytest.param(nd(POD_LINK, ICMPv6MLQuery2(), dst="ff02::1"), id="a question for groups"),
        pytest.param(frame(POD, "255.255.255.255", UDP(sport=68, dport=67)), id="a DHCP client's question"),
        pytest.param(frame(POD, CLIENT, UDP(sport=67, dport=67)), id="a DHCP server's answer to a relay"),
    ],
)
def test_what_a_pod_says_of_itself_goes_to_the_stack(node: Datapath, packet: Packet) -> None:
    done = node.run("pod_ingress", packet)
    assert (done.verdict, done.reason) == (TC_ACT_OK, DropReason.DROP_NONE)
    assert bytes(done.packet) == bytes(packet)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(arp(MADE_UP), "ARP", id="ARP from a made-up address"),
        pytest.param(arp(OTHER), "ARP", id="ARP from a neighbour's address"),
        pytest.param(arp(NODE, op=2), "ARP", id="an ARP answer for the node"),
        pytest.param(arp(GATEWAY, op=2), "ARP", id="an ARP answer for the gateway"),
        pytest.param(arp("0.0.0.0"), "ARP", id="an ARP probe"),
        pytest.param(arp(POD, says=OTHER_MAC), "ARP", id="ARP that says another MAC"),
        pytest.param(arp(POD, mac=OTHER_MAC, says=OTHER_MAC), "ARP", id="ARP from another MAC"),
        pytest.param(arp(POD, target=POD), "ARP", id="ARP that claims, unasked"),
        pytest.param(arp(POD, op=3), "ARP", id="reverse ARP"),
        pytest.param(bytes(arp(POD))[:30], "ARP", id="ARP cut short"),
        pytest.param(nd(MADE_UP_LINK, ICMPv6ND_NS(tgt=NODE6) / SOURCE), "SOURCE_ADDRESS", id="made-up, on the link"),
        pytest.param(nd(MADE_UP6, ICMPv6ND_NS(tgt=NODE6) / SOURCE), "SOURCE_ADDRESS", id="from a made-up address"),
        pytest.param(nd(POD_LINK, ICMPv6ND_NS(tgt=NODE6) / SOURCE, mac=OTHER_MAC), "SOURCE_MAC", id="another MAC"),
        pytest.param(nd(POD6, ICMPv6ND_NS(tgt=NODE6) / ANOTHERS), "ND", id="a solicitation that says another MAC"),
        pytest.param(nd(POD6, ICMPv6ND_NS(tgt=NODE6) / SOURCE / ANOTHERS), "ND", id="in a second option"),
        pytest.param(nd(POD_LINK, ICMPv6ND_RS() / ANOTHERS), "ND", id="a router's solicitation that says another MAC"),
        pytest.param(nd("::", ICMPv6ND_NS(tgt=POD6) / SOURCE), "ND", id="a MAC without an address"),
        pytest.param(nd(POD6, ICMPv6ND_NA(tgt=OTHER6), dst=NODE6), "ND", id="an advertisement of a neighbour"),
        pytest.param(nd(POD6, ICMPv6ND_NA(tgt=POD6), dst="ff02::1"), "ND", id="an advertisement, unasked"),
        pytest.param(nd("::", ICMPv6ND_NA(tgt=POD6), dst=NODE6), "ND", id="an advertisement without a source"),
        pytest.param(nd(POD_LINK, ICMPv6ND_RA(), dst="ff02::1"), "ND", id="a router advertisement"),
        pytest.param(nd(POD6, ICMPv6ND_RA(), dst=NODE6), "ND", id="a router advertisement to the node"),
        pytest.param(nd(POD6, ICMPv6ND_Redirect(), dst=NODE6), "ND", id="a redirect"),
        pytest.param(nd(POD6, ICMPv6ND_NS(tgt=NODE6) / Raw(b"\1\0abcdef")), "ND", id="an option without a length"),
        pytest.param(nd("::", ICMPv6EchoRequest(), dst=NODE6), "SOURCE_ADDRESS", id="a ping without a source"),
        pytest.param(frame(POD, "255.255.255.255", UDP(sport=67, dport=68)), "DHCP_ANSWER", id="a DHCP answer"),
        pytest.param(frame(POD, NODE, UDP(sport=67, dport=68)), "DHCP_ANSWER", id="a DHCP answer to the node"),
        pytest.param(
            Ether(
                bytes(
                    Ether(src=POD_MAC, dst=GATEWAY_MAC)
                    / IPv6(src=POD_LINK, dst="fe80::9")
                    / UDP(sport=547, dport=546)
                    / DHCP6_Advertise()
                )
            ),
            "DHCP_ANSWER",
            id="a DHCPv6 answer",
        ),
    ],
)
def test_what_it_says_of_others_never_reaches_anyone(node: Datapath, packet: Packet | bytes, reason: str) -> None:
    done = node.run("pod_ingress", packet)
    assert (done.verdict, done.reason.name) == (TC_ACT_SHOT, f"DROP_{reason}")


@pytest.mark.parametrize("reaches", [POD6, OTHER6, NODE6])
def test_a_link_local_address_is_heard_on_its_link_alone(node: Datapath, reaches: str) -> None:
    sent = frame(POD_LINK, reaches, UDP(sport=1, dport=2))
    assert node.run("pod_ingress", sent).reason == DropReason.DROP_SOURCE_ADDRESS
    to_link = frame(POD6, "fe80::2ff:fe00:2", UDP(sport=1, dport=2))
    assert node.run("pod_ingress", to_link).verdict == TC_ACT_OK
    assert IP not in to_link
