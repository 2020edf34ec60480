"""To a pod with AF_XDP packets go by its device, judged and charged once; at its end they get to their queue's socket.

A redirection to the device and one past it look alike here; tests/lab/test_afxdp.py sees which it was.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from bench import tools
from bench.stream import tail_call
from maps import abi, libbpf, paths
from maps.abi import NodeFlag
from maps.object import Object
from tests.bpf.cpus import FIRST_CPU, on_cpu
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    LOOPBACK,
    NS,
    POD,
    POD6,
    POD_MAC,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    XDP_DROP,
    XDP_PASS,
    Datapath,
    datagram,
    frame,
)

pytestmark = pytest.mark.kernel

RATE = 8 * NS // 1000
AF_XDP = abi.AttachmentFlag.ATTACHMENT_AF_XDP
FAMILIES = pytest.mark.parametrize(
    ("client", "pod"), [pytest.param(CLIENT, POD, id="IPv4"), pytest.param(CLIENT6, POD6, id="IPv6")]
)


@pytest.fixture(autouse=True)
def _one_cpu() -> Iterator[None]:
    """What the kernel does at once, on one CPU, is done by two runs here."""
    with on_cpu(FIRST_CPU):
        yield


@pytest.fixture(scope="module")
def marking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Object]:
    """The program of processed.bpf.c."""
    with Object.open(tools.bpf_object("processed", tmp_path_factory.mktemp("marks"), Path(__file__).parent)) as found:
        found.load()
        yield found


@pytest.fixture
def fast(node: Datapath) -> Iterator[Datapath]:
    """The pod behind the loopback device has AF_XDP, and a limit."""
    slot, mac = node.slot(LOOPBACK), bytes.fromhex(POD_MAC.replace(":", ""))
    node.tables["attachments"].update([(slot, abi.Attachment(LOOPBACK, 100 + slot, slot, mac, AF_XDP, 0))])
    node.limit(LOOPBACK, ingress=RATE)
    node.node(flags=NodeFlag.NODE_LIMITS)
    yield node
    node.tables["attachments"].update([(slot, abi.Attachment(LOOPBACK, 100 + slot, slot, mac, 0, 0))])


def at_device(node: Datapath, marking: Object, packet: Packet) -> int:
    """The verdict of the pod's device on what a program of ours has put its mark on."""
    tail_call(marking.map_fd("next"), node.objects["tc_pod"].program_fd("pod_egress"))
    context = struct.pack("<40xI", LOOPBACK).ljust(192, b"\0")  # struct __sk_buff
    return libbpf.test_run(marking.program_fd("with_mark"), bytes(packet), context=context).retval


@FAMILIES
def test_what_was_judged_passes_the_device_once(fast: Datapath, marking: Object, client: str, pod: str) -> None:
    came = fast.run("uplink_ingress", frame(client, pod, datagram()))
    assert came.verdict == TC_ACT_REDIRECT
    charged, counted = fast.limits(LOOPBACK), fast.counted()
    assert at_device(fast, marking, came.packet) == TC_ACT_OK
    assert (fast.limits(LOOPBACK), fast.counted()) == (charged, counted)
    assert at_device(fast, marking, came.packet) == TC_ACT_OK
    assert fast.limits(LOOPBACK) != charged, "another packet with the mark was not charged"
    assert fast.counted() != counted, "nor looked at"


def test_without_the_mark_a_packet_at_the_device_is_judged(fast: Datapath) -> None:
    came = fast.run("uplink_ingress", frame(CLIENT, POD, datagram()))
    assert fast.run("pod_egress", came.packet).reasons


@FAMILIES
def test_to_other_pods_nothing_is_remembered(node: Datapath, marking: Object, client: str, pod: str) -> None:
    came = node.run("uplink_ingress", frame(client, pod, datagram()))
    counted = node.counted()
    assert at_device(node, marking, came.packet) == TC_ACT_OK
    assert node.counted() != counted


# ---- the pod's end ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=[(), ((17, 7000, 7001), (58, 0, 0xFFFF))], ids=["everything", "some ports"], scope="module")
def steering(request: pytest.FixtureRequest) -> Iterator[tuple[Object, bool]]:
    """The program before a pod's stack, and whether sockets are to have everything; no socket is in its map."""
    with Object.open(paths.objects() / "xdp_pod.bpf.o") as found:
        found.leave_out("node")
        rules = abi.SteeringRule.pack_many([abi.SteeringRule(*rule) for rule in request.param])
        found.set_constants({"steering": rules.ljust(abi.STEERING_RULES * abi.SteeringRule.SIZE, b"\0")})
        found.load()
        yield found, not request.param


def ether(packet: Packet) -> bytes:
    """In a frame from the node."""
    return bytes(Ether(src=GATEWAY_MAC, dst=POD_MAC) / packet)


FOUR, SIX = IP(src=CLIENT, dst=POD), IPv6(src=CLIENT6, dst=POD6)
HELLO = Raw(b"hello")


# for sockets where they are to have everything, and where some ports; what no socket takes is dropped
@pytest.mark.parametrize(
    ("packet", "everything", "some"),
    [
        pytest.param(FOUR / UDP(dport=7000) / HELLO, True, True, id="IPv4, a captured port"),
        pytest.param(SIX / UDP(dport=7001) / HELLO, True, True, id="IPv6, the range's last"),
        pytest.param(SIX / IPv6ExtHdrDestOpt() / UDP(dport=7001) / HELLO, True, True, id="behind an extension header"),
        pytest.param(FOUR / UDP(dport=7002) / HELLO, True, False, id="a port beside them"),
        pytest.param(FOUR / UDP(sport=7000, dport=53) / HELLO, True, False, id="from such a port"),
        pytest.param(FOUR / TCP(dport=7000), True, False, id="another protocol"),
        pytest.param(FOUR / ICMP(), True, False, id="ICMP"),
        pytest.param(SIX / ICMPv6EchoRequest(), True, True, id="a protocol as a whole"),
        pytest.param(SIX / ICMPv6ND_NS(tgt=POD6), False, False, id="neighbour discovery is the stack's, always"),
        pytest.param(ARP(pdst=POD), False, False, id="as is ARP"),
        pytest.param(IP(src=CLIENT, dst=POD, flags="MF") / UDP(dport=7000) / HELLO, True, False, id="a first fragment"),
        pytest.param(SIX / IPv6ExtHdrFragment(offset=1, nh=17) / HELLO, True, False, id="a later one"),
    ],
)
def test_sockets_get_what_is_captured_and_the_stack_the_rest(
    steering: tuple[Object, bool], packet: Packet, *, everything: bool, some: bool
) -> None:
    program, takes_everything = steering
    done = libbpf.test_run(program.program_fd("pod_xdp"), ether(packet))
    assert done.retval == (XDP_DROP if (everything if takes_everything else some) else XDP_PASS)


def test_what_cannot_be_read_ends(steering: tuple[Object, bool]) -> None:
    bad = bytearray(ether(FOUR / UDP(dport=7000) / HELLO))
    bad[14] = 0x41  # a header length of one word
    assert libbpf.test_run(steering[0].program_fd("pod_xdp"), bytes(bad)).retval == XDP_DROP
