"""Whatever octets arrive: a program answers with one of its verdicts, and counts the packet once or leaves it be."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from maps.abi import Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    VIP,
    VIP6,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Datapath,
    Outcome,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import TIME_EXCEEDED, UNREACHABLE, answer, icmp_error

pytestmark = pytest.mark.kernel

PROGRAMS = {
    "pod_ingress": (TC_ACT_OK, TC_ACT_SHOT, TC_ACT_REDIRECT),
    "pod_egress": (TC_ACT_OK, TC_ACT_SHOT),
    "uplink_ingress": (TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_REDIRECT),
    "uplink_egress": (TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_REDIRECT),
}
XDP_VERDICTS = (XDP_PASS, XDP_TX, XDP_DROP)
FRAGMENT_HEADER = 44  # IPv6's
LINK = Ether(src=POD_MAC, dst=GATEWAY_MAC)
TO_BACKENDS = [
    frame(POD, VIP, syn()),
    frame(POD6, VIP6, data()),
    frame(POD, VIP, datagram()),
    frame(CLIENT, NODE, syn()),
]
FROM_BACKENDS = [
    answer(frame(POD, OTHER, syn(dport=8080)), POD_MAC),
    answer(frame(POD6, OTHER6, syn(dport=8080)), POD_MAC),
]
SEEDS = [
    bytes(packet)
    for packet in [
        *TO_BACKENDS,
        *FROM_BACKENDS,
        *[icmp_error(about, UNREACHABLE, OTHER) for about in TO_BACKENDS if IP in about],
        icmp_error(frame(POD6, OTHER6, syn(dport=8080)), TIME_EXCEEDED, NODE6),
        icmp_error(frame(POD, OTHER, syn(dport=8080)), UNREACHABLE, OTHER, octets=8),
        frame(CLIENT6, NODE6, syn(dport=30080)),
        frame(NODE, VIP, syn(dport=81)),
        frame(POD, VIP, data(dport=81)),
        frame(POD, VIP, datagram(dport=81)),
        LINK / IP(src=POD, dst=VIP, options=[IPOption_NOP()] * 8) / syn(),
        LINK / IP(src=POD, dst=VIP, flags="MF", proto=17, id=7) / datagram(),
        LINK / IP(src=POD, dst=VIP, frag=8, proto=17, id=7) / Raw(bytes(64)),
        LINK / IPv6(src=POD6, dst=VIP6) / IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(m=1, id=7) / datagram(),
    ]
]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A packet that would be understood, but for some octets, and perhaps its end."""
    octets = bytearray(draw(st.sampled_from(SEEDS)))
    for at, value in draw(st.lists(st.tuples(st.integers(0, len(octets) - 1), st.integers(0, 255)), max_size=6)):
        octets[at] = value
    # the test run refuses what is shorter than its IP header
    return bytes(octets[: draw(st.integers(54, len(octets)))])


def anything() -> st.SearchStrategy[bytes]:
    """A frame of random octets that says it is IPv4, IPv6 or whatever."""
    ethertype = st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x81\x00", b"\x00\x2e"])
    return st.builds(lambda a, t, b: a + t + b, st.binary(min_size=12, max_size=12), ethertype, st.binary(min_size=46))


@pytest.fixture(scope="module")
def busy(loaded: Datapath) -> Datapath:
    """A node with services of every kind; its maps fill as the packets come."""
    loaded.reset()
    for pod_vip, own_vip, other, far in ((VIP, "0.0.0.0", OTHER, REMOTE), (VIP6, "::", OTHER6, POD6)):
        for protocol in (6, 17):
            loaded.service(pod_vip, 80, [(other, 8080, True), (far, 8080, False)], protocol=protocol)
            loaded.service(pod_vip, 53, [(other, 8080, True)], protocol=protocol, affinity_s=60)
            loaded.service(pod_vip, 81, [], protocol=protocol)
            loaded.service(own_vip, 30080, [(other, 8080, True)], protocol=protocol, scope=Scope.SCOPE_EXTERNAL)
    return loaded


def is_put_aside(program: str, packet: bytes, done: Outcome) -> bool:
    """Whether a fragment waits, or comes again with those that waited: it is counted in its turn."""
    if done.verdict != TC_ACT_SHOT or not program.endswith("ingress"):
        return False
    if packet[12:14] == b"\x08\x00":
        return bool(int.from_bytes(packet[20:22], "big") & 0x3FFF)
    return packet[12:14] == b"\x86\xdd" and FRAGMENT_HEADER in packet[20:]


@pytest.mark.parametrize("program", PROGRAMS)
@given(packets=st.lists(st.one_of(changed(), anything()), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_packet_gets_a_verdict_and_is_counted_once(busy: Datapath, program: str, packets: list[bytes]) -> None:
    for packet in packets:
        done = busy.run(program, packet)
        assert done.verdict in PROGRAMS[program]
        counted = sum(done.reasons.values())
        if done.verdict == TC_ACT_UNSPEC:
            assert counted in (0, 1)
        elif not is_put_aside(program, packet, done):
            assert counted == 1
        if counted:
            refused = done.reason.name in ("DROP_NO_BACKEND", "DROP_TOO_BIG") and done.verdict == TC_ACT_REDIRECT
            assert (done.verdict == TC_ACT_SHOT) == (done.reason != 0 and not refused)
        if done.verdict in (TC_ACT_UNSPEC, TC_ACT_OK) and not counted:
            assert bytes(done.packet) == packet


@given(packets=st.lists(st.one_of(changed(), anything()), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_at_xdp_every_packet_passes_as_it_came_or_is_counted_once(busy: Datapath, packets: list[bytes]) -> None:
    for packet in packets:
        done = busy.run("uplink_xdp", packet)
        assert done.verdict in XDP_VERDICTS
        assert sum(done.reasons.values()) == (done.verdict != XDP_PASS)
        if done.verdict == XDP_PASS:
            assert bytes(done.packet) == packet
