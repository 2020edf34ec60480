"""A pod's limits are charged once per packet, whichever way it takes, by the octets that the wire will carry."""

import subprocess
import time
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from maps import abi
from maps.abi import DropReason, NodeFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    GATEWAY_MAC,
    LOOPBACK,
    NODE,
    NS,
    OTHER,
    OTHER6,
    OTHER_POD_DEVICE,
    POD,
    POD6,
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
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

RATE = 8 * NS // 1000  # an octet takes a microsecond
FAR_NODE = "10.88.0.12"
AT_REST = 1  # a time long ago
TICK_NS = 10_000_000  # the programs' clock stands still between two ticks
OUTSIDE, OUTSIDE6 = "198.51.100.9", "2001:db8:9::9"


@pytest.fixture(scope="module")
def uplink() -> Iterator[int]:
    """The uplink's ifindex, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


@pytest.fixture
def limited(node: Datapath) -> Datapath:
    """Both pods have limits in both directions, and have not used them."""
    for ifindex in (LOOPBACK, OTHER_POD_DEVICE):
        node.limit(ifindex, ingress=RATE, egress=RATE)
    node.node(flags=NodeFlag.NODE_LIMITS)
    return node


def used(node: Datapath, ifindex: int) -> tuple[bool, bool]:
    """Whether ingress and egress were charged."""
    found = node.limits(ifindex)
    return found.ingress.at_ns != AT_REST, found.egress.at_ns != AT_REST


@pytest.fixture
def rested(limited: Datapath) -> Datapath:
    """The same, with a mark by which a charge is seen."""
    for ifindex in (LOOPBACK, OTHER_POD_DEVICE):
        limited.set_limits(ifindex, abi.AttachmentLimits(abi.Limit(RATE, NS, AT_REST), abi.Limit(RATE, NS, AT_REST)))
    return limited


@pytest.mark.parametrize(
    ("program", "packet", "pod", "other"),
    [
        pytest.param("pod_ingress", frame(POD, OTHER, syn()), (False, True), (True, False), id="pod to pod: both"),
        pytest.param("pod_ingress", frame(POD6, OTHER6, datagram()), (False, True), (True, False), id="IPv6, UDP"),
        pytest.param("pod_ingress", frame(POD, NODE, syn()), (False, True), (False, False), id="pod to its node"),
        pytest.param("pod_ingress", frame(POD, OUTSIDE, syn()), (False, True), (False, False), id="pod to outside"),
        pytest.param(
            "pod_egress",
            frame(NODE, POD, syn(), mac=GATEWAY_MAC, to=POD_MAC),
            (True, False),
            (False, False),
            id="stack to pod",
        ),
        pytest.param("uplink_ingress", frame(CLIENT, OTHER, syn()), (False, False), (True, False), id="outside to pod"),
        pytest.param(
            "uplink_egress",
            frame(NODE, VIP, syn()),
            (False, False),
            (False, False),
            id="node to pod by a service: the pod's own hook comes next",
        ),
    ],
)
def test_each_way_is_charged_once(
    rested: Datapath, program: str, packet: Packet, pod: tuple[bool, bool], other: tuple[bool, bool]
) -> None:
    rested.service(VIP, 80, [(OTHER, 8080, True)], scope=Scope.SCOPE_INTERNAL)
    done = rested.run(program, packet)
    assert done.verdict != TC_ACT_SHOT
    assert (used(rested, LOOPBACK), used(rested, OTHER_POD_DEVICE)) == (pod, other)


@pytest.mark.parametrize(
    "packet", [frame(POD, OTHER, data()), frame(POD6, OTHER6, datagram(size=1400))], ids=["4", "6"]
)
def test_a_packet_is_charged_by_its_octets(limited: Datapath, packet: Packet) -> None:
    limited.limit(LOOPBACK, egress=RATE, ahead_s=500, burst_s=1000)
    before = limited.limits(LOOPBACK).egress.at_ns
    limited.run("pod_ingress", packet)
    assert limited.limits(LOOPBACK).egress.at_ns - before == len(packet) * 1000


@pytest.mark.parametrize(
    ("packet", "size", "headers"),
    [
        pytest.param(frame(POD, OTHER, TCP(flags="A") / Raw(bytes(2500))), 1000, 14 + 20 + 20, id="TCP"),
        pytest.param(
            frame(
                POD6,
                OTHER6,
                TCP(flags="A", options=[("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)]) / Raw(bytes(2500)),
            ),
            1000,
            14 + 40 + 32,
            id="TCP over IPv6 with options",
        ),
        pytest.param(frame(POD, OTHER, datagram(size=2500)), 1000, 14 + 20 + 8, id="UDP"),
    ],
)
def test_a_gso_packet_is_charged_with_the_headers_of_all_its_segments(
    limited: Datapath, packet: Packet, size: int, headers: int
) -> None:
    for ifindex in (LOOPBACK, OTHER_POD_DEVICE):
        limited.limit(ifindex, ingress=RATE, egress=RATE, ahead_s=500, burst_s=1000)
    before = limited.limits(LOOPBACK).egress.at_ns, limited.limits(OTHER_POD_DEVICE).ingress.at_ns
    assert limited.run("pod_ingress", packet, gso_size=size).verdict == TC_ACT_REDIRECT
    after = limited.limits(LOOPBACK).egress.at_ns, limited.limits(OTHER_POD_DEVICE).ingress.at_ns
    wire = (len(packet) + 2 * headers) * 1000  # three segments
    assert (after[0] - before[0], after[1] - before[1]) == (wire, wire)


def test_a_limit_passes_its_burst_and_one_packet_and_no_more(limited: Datapath) -> None:
    limited.limit(LOOPBACK, egress=8, burst_s=500)  # an octet takes a second, so this machine may take its time
    packet = frame(POD, OTHER, datagram(size=58))  # 100 octets
    verdicts = [limited.run("pod_ingress", packet).reason for _ in range(9)]
    assert verdicts == [DropReason.DROP_NONE] * 6 + [DropReason.DROP_EGRESS_LIMIT] * 3


def test_what_was_dropped_is_not_charged(rested: Datapath) -> None:
    rested.limit(LOOPBACK, egress=RATE, ahead_s=100)
    before = rested.limits(LOOPBACK).egress.at_ns
    assert rested.run("pod_ingress", frame(POD, OTHER, syn())).reason == DropReason.DROP_EGRESS_LIMIT
    assert rested.limits(LOOPBACK).egress.at_ns == before
    assert not used(rested, OTHER_POD_DEVICE)[0]


def test_room_that_was_not_used_does_not_add_up(limited: Datapath) -> None:
    limited.limit(LOOPBACK, egress=RATE, ahead_s=-1000)
    began = time.monotonic_ns()
    limited.run("pod_ingress", frame(POD, OTHER, syn()))
    assert began - TICK_NS <= limited.limits(LOOPBACK).egress.at_ns <= time.monotonic_ns() + NS


def test_an_established_flow_is_charged_too(limited: Datapath) -> None:
    limited.run("pod_ingress", frame(POD, OTHER, syn()))
    limited.limit(OTHER_POD_DEVICE, ingress=RATE, ahead_s=100)
    done = limited.run("pod_ingress", frame(POD, OTHER, data()))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_INGRESS_LIMIT)


@pytest.mark.parametrize("flags", [NodeFlag(0), NodeFlag.NODE_LIMITS], ids=["no pod has one", "another pod has one"])
def test_a_pod_without_a_limit_is_not_held_up(node: Datapath, flags: NodeFlag) -> None:
    node.attach(99, "02:00:00:00:00:99")
    node.limit(99, ingress=1000, egress=1000, ahead_s=100)
    node.limit(OTHER_POD_DEVICE, egress=1000, ahead_s=100)  # what it is sent is free
    node.node(flags=flags)
    assert node.run("pod_ingress", frame(POD, OTHER, syn())).reason == DropReason.DROP_NONE


def test_arp_is_charged_and_passes(limited: Datapath) -> None:
    done = limited.run(
        "pod_ingress", Ether(src=POD_MAC, dst=GATEWAY_MAC) / ARP(hwsrc=POD_MAC, psrc=POD, pdst="169.254.1.1")
    )
    assert (done.verdict, done.reason, done.send_at) == (TC_ACT_OK, DropReason.DROP_NONE, 0)
    assert used(limited, LOOPBACK)[1]


@pytest.fixture
def paced(node: Datapath, uplink: int) -> Datapath:
    """The uplink's queue keeps time; the pod is 0.5 s ahead of its rate."""
    node.limit(LOOPBACK, egress=RATE, ahead_s=500, burst_s=1000)
    node.tables["paced_devices"].update([(uplink, abi.PacedDevice(1))])
    node.node(flags=NodeFlag.NODE_LIMITS | NodeFlag.NODE_PACED)
    return node


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(frame(POD, OUTSIDE, syn()), id="IPv4"),
        pytest.param(frame(POD6, OUTSIDE6, datagram()), id="IPv6"),
        pytest.param(frame(POD, REMOTE, syn()), id="another node's pod"),
        pytest.param(frame(POD6, REMOTE6, syn()), id="another node's pod, IPv6"),
    ],
)
def test_what_leaves_by_a_queue_that_keeps_time_is_told_its_time(paced: Datapath, packet: Packet) -> None:
    for _ in ("a new flow", "an established one"):
        at = paced.limits(LOOPBACK).egress.at_ns
        done = paced.run("pod_ingress", packet)
        assert (done.reason, done.send_at) == (DropReason.DROP_NONE, at)


def test_a_masqueraded_packet_is_told_its_time(paced: Datapath) -> None:
    paced.node(flags=NodeFlag.NODE_LIMITS | NodeFlag.NODE_PACED | NodeFlag.NODE_MASQUERADE)
    at = paced.limits(LOOPBACK).egress.at_ns
    done = paced.run("pod_ingress", frame(POD, OUTSIDE, syn()))
    assert (done.verdict, done.packet[IP].src, done.send_at) == (TC_ACT_REDIRECT, NODE, at)


@pytest.fixture
def tunnel(uplink: int) -> Iterator[int]:
    """A VXLAN device beside the uplink."""
    assert uplink
    subprocess.run(
        ["ip", "link", "add", "tun0", "mtu", "1450", "type", "vxlan", "external", "dstport", "8472"], check=True
    )
    subprocess.run(["ip", "link", "set", "tun0", "up"], check=True)
    shown = subprocess.run(["ip", "-o", "link", "show", "tun0"], check=True, capture_output=True, text=True).stdout
    yield int(shown.partition(":")[0])
    subprocess.run(["ip", "link", "del", "tun0"], check=True)


def test_an_encapsulated_packet_goes_by_the_device_of_its_outer_header(paced: Datapath, tunnel: int) -> None:
    paced.node(tunnel=tunnel, flags=NodeFlag.NODE_LIMITS | NodeFlag.NODE_PACED)
    paced.prefix("10.244.2.0/24", FAR_NODE)
    at = paced.limits(LOOPBACK).egress.at_ns
    done = paced.run("pod_ingress", frame(POD, REMOTE, syn()))
    assert (done.verdict, done.send_at) == (TC_ACT_REDIRECT, at)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(frame(POD, OTHER, syn()), id="a pod of this node"),
        pytest.param(frame(POD, NODE, syn()), id="the node itself"),
        pytest.param(frame(POD, "224.0.0.251", datagram(dport=5353)), id="a group"),
    ],
)
def test_what_meets_no_such_queue_is_not_told_a_time_and_is_dropped_beyond_the_burst(
    paced: Datapath, packet: Packet
) -> None:
    subprocess.run(["ip", "address", "replace", f"{NODE}/24", "dev", "up0"], check=True)
    done = paced.run("pod_ingress", packet)
    assert (done.reason, done.send_at) == (DropReason.DROP_NONE, 0)
    paced.limit(LOOPBACK, egress=RATE, ahead_s=1.5)
    assert paced.run("pod_ingress", packet).reason == DropReason.DROP_EGRESS_LIMIT


def test_what_would_wait_longer_than_the_burst_is_dropped(paced: Datapath) -> None:
    paced.limit(LOOPBACK, egress=RATE, ahead_s=1.5)
    assert paced.run("pod_ingress", frame(POD, OUTSIDE, syn())).reason == DropReason.DROP_EGRESS_LIMIT


def test_another_queue_is_not_told_a_time(paced: Datapath, uplink: int) -> None:
    paced.tables["paced_devices"].delete([uplink])
    assert paced.run("pod_ingress", frame(POD, OUTSIDE, syn())).send_at == 0
