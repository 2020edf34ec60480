"""Where the kernel has no Geneve device, the VXLAN device's packets are Geneve's on the wire, and back again."""

from collections.abc import Iterator

import pytest
from scapy.contrib.geneve import GENEVE
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from maps.abi import NodeFlag, PrefixFlag
from tests.bpf.datapath import (
    GATEWAY_MAC,
    NODE,
    NODE6,
    POD,
    REMOTE,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    Datapath,
    checksums_hold,
    frame,
    syn,
)
from tests.bpf.test_fragment import fragments
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FAR, FAR6 = "10.88.0.12", "fd88::12"
PORT, VNI = 6081, 7
ENDS = pytest.mark.parametrize(
    ("own", "far"), [pytest.param(NODE, FAR, id="over IPv4"), pytest.param(NODE6, FAR6, id="over IPv6")]
)
SUMMED = pytest.mark.parametrize("summed", [True, False], ids=["with a checksum", "without"])


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink."""
    with routed() as ifindex:
        yield ifindex


@pytest.fixture
def geneve(node: Datapath, device: int) -> Datapath:
    """A node that exchanges headers."""
    node.node(tunnel=device, port=PORT, flags=NodeFlag.NODE_GENEVE)
    node.prefix(f"{FAR}/32", FAR, flags=PrefixFlag.PREFIX_NODE)
    node.prefix(f"{FAR6}/128", FAR6, flags=PrefixFlag.PREFIX_NODE)
    return node


def outer(src: str, dst: str, header: Packet, *, summed: bool, port: int = PORT) -> Packet:
    """What one node sends another."""
    ip = IPv6(src=src, dst=dst) if ":" in src else IP(src=src, dst=dst)
    made = Ether(dst=GATEWAY_MAC) / ip / UDP(sport=50000, dport=port, chksum=None if summed else 0)
    return Ether(bytes(made / Raw(bytes(header / frame(REMOTE, POD, syn())))))


@SUMMED
@ENDS
def test_the_devices_header_leaves_as_geneves(geneve: Datapath, own: str, far: str, *, summed: bool) -> None:
    done = geneve.run("uplink_egress", outer(own, far, VXLAN(vni=VNI, flags="Instance"), summed=summed))
    assert done.verdict == TC_ACT_UNSPEC
    header = GENEVE(bytes(done.packet[UDP].payload))
    assert (header.version, header.optionlen, header.proto, header.vni) == (0, 0, 0x6558, VNI)
    assert bytes(header.payload) == bytes(frame(REMOTE, POD, syn()))
    assert (done.packet[UDP].chksum != 0) == summed
    assert not summed or checksums_hold(done.packet)


@SUMMED
@ENDS
def test_geneves_header_comes_in_as_the_devices(geneve: Datapath, own: str, far: str, *, summed: bool) -> None:
    done = geneve.run("uplink_ingress", outer(far, own, GENEVE(vni=VNI, proto=0x6558), summed=summed))
    assert done.verdict == TC_ACT_UNSPEC
    assert bytes(done.packet[UDP].payload)[:8] == bytes(VXLAN(vni=VNI, flags="Instance"))
    assert not summed or checksums_hold(done.packet)


@pytest.mark.parametrize(
    ("program", "packet"),
    [
        pytest.param("uplink_ingress", outer(FAR, "10.88.0.200", GENEVE(vni=VNI), summed=True), id="to another node"),
        pytest.param("uplink_ingress", outer(FAR, NODE, GENEVE(vni=VNI), summed=True, port=4789), id="to another port"),
        pytest.param("uplink_egress", outer(NODE, FAR, GENEVE(vni=VNI), summed=True), id="Geneve of the node's own"),
    ],
)
def test_all_else_stays_as_it_is(geneve: Datapath, program: str, packet: Packet) -> None:
    done = geneve.run(program, packet)
    assert (done.verdict, bytes(done.packet)) == (TC_ACT_UNSPEC, bytes(packet))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(outer("10.88.0.13", NODE, GENEVE(vni=VNI), summed=True), "OUTER", id="from no node"),
        pytest.param(outer("fd88::13", NODE6, GENEVE(vni=VNI), summed=True), "OUTER", id="from no node, IPv6"),
        pytest.param(outer(REMOTE, NODE, GENEVE(vni=VNI), summed=True), "OUTER", id="from another node's pod"),
        pytest.param(outer(FAR, NODE, GENEVE(vni=VNI, proto=0x0800), summed=True), "HEADER", id="with IP inside"),
        pytest.param(outer(FAR, NODE, GENEVE(vni=VNI, oam=1), summed=True), "HEADER", id="for control"),
        pytest.param(outer(FAR, NODE, VXLAN(vni=VNI, flags="Instance"), summed=True), "HEADER", id="VXLAN"),
    ],
)
def test_what_the_devices_socket_is_not_to_take_is_dropped(geneve: Datapath, packet: Packet, reason: str) -> None:
    done = geneve.run("uplink_ingress", packet)
    assert (done.verdict, done.reason.name) == (TC_ACT_SHOT, f"DROP_TUNNEL_{reason}")


@ENDS
def test_what_the_stack_of_another_node_sent_in_fragments_arrives(geneve: Datapath, own: str, far: str) -> None:
    """The first fragment is exchanged, and none of the later ones waits for it."""
    first, *later = fragments(far, own, 7, sport=50000, dport=PORT)
    raw, header = bytes(first), bytes(GENEVE(vni=VNI, proto=0x6558))
    at = raw.index((50000).to_bytes(2, "big")) + 8  # behind the UDP header
    done = geneve.run("uplink_ingress", raw[:at] + header + raw[at + len(header) :])
    assert done.verdict == TC_ACT_UNSPEC
    assert bytes(done.packet)[at : at + 4] == bytes(VXLAN(flags="Instance"))[:4]
    for sent in later:
        assert geneve.run("uplink_ingress", sent).verdict == TC_ACT_UNSPEC
