"""ARP and neighbour discovery on the uplinks' subnets, for addresses that this node announces and for others."""

import fcntl
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils6 import in6_getnsma, in6_getnsmac

from agent.announce.frames import claims, probe
from maps import abi
from tests.bpf.datapath import CLIENT, CLIENT6, TC_ACT_REDIRECT, TC_ACT_UNSPEC, Datapath, Outcome, addr
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

ADDRESS, ADDRESS6 = "198.51.100.80", "2001:db8:80::1"
OTHER, OTHER6 = "198.51.100.81", "2001:db8:80::2"
MAC, ASKER, STRANGER = "02:00:00:00:77:01", "02:00:00:00:88:01", "02:00:00:00:99:01"
NS, FAR = 10**9, (1 << 64) - 1
LINK_LOCAL = "fe80::88:1"


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    with routed() as ifindex:
        yield ifindex


@pytest.fixture
def at(node: Datapath, device: int) -> int:
    """The uplink on which both addresses are announced, its lease fresh."""
    mac = bytes.fromhex(MAC.replace(":", ""))
    for address in (ADDRESS, ADDRESS6):
        node.tables["announced"].update([(abi.AnnouncedKey(addr(address), device), abi.Announced(mac, 0))])
    node.tables["own_macs"].update([(abi.MacKey(mac), abi.OwnMac(device))])
    lease(node, fresh_s=60)
    return device


def lease(node: Datapath, *, fresh_s: float, until_s: float = 3600) -> None:
    """Until when it is fresh and the agent is there, from now on."""
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    node.tables["announcing"].update([(0, abi.Announcing(int(now + fresh_s * NS), int(now + until_s * NS)))])


def who_has(address: str = ADDRESS, sender: str = CLIENT, **more: object) -> Packet:
    fields: dict[str, Any] = {"op": 1, "hwsrc": ASKER, "psrc": sender, "pdst": address, **more}
    return Ether(src=ASKER, dst="ff:ff:ff:ff:ff:ff") / ARP(**fields)


def solicits(
    address: str = ADDRESS6, sender: str = CLIENT6, hops: int = 255, *options: Packet, **more: object
) -> Packet:
    group = in6_getnsma(socket.inet_pton(socket.AF_INET6, address))
    there: dict[str, Any] = {"dst": socket.inet_ntop(socket.AF_INET6, group), **more}
    frame = Ether(src=ASKER, dst=in6_getnsmac(group)) / IPv6(src=sender, hlim=hops, **there) / ICMPv6ND_NS(tgt=address)
    for option in options:
        frame /= option
    return frame


def tagged(packet: Packet) -> Packet:
    return Ether(bytes(packet).replace(b"\x08\x06", b"\x81\x00\x00\x07\x08\x06", 1))


def mac_option(mac: str = ASKER, **more: Any) -> Packet:
    return ICMPv6NDOptSrcLLAddr(lladdr=mac, **more)


def claim_by_arp(operation: int) -> Packet:
    mac: dict[str, Any] = {"hwsrc": STRANGER, "psrc": ADDRESS, "pdst": ADDRESS}
    return Ether(src=STRANGER, dst="ff:ff:ff:ff:ff:ff") / ARP(op=operation, **mac)


def ask(node: Datapath, packet: Packet, device: int) -> Outcome:
    return node.run("uplink_ingress", packet, device)


def is_left(there: Outcome, packet: Packet) -> bool:
    """Whether it goes to the stack as it came."""
    return there.verdict == TC_ACT_UNSPEC and bytes(there.packet) == bytes(packet) and not there.reasons


def test_who_has_an_announced_address_is_told_the_devices_mac(node: Datapath, at: int) -> None:
    there = ask(node, who_has(), at)
    assert there.verdict == TC_ACT_REDIRECT
    assert (there.packet[Ether].src, there.packet[Ether].dst) == (MAC, ASKER)
    arp = there.packet[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (2, MAC, ADDRESS, ASKER, CLIENT)


def test_a_probe_is_answered_so_that_nobody_takes_the_address(node: Datapath, at: int) -> None:
    there = ask(node, who_has(sender="0.0.0.0"), at)
    assert (there.verdict, there.packet[ARP].op, there.packet[ARP].psrc) == (TC_ACT_REDIRECT, 2, ADDRESS)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(who_has(OTHER), id="for another address"),
        pytest.param(who_has(op=2), id="an answer"),
        pytest.param(who_has(hwtype=6), id="of another hardware"),
        pytest.param(who_has(ptype=0x86DD), id="for another protocol"),
        pytest.param(who_has(hwlen=8), id="with longer hardware addresses"),
        pytest.param(who_has(hwsrc=STRANGER), id="in another's name"),
        pytest.param(who_has(hwsrc="ff:ff:ff:ff:ff:ff"), id="in everybody's name"),
        pytest.param(who_has(ADDRESS, ADDRESS), id="that claims the address"),
        pytest.param(Ether(bytes(who_has())[:40]), id="cut short"),
        pytest.param(tagged(who_has()), id="under a VLAN's tag"),
        pytest.param(solicits(OTHER6), id="solicitation of another address"),
        pytest.param(solicits(hops=254), id="solicitation that came through a router"),
        pytest.param(solicits(ADDRESS6, ADDRESS6), id="solicitation from the address itself"),
        pytest.param(solicits(ADDRESS6, CLIENT6, 255, mac_option(STRANGER)), id="solicitation in another's name"),
        pytest.param(solicits(ADDRESS6, CLIENT6, 255, mac_option(len=0)), id="solicitation with an empty option"),
        pytest.param(
            solicits(ADDRESS6, CLIENT6, 255, mac_option(len=4)), id="solicitation with an option beyond its end"
        ),
        pytest.param(solicits(ADDRESS6, "::", 255, mac_option()), id="solicitation of nobody with a MAC"),
        pytest.param(solicits(ADDRESS6, "::", dst="ff02::1"), id="solicitation of nobody to all"),
        pytest.param(solicits(ADDRESS6, CLIENT6, 255, Raw(b"\x0e\x01abc")), id="solicitation of odd length"),
    ],
)
def test_what_is_not_to_be_answered_goes_to_the_stack(node: Datapath, at: int, packet: Packet) -> None:
    assert is_left(ask(node, packet, at), packet)


def test_a_checksum_that_is_wrong_is_not_believed(node: Datapath, at: int) -> None:
    packet = Ether(bytes(solicits()))
    packet[ICMPv6ND_NS].cksum ^= 0x10
    assert is_left(ask(node, packet, at), packet)


@pytest.mark.parametrize("sender", [CLIENT6, LINK_LOCAL])
@pytest.mark.parametrize("options", [(), (mac_option(),), (mac_option(), Raw(b"\x0e\x01abcdef"))])
@pytest.mark.parametrize("dst", [None, ADDRESS6])
def test_a_solicitation_is_answered(
    node: Datapath, at: int, sender: str, options: tuple[Packet, ...], dst: str | None
) -> None:
    """To the group, or to the address itself, as hosts ask whether a neighbour is still there."""
    there = ask(node, solicits(ADDRESS6, sender, 255, *options, **({"dst": dst} if dst else {})), at)
    assert there.verdict == TC_ACT_REDIRECT
    packet = there.packet
    assert (packet[Ether].src, packet[Ether].dst, packet[IPv6].hlim) == (MAC, ASKER, 255)
    assert (packet[IPv6].src, packet[IPv6].dst) == (ADDRESS6, sender)
    told = packet[ICMPv6ND_NA]
    assert (told.tgt, told.R, told.S, told.O) == (ADDRESS6, 0, 1, 1)
    assert packet[ICMPv6NDOptDstLLAddr].lladdr == MAC
    assert_sum(packet)


def test_who_looks_whether_an_address_is_free_is_told_with_all_others(node: Datapath, at: int) -> None:
    there = ask(node, solicits(sender="::"), at)
    assert there.verdict == TC_ACT_REDIRECT
    assert (there.packet[Ether].dst, there.packet[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
    assert (there.packet[ICMPv6ND_NA].S, there.packet[ICMPv6ND_NA].O) == (0, 1)
    assert_sum(there.packet)


@pytest.mark.parametrize("packet", [who_has(), solicits()])
@pytest.mark.usefixtures("at")
def test_another_device_does_not_answer(node: Datapath, packet: Packet) -> None:
    assert is_left(ask(node, packet, socket.if_nametoindex("up1")), packet)


@pytest.mark.parametrize("packet", [who_has(), solicits()])
def test_nothing_is_answered_before_a_lease_was_ever_had_or_when_the_agent_is_silent(
    node: Datapath, at: int, packet: Packet
) -> None:
    node.tables["announcing"].update([(0, abi.Announcing(0, FAR))])
    assert is_left(ask(node, packet, at), packet)
    lease(node, fresh_s=-20, until_s=-1)
    assert is_left(ask(node, packet, at), packet)


@pytest.mark.parametrize(
    ("packet", "claim"),
    [
        (who_has(), claim_by_arp(2)),
        (who_has(), claim_by_arp(1)),
        (who_has(), Ether(claims(ip_address(ADDRESS), bytes.fromhex("020000009901"))[0])),
        (solicits(), Ether(claims(ip_address(ADDRESS6), bytes.fromhex("020000009901"))[0])),
    ],
)
def test_without_a_fresh_lease_it_answers_until_somebody_else_says_the_address_is_theirs(
    node: Datapath, at: int, packet: Packet, claim: Packet
) -> None:
    lease(node, fresh_s=60)
    ask(node, claim, at)  # of no account while nobody else can have taken over
    assert ask(node, packet, at).verdict == TC_ACT_REDIRECT
    lease(node, fresh_s=-0.0)
    assert ask(node, packet, at).verdict == TC_ACT_REDIRECT
    own = bytes(claim).replace(bytes.fromhex("020000009901"), bytes.fromhex(MAC.replace(":", "")))
    ask(node, Ether(own), at)  # by another uplink on the same subnet
    assert ask(node, packet, at).verdict == TC_ACT_REDIRECT
    assert is_left(ask(node, claim, at), claim)
    assert is_left(ask(node, packet, at), packet)
    lease(node, fresh_s=60)
    assert ask(node, packet, at).verdict == TC_ACT_REDIRECT


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS6])
def test_the_agents_own_question_is_answered_by_who_has_taken_over(node: Datapath, at: int, address: str) -> None:
    """And the answer is heard where it was asked: so a node without the API server learns of its successor."""
    own = hardware_address("up0")
    asked = Ether(probe(ip_address(address), own))
    told = ask(node, asked, at)
    assert told.verdict == TC_ACT_REDIRECT
    heard = Ether(bytes(told.packet).replace(bytes.fromhex(MAC.replace(":", "")), bytes.fromhex("020000009901")))
    if IPv6 in heard:
        del heard[ICMPv6ND_NA].cksum
    key = abi.AnnouncedKey(addr(address), at)
    assert node.tables["announced"].get(key) == abi.Announced(bytes.fromhex(MAC.replace(":", "")), 0)
    ask(node, Ether(bytes(heard)), at)
    assert node.tables["announced"].get(key) != abi.Announced(bytes.fromhex(MAC.replace(":", "")), 0)


def test_a_frame_to_another_host_is_not_answered(node: Datapath, at: int) -> None:
    """As a device gets it that listens to everything."""
    packet = who_has()
    packet[Ether].dst = STRANGER
    assert is_left(ask(node, packet, at), packet)
    packet[Ether].dst = hardware_address("up0").hex(":")
    assert ask(node, packet, at).verdict == TC_ACT_REDIRECT


def hardware_address(device: str) -> bytes:
    """A device's MAC (SIOCGIFHWADDR, netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        return fcntl.ioctl(asking, 0x8927, struct.pack("256s", device.encode()))[18:24]


@pytest.mark.parametrize("packet", [who_has(OTHER), solicits(OTHER6), who_has(), solicits()])
def test_nothing_is_answered_where_nothing_is_announced(node: Datapath, device: int, packet: Packet) -> None:
    assert is_left(ask(node, packet, device), packet)


def assert_sum(packet: Packet) -> None:
    """The checksum is the one that scapy finds."""
    again = packet.copy()
    del again[ICMPv6ND_NA].cksum
    assert Ether(bytes(again))[ICMPv6ND_NA].cksum == packet[ICMPv6ND_NA].cksum
