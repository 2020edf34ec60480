"""TCP hears what the tunnel carries with its first segment, and who sends too much is told so."""

import struct
import subprocess

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps import abi
from maps.abi import DropReason, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    OTHER,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_REDIRECT,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    frame,
)
from tests.bpf.packets import addresses, answer, icmp_sum_holds, ip_of, ports, quoted_by
from tests.bpf.test_tunnel import far, tunnel  # noqa: F401  fixtures

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

MTU = 1450
OUTSIDE = pytest.mark.parametrize(
    ("client", "own", "backend", "under"),
    [pytest.param(CLIENT, NODE, REMOTE, "0.0.0.0", id="IPv4"), pytest.param(CLIENT6, NODE6, REMOTE6, "::", id="IPv6")],
)
LARGEST = {4: MTU - 40, 6: MTU - 60}


def opening(mss: int | None, flags: str = "S", *, dport: int = 30080, shifted: bool = False) -> Packet:
    """A segment that opens a connection; *shifted*, its MSS stands across two words."""
    options = [("MSS", mss), ("SAckOK", b""), ("WScale", 7)] if mss is not None else [("SAckOK", b"")]
    return TCP(sport=40000, dport=dport, flags=flags, seq=1000, options=[("NOP", None)] * shifted + options)


def mss(packet: Packet) -> int | None:
    """What a segment promises."""
    return dict(o for o in packet[TCP].options if len(o) == 2).get("MSS")


def version(packet: Packet) -> int:
    """4 or 6."""
    return 6 if IPv6 in packet else 4


def whole(packet: Packet) -> Packet:
    """The same, not to be divided by anybody."""
    if IP in packet:
        packet[IP].flags = "DF"
        del packet[IP].chksum
    return Ether(bytes(packet))


def node_port(node: Datapath, under: str, backend: str) -> None:
    """A service at a node port, its backend behind the tunnel."""
    for protocol in (6, 17):
        node.service(under, 30080, [(backend, 8080, False)], protocol=protocol, scope=Scope.SCOPE_EXTERNAL)


@OUTSIDE
@pytest.mark.parametrize("shifted", [False, True], ids=["in one word", "across two words"])
@pytest.mark.parametrize("asked", [1460, 8960, 65535, 1411])
def test_a_connection_from_outside_knows_the_tunnel_from_its_first_segment_on(
    far: Datapath,  # noqa: F811
    client: str,
    own: str,
    backend: str,
    under: str,
    asked: int,
    *,
    shifted: bool,
) -> None:
    node_port(far, under, backend)
    went = far.run("uplink_ingress", frame(client, own, opening(asked, shifted=shifted))).packet
    assert (mss(went), checksums_hold(went)) == (LARGEST[version(went)], True)
    back = answer(went, POD_MAC)
    back[TCP].options = opening(asked, shifted=shifted).options
    del back[TCP].chksum
    back = far.run("uplink_ingress", whole(back)).packet
    assert (addresses(back), mss(back), checksums_hold(back)) == ((own, client), LARGEST[version(back)], True)


@pytest.mark.parametrize(("pod", "remote"), [(POD, REMOTE), (POD6, REMOTE6)], ids=["IPv4", "IPv6"])
def test_so_does_one_from_a_pod_whose_own_link_carries_more(far: Datapath, pod: str, remote: str) -> None:  # noqa: F811
    went = far.run("pod_ingress", frame(pod, remote, opening(8960))).packet
    assert (mss(went), checksums_hold(went)) == (LARGEST[version(went)], True)


@pytest.mark.parametrize(("pod", "vip", "remote"), [(POD, VIP, REMOTE), (POD6, VIP6, REMOTE6)], ids=["IPv4", "IPv6"])
def test_and_one_from_a_pod_to_a_service(far: Datapath, pod: str, vip: str, remote: str) -> None:  # noqa: F811
    far.service(vip, 80, [(remote, 8080, False)])
    went = far.run("pod_ingress", frame(pod, vip, opening(8960, dport=80))).packet
    assert (addresses(went), mss(went), checksums_hold(went)) == ((pod, remote), LARGEST[version(went)], True)


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param(opening(1000), id="less"),
        pytest.param(opening(None), id="none"),
        pytest.param(TCP(sport=1, dport=2, flags="S"), id="no options"),
        pytest.param(opening(8960, "A"), id="not of a segment that opens"),
        pytest.param(TCP(sport=1, dport=2, flags="S", options=[("EOL", None), ("MSS", 8960)]), id="behind the end"),
        pytest.param(TCP(sport=1, dport=2, flags="S", dataofs=6) / Raw(b"\x03\x00\x02\x04"), id="a length of nothing"),
        pytest.param(TCP(sport=1, dport=2, flags="S", dataofs=6) / Raw(b"\x02\x03\xff\xff"), id="a wrong length"),
        pytest.param(TCP(sport=1, dport=2, flags="S", dataofs=15), id="a header longer than the packet"),
    ],
)
def test_what_else_a_segment_promises_stays(far: Datapath, segment: Packet) -> None:  # noqa: F811
    sent = frame(POD, REMOTE, segment)
    went = far.run("pod_ingress", sent)
    assert went.verdict == TC_ACT_REDIRECT
    assert bytes(went.packet)[34:] == bytes(sent)[34:]


def test_who_stays_on_the_node_promises_what_it_likes(far: Datapath) -> None:  # noqa: F811
    assert mss(far.run("pod_ingress", frame(POD, OTHER, opening(8960))).packet) == 8960


def told(packet: Packet) -> int:
    """The MTU that an ICMP error tells, its checksum right."""
    assert icmp_sum_holds(packet)
    message = bytes(ip_of(packet).payload)
    kind, code, _, high, low = struct.unpack("!BBHHH", message[:8])
    if version(packet) == 4:
        assert (kind, code, high) == (3, 4, 0)
        assert ICMP in packet
    else:
        assert (kind, code) == (2, 0)
    return int(high << 16 | low)


DATAGRAMS = [
    pytest.param(UDP(sport=40000, dport=30080) / Raw(bytes(1440)), id="UDP"),
    pytest.param(UDP(sport=40000, dport=30080, chksum=0) / Raw(bytes(1440)), id="UDP without a checksum"),
    pytest.param(TCP(sport=40000, dport=30080, flags="PA") / Raw(bytes(1440)), id="TCP"),
]


@OUTSIDE
@pytest.mark.parametrize("l4", DATAGRAMS)
def test_who_sends_too_much_from_outside_is_told_what_the_tunnel_carries(
    far: Datapath,  # noqa: F811
    client: str,
    own: str,
    backend: str,
    under: str,
    l4: Packet,
) -> None:
    node_port(far, under, backend)
    sent = whole(frame(client, own, l4))
    done = far.run("uplink_ingress", sent)
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_TOO_BIG)
    assert (done.packet[Ether].src, done.packet[Ether].dst) == (sent[Ether].dst, sent[Ether].src)
    assert (addresses(done.packet), told(done.packet)) == ((own, client), MTU)
    quoted = quoted_by(done.packet)
    assert (addresses(quoted), ports(quoted)) == ((client, own), (40000, 30080))
    assert len(bytes(done.packet)) < 1280


@OUTSIDE
def test_what_fits_is_carried_and_so_is_what_may_be_divided(
    far: Datapath,  # noqa: F811
    client: str,
    own: str,
    backend: str,
    under: str,
) -> None:
    node_port(far, under, backend)
    headers = 28 if version(frame(client, own, TCP())) == 4 else 48
    fits = whole(frame(client, own, UDP(sport=1, dport=30080) / Raw(bytes(MTU - headers))))
    over = whole(frame(client, own, UDP(sport=1, dport=30080) / Raw(bytes(MTU - headers + 1))))
    assert far.run("uplink_ingress", fits).reason == DropReason.DROP_NONE
    assert far.run("uplink_ingress", over).reason == DropReason.DROP_TOO_BIG
    if headers == 28:
        over[IP].flags = 0
        del over[IP].chksum
        assert far.run("uplink_ingress", Ether(bytes(over))).reason == DropReason.DROP_NONE


@pytest.mark.parametrize(
    ("pod", "peer", "own"), [pytest.param(POD, CLIENT, NODE, id="IPv4"), pytest.param(POD6, CLIENT6, NODE6, id="IPv6")]
)
def test_a_pod_is_told_what_the_way_outside_carries(
    node: Datapath,
    tunnel: int,  # noqa: F811  for its namespace with routes
    pod: str,
    peer: str,
    own: str,
) -> None:
    assert tunnel
    node.node(flags=abi.NodeFlag.NODE_MASQUERADE)
    change = ["ip", "route", "replace", f"{peer}/{128 if ':' in peer else 32}", "via"]
    subprocess.run([*change, "fd88::1" if ":" in peer else "10.88.0.1", "mtu", "lock", "1400"], check=True)
    done = node.run("pod_ingress", whole(frame(pod, peer, UDP(sport=7, dport=8) / Raw(bytes(1400)))))
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_TOO_BIG)
    assert (addresses(done.packet), told(done.packet)) == ((peer, pod), 1400)
    assert (addresses(quoted_by(done.packet)), own in addresses(done.packet)) == ((pod, peer), False)


def test_the_node_itself_is_told_as_by_the_service(far: Datapath) -> None:  # noqa: F811
    far.service(VIP, 30080, [(REMOTE, 8080, False)], protocol=17)
    done = far.run("uplink_egress", whole(frame(NODE, VIP, UDP(sport=7, dport=30080) / Raw(bytes(1440)))))
    assert (done.reason, addresses(done.packet), told(done.packet)) == (DropReason.DROP_TOO_BIG, (VIP, NODE), MTU)
    assert addresses(quoted_by(done.packet)) == (NODE, VIP)


@pytest.mark.parametrize(("own", "vip", "pod"), [(NODE, VIP, POD), (NODE6, VIP6, POD6)], ids=["IPv4", "IPv6"])
def test_the_node_is_told_what_the_wire_of_its_own_pod_carries(
    far: Datapath,  # noqa: F811
    tunnel: int,  # noqa: F811  a device of that MTU
    own: str,
    vip: str,
    pod: str,
) -> None:
    far.service(vip, 30080, [(pod, 8080, True)], protocol=17)
    far.endpoint(pod, tunnel, POD_MAC)
    headers = 48 if ":" in own else 28
    fits, over = (UDP(sport=7, dport=30080) / Raw(bytes(MTU - headers + more)) for more in (0, 1))
    done = far.run("uplink_egress", whole(frame(own, vip, fits)))
    assert (done.verdict, done.reason, addresses(done.packet)) == (TC_ACT_REDIRECT, DropReason.DROP_NONE, (own, pod))
    done = far.run("uplink_egress", whole(frame(own, vip, over)))
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_TOO_BIG)
    assert (addresses(done.packet), told(done.packet)) == ((vip, own), MTU)
    assert addresses(quoted_by(done.packet)) == (own, vip)


@pytest.mark.parametrize(("client", "pod"), [(CLIENT, POD), (CLIENT6, POD6)], ids=["IPv4", "IPv6"])
def test_what_comes_in_enters_a_pod_whatever_its_wire_carries(
    far: Datapath,  # noqa: F811
    tunnel: int,  # noqa: F811  a device of that MTU
    client: str,
    pod: str,
) -> None:
    far.endpoint(pod, tunnel, POD_MAC)
    done = far.run("uplink_ingress", whole(frame(client, pod, UDP(sport=7, dport=8) / Raw(bytes(MTU)))))
    assert (done.verdict, done.reason, addresses(done.packet)) == (TC_ACT_REDIRECT, DropReason.DROP_NONE, (client, pod))
