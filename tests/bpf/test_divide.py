"""IPv6 fragments of our own, of what a process of the node sends and the tunnel of our own headers does not carry."""

import os
import random
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps import libbpf
from maps.abi import NodeFlag, PrefixFlag, Scope
from maps.libbpf import AttachType
from tests.bpf.datapath import (
    CLIENT6,
    GATEWAY_MAC,
    NODE6,
    REMOTE6,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP6,
    Datapath,
    frame,
)
from tests.bpf.packets import addresses
from tests.bpf.uplink import NEIGHBORS, NODE_2_MAC, routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FAR, FAR6 = "10.88.0.12", "fd88::12"
START = 48  # octets of the headers that each part begins with: IPv6's and the fragment's
IDENT = 0x01020304
OUTER = pytest.mark.parametrize("far", [pytest.param(FAR, id="in IPv4"), pytest.param(FAR6, id="in IPv6")])
DEVICES = """\
link set up0 mtu 16000
link set up1 mtu 16000
link add tun0 type veth peer name tun1
link add in0 mtu 16000 type veth peer name in1 mtu 16000
link set tun0 up
link set tun1 up
link set in0 up
link set in1 up
"""
SOL_PACKET, PACKET_VNET_HDR, SO_RCVBUFFORCE = 263, 15, 33
EGRESS, INGRESS = ("PROGRAM_UPLINK", "DIRECTION_EGRESS"), ("PROGRAM_UPLINK", "DIRECTION_INGRESS")
LATE_S = 20


@pytest.fixture(scope="module")
def uplink() -> Iterator[int]:
    """The uplink, in a namespace with the tunnel's pair beside it."""
    with routed(NEIGHBORS + DEVICES) as index:
        # what is still left to the device is summed up, and seen
        subprocess.run(["ethtool", "-K", "up0", "tx", "off"], check=True, capture_output=True)
        yield index


@pytest.fixture
def ipip(node: Datapath, uplink: int) -> Iterator[Datapath]:
    """A node that encapsulates, with the program of the tunnel's device on one by which larger packets come in."""
    assert uplink
    node.node(tunnel=socket.if_nametoindex("tun0"), flags=NodeFlag.NODE_IPIP)
    for address in (FAR, FAR6):
        node.prefix(f"{address}/{128 if ':' in address else 32}", flags=PrefixFlag.PREFIX_NODE)
    program = node.objects["tc_uplink"].program_fd("segment_ingress")
    link = libbpf.link_create(program, socket.if_nametoindex("in0"), AttachType.TCX_INGRESS)
    yield node
    os.close(link)


def carry(mtu: int) -> None:
    """Have the tunnel carry packets of so many octets."""
    subprocess.run(["ip", "link", "set", "tun0", "mtu", str(mtu)], check=True)


def parts_of(sent: Packet, *, left: bool = False) -> list[Packet]:
    """What is inside of the packets that a packet goes to the other node in, in their order.

    *left*: its checksum is left to the device.
    """
    kept = struct.pack("=BBHHHH", int(left), 0, 0, 0, 54 if left else 0, 6 if left else 0)  # struct virtio_net_hdr
    found: list[Packet] = []
    with packets("up1") as tap, packets("in1") as sending:
        sending.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sending.send(kept + bytes(sent))
        while not found or ends(found[-1]) < ends(sent[IPv6]):
            octets = tap.recv(1 << 16)
            if octets[:6] == bytes.fromhex(NODE_2_MAC.replace(":", "")):
                found.append(inside(Ether(octets)))
    return found


@contextmanager
def packets(device: str) -> Iterator[socket.socket]:
    """A device's frames."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as opened:
        opened.bind((device, 3))
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)  # a part has the whole's room in memory
        opened.settimeout(LATE_S)
        yield opened


def inside(packet: Packet) -> Packet:
    """The inner packet, of which the outer header says the length."""
    outer = packet.payload
    said = outer.plen + 40 if isinstance(outer, IPv6) else outer.len
    assert said == len(outer) == len(packet) - 14
    inner = IPv6(bytes(outer.payload))
    assert inner.plen + 40 == len(bytes(inner))
    return inner


def ends(ip: Packet) -> int:
    """Where in its datagram a packet ends, in octets."""
    if IPv6ExtHdrFragment not in ip:
        return len(bytes(ip)) - 40
    return int(ip[IPv6ExtHdrFragment].offset) * 8 + len(bytes(ip)) - START


def udp(octets: int) -> bytes:
    """A UDP datagram of so many octets, its header among them, to the other node's pod."""
    data = Raw(random.Random(octets).randbytes(octets - 8))  # noqa: S311  no secret
    return bytes(frame(NODE6, REMOTE6, UDP(sport=40000, dport=53) / data)[UDP])


def fragment_of(datagram: bytes, at: int, to: int, dst: str = REMOTE6, src: str = NODE6) -> Packet:
    """The fragment with these octets of a datagram, made for a way that carries it."""
    ip = Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC) / IPv6(src=src, dst=dst, hlim=63, tc=8, fl=77)
    header = IPv6ExtHdrFragment(nh=17, offset=at // 8, m=int(to < len(datagram)), id=IDENT)
    return Ether(bytes(ip / header / Raw(datagram[at:to])))


@OUTER
@pytest.mark.parametrize(
    ("mtu", "octets", "parts"),
    [
        pytest.param(1480, 1441, 2, id="an octet too many"),
        pytest.param(1480, 1460, 2, id="of an uplink's size"),
        pytest.param(1480, 2864, 2, id="two parts, filled"),
        pytest.param(1480, 2865, 3, id="an octet in a third part"),
        pytest.param(1483, 2867, 2, id="an MTU that is no multiple of 8"),
        pytest.param(1280, 15940, 13, id="the smallest MTU"),
        pytest.param(8980, 15940, 2, id="a large MTU"),
    ],
)
def test_a_datagram_goes_in_parts(ipip: Datapath, far: str, mtu: int, octets: int, parts: int) -> None:
    ipip.prefix("fd00:2::/64", far)
    carry(mtu)
    datagram = udp(octets)
    header = IPv6(src=NODE6, dst=REMOTE6, hlim=63, tc=8, fl=77, nh=17)
    sent = Ether(bytes(Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC) / header / Raw(datagram)))
    done = parts_of(sent)
    assert len(done) == parts
    check(done, datagram, mtu, 0, more=False)
    assert len({each[IPv6ExtHdrFragment].id for each in done}) == 1
    again = parts_of(left_to_device(sent), left=True)
    check(again, datagram, mtu, 0, more=False)
    assert again[0][IPv6ExtHdrFragment].id != done[0][IPv6ExtHdrFragment].id


def left_to_device(sent: Packet) -> Packet:
    """The same with the pseudo-header's sum in place of the whole one."""
    octets = bytearray(bytes(sent))
    length = len(octets) - 54
    words = struct.unpack("!16H", octets[22:54])
    total = sum(words) + length + socket.IPPROTO_UDP
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    octets[60:62] = total.to_bytes(2, "big")
    return Ether(bytes(octets))


@OUTER
@pytest.mark.parametrize(
    ("mtu", "at", "to", "parts"),
    [
        pytest.param(1480, 0, 1448, 2, id="the first"),
        pytest.param(1480, 1448, 2896, 2, id="one between"),
        pytest.param(1480, 14480, 15921, 2, id="the last"),
        pytest.param(1280, 8952, 15921, 6, id="the last, of many parts"),
        pytest.param(4200, 0, 8952, 3, id="the first, of a larger MTU"),
    ],
)
def test_a_fragment_goes_in_parts(ipip: Datapath, far: str, mtu: int, at: int, to: int, parts: int) -> None:
    ipip.prefix("fd00:2::/64", far)
    carry(mtu)
    datagram = udp(15921)
    done = parts_of(fragment_of(datagram, at, to))
    assert len(done) == parts
    check(done, datagram[at:to], mtu, at, more=to < len(datagram))
    assert {each[IPv6ExtHdrFragment].id for each in done} == {IDENT}


def check(done: list[Packet], octets: bytes, mtu: int, at: int, *, more: bool) -> None:
    """Whether the parts are *octets*, from *at* in their datagram on, and each is as large as may be."""
    most = (mtu - START) // 8 * 8
    first = done[0][IPv6ExtHdrFragment]
    for number, part in enumerate(done):
        header = part[IPv6ExtHdrFragment]
        ends_here = number == len(done) - 1
        assert (header.nh, header.offset * 8, header.m) == (17, at + number * most, int(more or not ends_here))
        assert (part.src, part.dst, part.hlim, part.tc, part.fl, part.nh) == (NODE6, REMOTE6, 63, 8, 77, 44)
        length = len(bytes(part)) - START
        assert length == most if not ends_here else length + START <= mtu
        assert (header.id, header.res1, header.res2) == (first.id, 0, 0)
    assert b"".join(bytes(part)[START:] for part in done) == octets


def test_what_fits_goes_as_it_is(ipip: Datapath) -> None:
    ipip.prefix("fd00:2::/64", FAR)
    carry(1480)
    (done,) = parts_of(frame(NODE6, REMOTE6, UDP() / Raw(bytes(1432))))
    assert (IPv6ExtHdrFragment in done, len(done)) == (False, 1480)


@pytest.mark.parametrize(("at", "to"), [pytest.param(0, 1448, id="first"), pytest.param(1448, 2896, id="later")])
def test_the_nodes_own_fragments_to_a_service_go_to_be_divided(ipip: Datapath, at: int, to: int) -> None:
    serve(ipip)
    datagram = udp(4000)
    ipip.run("uplink_egress", fragment_of(datagram, 0, 1448, VIP6))
    done = ipip.run("uplink_egress", fragment_of(datagram, at, to, VIP6))
    assert done.reasons == {(*EGRESS, "DROP_NONE"): 1}
    assert (done.verdict, done.packet.dst, addresses(done.packet)) == (TC_ACT_REDIRECT, GATEWAY_MAC, (NODE6, REMOTE6))
    assert len(done.packet) == 14 + START + to - at


def test_a_datagram_that_its_socket_wants_whole_is_answered(ipip: Datapath) -> None:
    """As is every whole one here: the tests' packets have no socket."""
    serve(ipip)
    done = ipip.run("uplink_egress", frame(NODE6, VIP6, UDP(sport=40000, dport=53) / Raw(bytes(1452))))
    assert (done.verdict, done.reasons) == (TC_ACT_REDIRECT, {(*EGRESS, "DROP_TOO_BIG"): 1})


def test_headers_before_the_fragments_are_not_divided(ipip: Datapath) -> None:
    serve(ipip)
    headers = IPv6(src=NODE6, dst=VIP6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(nh=17, m=1, id=IDENT)
    sent = Ether(bytes(Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC) / headers / Raw(udp(1440))))
    assert ipip.run("uplink_egress", sent).reasons == {(*EGRESS, "DROP_TOO_BIG_SILENT"): 1}


def test_what_others_send_is_not_divided(ipip: Datapath) -> None:
    serve(ipip, 30053, Scope.SCOPE_EXTERNAL)
    datagram = bytes(frame(CLIENT6, NODE6, UDP(sport=40000, dport=30053) / Raw(bytes(4000)))[UDP])
    done = [ipip.run("uplink_ingress", fragment_of(datagram, at, at + 1448, NODE6, CLIENT6)) for at in (0, 1448)]
    assert done[0].reasons == {(*INGRESS, "DROP_TOO_BIG"): 1}
    assert (done[1].verdict, done[1].reasons) == (TC_ACT_SHOT, {(*INGRESS, "DROP_TOO_BIG_SILENT"): 1})


def serve(node: Datapath, port: int = 53, scope: Scope = Scope.SCOPE_INTERNAL) -> None:
    """A service with its backend behind the tunnel."""
    node.prefix("fd00:2::/64", FAR)
    carry(1480)
    address = VIP6 if scope == Scope.SCOPE_INTERNAL else "::"
    node.service(address, port, [(REMOTE6, 53, False)], protocol=17, scope=scope)
