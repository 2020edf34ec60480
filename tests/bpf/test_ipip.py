"""IP in IP by headers of our own: put before what goes to another node, taken off what comes from one."""

import subprocess
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps.abi import DropReason, NodeFlag, PrefixFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    Datapath,
    checksums_hold,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FAR, FAR6, STRANGER = "10.88.0.12", "fd88::12", "10.88.0.13"
MTU = 1480
PROTOCOL = {POD: 4, POD6: 41}
# inner sources that the other node may not have
FORGED = [
    pytest.param(OTHER, id="a pod of this node"),
    pytest.param(NODE, id="this node"),
    pytest.param("10.244.3.9", id="another node's pod"),
    pytest.param("10.88.0.14", id="another node"),
    pytest.param("203.0.113.77", id="somebody outside"),
    pytest.param("127.0.0.1", id="loopback"),
    pytest.param(POD6, id="a pod of this node, IPv6"),
    pytest.param(CLIENT6, id="somebody outside, IPv6"),
]
ROUTER_MAC = "02:00:00:00:00:99"
INNER = pytest.mark.parametrize(
    ("pod", "remote"), [pytest.param(POD, REMOTE, id="IPv4"), pytest.param(POD6, REMOTE6, id="IPv6")]
)
OUTER = pytest.mark.parametrize(
    ("own", "far"), [pytest.param(NODE, FAR, id="in IPv4"), pytest.param(NODE6, FAR6, id="in IPv6")]
)


@pytest.fixture(scope="module")
def carrier() -> Iterator[int]:
    """The tunnel's device, in a namespace with routes to the other nodes."""
    with routed():
        subprocess.run(["ip", "link", "add", "tun0", "mtu", str(MTU), "type", "veth", "peer", "tun1"], check=True)
        subprocess.run(["ip", "link", "set", "tun0", "up"], check=True)
        subprocess.run(["ip", "link", "set", "tun1", "up"], check=True)
        shown = subprocess.run(["ip", "-o", "link", "show", "tun0"], check=True, capture_output=True, text=True).stdout
        yield int(shown.partition(":")[0])


@pytest.fixture
def ipip(node: Datapath, carrier: int) -> Datapath:
    """A node that encapsulates."""
    node.node(tunnel=carrier, flags=NodeFlag.NODE_IPIP)
    for address in (FAR, FAR6):
        node.prefix(f"{address}/{128 if ':' in address else 32}", flags=PrefixFlag.PREFIX_NODE)
    for pods in ("10.244.2.0/24", "fd00:2::/64"):
        node.prefix(pods)
    return node


def behind(node: Datapath, far: str) -> None:
    """The other node's pods are reached by this address of it."""
    node.prefix("10.244.2.0/24", far)
    node.prefix("fd00:2::/64", far)


def wrapped(src: str, dst: str, inner: Packet) -> Packet:
    """A packet as another node encapsulates it; scapy knows the protocol's number."""
    outer = IPv6(src=src, dst=dst, hlim=64) if ":" in src else IP(src=src, dst=dst, ttl=64, flags="DF")
    return Ether(bytes(Ether(src=ROUTER_MAC, dst=GATEWAY_MAC) / outer / inner.payload))


def ends(ip: Packet) -> tuple[str, str]:
    """One header's addresses."""
    return ip.src, ip.dst


@OUTER
@INNER
def test_a_remote_pod_is_sent_a_packet_in_a_packet(ipip: Datapath, pod: str, remote: str, own: str, far: str) -> None:
    behind(ipip, far)
    sent = frame(pod, remote, syn())
    done = ipip.run("pod_ingress", sent)
    assert done.verdict == TC_ACT_REDIRECT
    outer = done.packet.payload
    assert (ends(outer), ends(outer.payload)) == ((own, far), (pod, remote))
    assert (outer.ttl if ":" not in own else outer.hlim) == 64
    assert ":" in own or outer.flags == "DF"
    assert checksums_hold(done.packet)
    assert len(done.packet) == len(sent) + (40 if ":" in own else 20)


@OUTER
@INNER
def test_what_the_stack_sends_by_the_device_is_encapsulated_there(
    ipip: Datapath, pod: str, remote: str, own: str, far: str
) -> None:
    behind(ipip, far)
    source = NODE6 if ":" in pod else NODE
    done = ipip.run("tunnel_egress", frame(source, remote, syn()))
    assert done.verdict == TC_ACT_REDIRECT
    assert (ends(done.packet.payload), ends(done.packet.payload.payload)) == ((own, far), (source, remote))
    assert checksums_hold(done.packet)
    assert done.reasons == {("PROGRAM_TUNNEL", "DIRECTION_EGRESS", "DROP_NONE"): 1}


@pytest.mark.parametrize("size", [0, 1, 700], ids=lambda size: f"{size} bytes")
@OUTER
@INNER
def test_what_another_node_encapsulated_is_taken_apart_for_the_pod(
    ipip: Datapath, pod: str, remote: str, own: str, far: str, size: int
) -> None:
    inner = frame(remote, pod, datagram(size=size))
    done = ipip.run("uplink_ingress", wrapped(far, own, inner))
    assert done.verdict == TC_ACT_REDIRECT
    assert (done.packet[Ether].dst, addresses(done.packet)) == (POD_MAC, (remote, pod))
    assert len(done.packet) == len(inner)
    assert checksums_hold(done.packet)
    assert done.reasons == {("PROGRAM_UPLINK", "DIRECTION_INGRESS", "DROP_NONE"): 1}


def test_what_is_for_the_node_itself_is_left_to_the_stack_without_its_outer_header(ipip: Datapath) -> None:
    inner = frame(REMOTE, NODE, syn())
    done = ipip.run("uplink_ingress", wrapped(FAR, NODE, inner))
    assert done.verdict == TC_ACT_UNSPEC
    assert bytes(done.packet.payload) == bytes(inner.payload)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(wrapped(STRANGER, NODE, frame(REMOTE, POD, syn())), id="from no node of the cluster"),
        pytest.param(wrapped(FAR, "10.88.0.200", frame(REMOTE, POD, syn())), id="to another node"),
        pytest.param(wrapped(FAR, NODE, frame(REMOTE, POD, syn()))[Ether].copy(), id="natively"),
        pytest.param(
            Ether(
                bytes(
                    Ether(dst=GATEWAY_MAC)
                    / IP(src=FAR, dst=NODE, proto=4, flags="MF")
                    / bytes(frame(REMOTE, POD, syn()).payload)
                )
            ),
            id="a fragment",
        ),
    ],
)
def test_all_else_of_the_kind_is_the_stacks(
    ipip: Datapath, carrier: int, packet: Packet, request: pytest.FixtureRequest
) -> None:
    if "natively" in request.node.callspec.id:
        ipip.node(tunnel=carrier)
    done = ipip.run("uplink_ingress", packet)
    assert (done.verdict, bytes(done.packet)) == (TC_ACT_UNSPEC, bytes(packet))
    assert done.reasons == {}


@pytest.mark.parametrize("src", FORGED)
@OUTER
def test_a_node_speaks_for_itself_and_its_own_pods_alone(ipip: Datapath, src: str, own: str, far: str) -> None:
    """Whom it encapsulates for, a pod or the node, and whatever the families."""
    ipip.prefix("10.244.3.0/24", node_id=2)
    ipip.prefix("10.88.0.14/32", flags=PrefixFlag.PREFIX_NODE, node_id=2)
    inner = [
        frame(src, POD6 if ":" in src else POD, datagram()),
        frame(src, NODE6 if ":" in src else NODE, datagram()),
        frame(src, "ff02::1" if ":" in src else "224.0.0.1", datagram()),
    ]
    for packet in inner:
        done = ipip.run("uplink_ingress", wrapped(far, own, packet))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_TUNNEL_INNER)
    assert ipip.tables["flows"].count() == 0


def test_what_a_node_encapsulated_and_nobody_can_read_is_dropped(ipip: Datapath) -> None:
    cut = Ether(bytes(Ether(dst=GATEWAY_MAC) / IP(src=FAR, dst=NODE, proto=4) / Raw(b"E" * 12)))
    assert ipip.run("uplink_ingress", cut).reason == DropReason.DROP_SHORT_PACKET


@pytest.mark.parametrize("dst", [NODE, FAR, NODE6, FAR6])
@INNER
def test_a_pod_does_not_encapsulate_for_nodes(ipip: Datapath, pod: str, remote: str, dst: str) -> None:
    src = POD6 if ":" in dst else POD
    outer = IPv6(src=src, dst=dst, nh=PROTOCOL[pod]) if ":" in dst else IP(src=src, dst=dst, proto=PROTOCOL[pod])
    packet = Ether(bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / outer / bytes(frame(remote, pod, syn()).payload)))
    done = ipip.run("pod_ingress", packet)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_TUNNEL_POD)


def test_a_pods_own_tunnels_to_elsewhere_are_its_own(ipip: Datapath) -> None:
    packet = Ether(src=POD_MAC, dst=GATEWAY_MAC) / IP(src=POD, dst=CLIENT, proto=4) / frame(POD, CLIENT, syn()).payload
    assert ipip.run("pod_ingress", Ether(bytes(packet))).verdict == TC_ACT_OK


def test_what_is_inside_is_processed_as_if_it_had_come_so(ipip: Datapath) -> None:
    ipip.service("0.0.0.0", 30080, [(POD, 8080, True)], scope=Scope.SCOPE_EXTERNAL)
    done = ipip.run("uplink_ingress", wrapped(FAR, NODE, frame(REMOTE, NODE, syn(dport=30080))))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (REMOTE, POD))
    twice = wrapped(FAR, NODE, wrapped(FAR, NODE, frame(REMOTE, OTHER, syn())))
    done = ipip.run("uplink_ingress", twice)
    assert (done.verdict, bytes(done.packet.payload)) == (TC_ACT_UNSPEC, bytes(twice.payload.payload))


def test_what_does_not_fit_is_left_to_the_stack_to_tell(ipip: Datapath) -> None:
    behind(ipip, FAR)
    assert ipip.run("pod_ingress", frame(POD, REMOTE, datagram(size=MTU - 28 + 1))).verdict == TC_ACT_OK
    assert ipip.run("pod_ingress", frame(POD, REMOTE, datagram(size=MTU - 28))).verdict == TC_ACT_REDIRECT


@pytest.mark.parametrize(
    ("client", "own", "remote"),
    [pytest.param(CLIENT, NODE, REMOTE, id="IPv4"), pytest.param(CLIENT6, NODE6, REMOTE6, id="IPv6")],
)
def test_a_client_of_a_node_port_is_told_what_fits(ipip: Datapath, client: str, own: str, remote: str) -> None:
    behind(ipip, FAR)
    ipip.service(
        "::" if ":" in own else "0.0.0.0", 30080, [(remote, 53, False)], protocol=17, scope=Scope.SCOPE_EXTERNAL
    )
    headers = 48 if ":" in own else 28
    sent = frame(client, own, datagram(dport=30080, size=MTU - headers + 1), mac=ROUTER_MAC)
    if ":" not in own:
        sent[IP].flags = "DF"
        del sent[IP].chksum
        sent = Ether(bytes(sent))
    done = ipip.run("uplink_ingress", sent)
    assert done.reasons == {("PROGRAM_UPLINK", "DIRECTION_INGRESS", "DROP_TOO_BIG"): 1}
    assert (done.verdict, done.packet[Ether].dst, addresses(done.packet)) == (
        TC_ACT_REDIRECT,
        ROUTER_MAC,
        (own, client),
    )
    told = done.packet[ICMPv6PacketTooBig] if ":" in own else done.packet[ICMP]
    if ":" in own:
        assert told.mtu == MTU
    else:
        assert (told.type, told.code, told.nexthopmtu) == (3, 4, MTU)
    quoted = bytes(told.payload)
    assert quoted == bytes(sent.payload)[: len(quoted)]
    assert len(quoted) == headers - 8 + 64
    # the sum is of what is there, whatever scapy makes of the quote
    cleared = done.packet.copy()
    name = "cksum" if ":" in own else "chksum"
    layer = cleared[ICMPv6PacketTooBig] if ":" in own else cleared[ICMP]
    layer.remove_payload()
    layer.add_payload(Raw(quoted))
    setattr(layer, name, None)
    assert getattr(Ether(bytes(cleared))[layer.__class__], name) == getattr(told, name)


def test_what_may_be_fragmented_goes_in_by_the_device_for_the_stack(ipip: Datapath) -> None:
    behind(ipip, FAR)
    ipip.service("0.0.0.0", 30080, [(REMOTE, 53, False)], protocol=17, scope=Scope.SCOPE_EXTERNAL)
    done = ipip.run("uplink_ingress", frame(CLIENT, NODE, datagram(dport=30080, size=MTU)))
    assert (done.verdict, addresses(done.packet), done.packet[UDP].dport) == (TC_ACT_REDIRECT, (NODE, REMOTE), 53)
    assert done.packet[Ether].dst == GATEWAY_MAC
    assert done.packet[IP].ttl == 64  # the hop is the stack's to make
    assert ipip.run("segment_ingress", done.packet).verdict == TC_ACT_OK


def test_what_was_cut_goes_to_the_other_node_or_out(ipip: Datapath) -> None:
    behind(ipip, FAR)
    done = ipip.run("segment_ingress", frame(NODE, REMOTE, syn()))
    assert (done.verdict, ends(done.packet.payload)) == (TC_ACT_REDIRECT, (NODE, FAR))
    out = ipip.run("segment_ingress", frame(NODE, CLIENT, syn()))
    assert (out.verdict, addresses(out.packet)) == (TC_ACT_REDIRECT, (NODE, CLIENT))
