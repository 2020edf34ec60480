"""Clients outside keep their addresses up to another node's pod; answers come by the first node or by the pod's."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, IPOption
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps import abi, mapio
from maps.abi import DropReason, FlowFlag, NodeFlag, PrefixFlag, Scope, ServiceFlag
from tests.behaviours import shows
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
    REMOTE6,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    VIP,
    VIP6,
    XDP_PASS,
    Datapath,
    addr,
    checksums_hold,
    data,
    datagram,
    frame,
    prefix_key,
    syn,
)
from tests.bpf.packets import (
    TOO_BIG,
    UNREACHABLE,
    addresses,
    answer,
    icmp_error,
    icmp_sum_holds,
    ip_of,
    ports,
    quoted_by,
)
from tests.bpf.rules import ACCEPT, DENY, EVERYBODY, Policed, said
from tests.bpf.test_revision import lost_backend
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FAR, FAR6, THIRD, THIRD6, STRANGER = "10.88.0.12", "fd88::12", "10.88.0.13", "fd88::13", "10.88.0.99"
FAR_ID, THIRD_ID = 1, 2
MTU = 1480
CLIENTS = 7  # a class of peers
NODE_PORT, TARGET = 30080, 8080
ASKED = {4: "192.0.2.80", 6: "2001:db8::80"}  # an external address at the first node
ASKED_PORT = 443
ROUTER = {4: "203.0.113.77", 6: "2001:db8:9::1"}  # on the way to the client
ROUTER_MAC = "02:00:00:00:00:99"
TUNNEL, DSR = ServiceFlag.SERVICE_TUNNEL, ServiceFlag.SERVICE_TUNNEL | ServiceFlag.SERVICE_DSR
OPTION = {4: 8, 6: 24}  # octets
UDP_HEADERS = {4: 28, 6: 48}
Told = tuple[str, int] | None
Kind = Callable[..., Packet]


@dataclass(frozen=True)
class Family:
    """Who there is of one family."""

    version: int
    client: str
    own: str
    pod: str
    other: str
    vip: str
    remote: str
    far: str
    third: str
    anywhere: str


V4 = Family(4, CLIENT, NODE, POD, OTHER, VIP, REMOTE, FAR, THIRD, "0.0.0.0")
V6 = Family(6, CLIENT6, NODE6, POD6, OTHER6, VIP6, REMOTE6, FAR6, THIRD6, "::")
FAMILIES = pytest.mark.parametrize("family", [pytest.param(V4, id="IPv4"), pytest.param(V6, id="IPv6")])
TRANSPORTS = pytest.mark.parametrize("kind", [pytest.param(syn, id="TCP"), pytest.param(datagram, id="UDP")])
WAYS = pytest.mark.parametrize("flags", [pytest.param(TUNNEL, id="tunnel"), pytest.param(DSR, id="dsr")])


@pytest.fixture(scope="module")
def carrier() -> Iterator[int]:
    """The tunnel's device, in a namespace with routes to the other nodes."""
    with routed():
        subprocess.run(["ip", "link", "add", "tun0", "mtu", str(MTU), "type", "veth", "peer", "tun1"], check=True)
        subprocess.run(["ip", "link", "set", "tun0", "up"], check=True)
        subprocess.run(["ip", "link", "set", "tun1", "up"], check=True)
        shown = subprocess.run(["ip", "-o", "link", "show", "tun0"], check=True, capture_output=True, text=True).stdout
        yield int(shown.partition(":")[0])


def cluster(node: Datapath, carrier: int, *, natively: bool) -> None:
    """Two other nodes, the first with pods, behind the tunnel or where the kernel's routes lead."""
    node.node(tunnel=carrier, flags=NodeFlag.NODE_IPIP)
    node.tables["remotes"].update([(FAR_ID, abi.Remote(addr(FAR))), (THIRD_ID, abi.Remote(addr(THIRD)))])
    pods = {FAR_ID: ("10.244.2.0/24", "fd00:2::/64"), THIRD_ID: ("10.244.3.0/24", "fd00:3::/64")}
    nodes = {FAR_ID: (FAR, FAR6), THIRD_ID: (THIRD, THIRD6)}
    for number, own in nodes.items():
        ranges = [(network, PrefixFlag(0)) for network in pods[number]]
        ranges += [(f"{one}/{128 if ':' in one else 32}", PrefixFlag.PREFIX_NODE) for one in own]
        for network, flag in ranges:
            record = abi.Prefix(0 if natively else number, flag, 100 + number, number)
            node.tables["prefixes"].update([(prefix_key(network), record)])
    node.forget_locations()


@pytest.fixture(params=["ipip", "natively"])
def made(node: Datapath, carrier: int, request: pytest.FixtureRequest) -> Datapath:
    """A node beside two others; what is encapsulated is so by IP in IP."""
    cluster(node, carrier, natively=request.param == "natively")
    return node


@pytest.fixture
def ipip(node: Datapath, carrier: int) -> Datapath:
    """The same, with the others' pods behind the tunnel."""
    cluster(node, carrier, natively=False)
    return node


def offer(
    node: Datapath,
    family: Family,
    flags: ServiceFlag,
    kind: Kind = syn,
    port: int = NODE_PORT,
    backend: tuple[str, int, bool] | None = None,
) -> None:
    """A node port whose backend is a pod of the other node, if not given."""
    protocol = 6 if kind is syn else 17
    found = backend or (family.remote, TARGET, False)
    node.service(family.anywhere, port, [found], protocol=protocol, scope=Scope.SCOPE_EXTERNAL, flags=flags)


def asked(family: Family, l4: Packet) -> Packet:
    """What the client sends to the first node."""
    return frame(family.client, family.own, l4, mac=ROUTER_MAC)


def inside(packet: Packet) -> Packet:
    """What a packet has behind its outer header."""
    return Ether(bytes(Ether(src=ROUTER_MAC, dst=GATEWAY_MAC) / packet.payload.payload))


def outer(packet: Packet) -> tuple[str, str]:
    """The outer header's addresses."""
    return packet.payload.src, packet.payload.dst


def wrapped(inner: Packet, src: str = FAR, dst: str = NODE) -> Packet:
    """A packet as another node encapsulates it; scapy knows the protocol's number."""
    return Ether(bytes(Ether(src=ROUTER_MAC, dst=GATEWAY_MAC) / IP(src=src, dst=dst, flags="DF") / inner.payload))


def told(packet: Packet) -> Told:
    """The service that the option of a packet names; None: there is none."""
    octets = bytes(ip_of(packet))
    if IPv6 in packet:
        if octets[6] != 60:  # destination options
            return None
        assert octets[41:44] == bytes((2, 0x1E, 18))
        return str(ip_address(octets[44:60])), int.from_bytes(octets[60:62], "big")
    if octets[0] == 0x45:
        return None
    assert (octets[0], octets[20:22]) == (0x47, b"\x9e\x08")
    return str(ip_address(octets[24:28])), int.from_bytes(octets[22:24], "big")


def telling(family: Family, l4: Packet, service: str = "", port: int = ASKED_PORT, src: str = "") -> Packet:
    """What the client's node sends inside to the pod, with the option."""
    named, number = ip_address(service or ASKED[family.version]), port.to_bytes(2, "big")
    src = src or family.client
    if family.version == 4:
        options = [IPOption(b"\x9e\x08" + number + named.packed)]
        whole: Packet = IP(src=src, dst=family.pod, options=options) / l4
    else:
        option = Raw(b"\x1e\x12" + named.packed + number + b"\x01\x00")
        header = bytes((6 if TCP in l4 else 17, 2)) + bytes(option)
        bare = IPv6(bytes(IPv6(src=src, dst=family.pod) / l4))
        bare.nh, bare.plen = 60, bare.plen + len(header)
        whole = IPv6(bytes(bare)[:40] + header + bytes(bare)[40:])
        assert IPv6ExtHdrDestOpt in whole
    return Ether(bytes(Ether(src=ROUTER_MAC, dst=GATEWAY_MAC) / whole))


def flags_of(node: Datapath) -> set[FlowFlag]:
    """The flags of all entries, but for how far they are."""
    fixed = FlowFlag.FLOW_FORWARD | FlowFlag.FLOW_REVERSE | FlowFlag.FLOW_TUNNEL | FlowFlag.FLOW_DSR
    return {FlowFlag(flow.flags) & fixed for _, flow in node.tables["flows"].items()}


def age(node: Datapath, seconds: float) -> None:
    """Have all flows be idle so long."""
    units = int(seconds * 1e9) >> abi.SEEN_BITS
    table = node.tables["flows"]
    table.update([(k, replace(f, seen_s=(f.seen_s - units) % 2**32)) for k, f in list(table.items())])
    mapio.update(node.copies, bytes(4), os.urandom(8), 1)


# ---- at the client's node


@WAYS
@TRANSPORTS
@FAMILIES
def test_the_client_keeps_its_address_to_the_other_nodes_pod(
    made: Datapath, family: Family, kind: Kind, flags: ServiceFlag
) -> None:
    offer(made, family, flags, kind)
    done = made.run("uplink_ingress", asked(family, kind(dport=NODE_PORT)))
    assert (done.verdict, outer(done.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
    inner = inside(done.packet)
    assert addresses(inner) == (family.client, family.remote)
    assert ports(inner) == (40000, TARGET)
    assert told(inner) == ((family.own, NODE_PORT) if flags == DSR else None)
    assert checksums_hold(done.packet)


@TRANSPORTS
@FAMILIES
def test_the_service_is_told_with_the_syn_or_with_each_datagram(ipip: Datapath, family: Family, kind: Kind) -> None:
    offer(ipip, family, DSR, kind)
    first = ipip.run("uplink_ingress", asked(family, kind(dport=NODE_PORT)))
    more = data if kind is syn else datagram
    then = ipip.run("uplink_ingress", asked(family, more(dport=NODE_PORT)))
    again = ipip.run("uplink_ingress", asked(family, kind(dport=NODE_PORT)))
    every = (family.own, NODE_PORT)
    assert told(inside(first.packet)) == told(inside(again.packet)) == every
    assert told(inside(then.packet)) == (None if kind is syn else every)
    assert addresses(inside(then.packet)) == (family.client, family.remote)
    assert checksums_hold(then.packet)


@WAYS
@TRANSPORTS
@FAMILIES
def test_answers_by_the_first_node_get_the_services_address(
    made: Datapath, family: Family, kind: Kind, flags: ServiceFlag
) -> None:
    """So also with DSR, whose answers come so where the pod's node does not know the flow any more."""
    offer(made, family, flags, kind)
    sent = made.run("uplink_ingress", asked(family, kind(dport=NODE_PORT)))
    inner = inside(sent.packet)
    back = frame(family.remote, family.client, answer(inner, ROUTER_MAC)[TCP if kind is syn else "UDP"])
    done = made.run("uplink_ingress", wrapped(back))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (family.own, family.client))
    assert ports(done.packet) == (NODE_PORT, 40000)
    assert checksums_hold(done.packet)


@WAYS
@FAMILIES
@pytest.mark.parametrize(
    "whose",
    ["a pod here", "a process of the other node", "a pod of a node without a way", "nobody of the cluster"],
)
def test_other_backends_are_reached_as_ever(ipip: Datapath, family: Family, flags: ServiceFlag, whose: str) -> None:
    backend = {
        "a pod here": family.pod,
        "a process of the other node": family.far,
        "a pod of a node without a way": "10.244.9.9" if family.version == 4 else "fd00:9::9",
        "nobody of the cluster": ROUTER[family.version],
    }[whose]
    ipip.prefix("10.244.9.0/24", node_id=109)
    ipip.prefix("fd00:9::/64", node_id=109)
    offer(ipip, family, flags, backend=(backend, TARGET, whose == "a pod here"))
    done = ipip.run("uplink_ingress", asked(family, syn(dport=NODE_PORT)))
    inner = inside(done.packet) if IP in done.packet and done.packet[IP].proto in {4, 41} else done.packet
    assert addresses(inner) == (family.client if whose == "a pod here" else family.own, backend)
    assert flags_of(ipip) == {FlowFlag.FLOW_FORWARD, FlowFlag.FLOW_REVERSE}


@WAYS
@FAMILIES
@pytest.mark.parametrize("who", ["another node", "another node's pod"])
def test_who_is_of_the_cluster_is_seen_as_the_node(
    ipip: Datapath, family: Family, flags: ServiceFlag, who: str
) -> None:
    offer(ipip, family, flags)
    src = family.third if who == "another node" else ("10.244.3.9" if family.version == 4 else "fd00:3::9")
    done = ipip.run("uplink_ingress", frame(src, family.own, syn(dport=NODE_PORT), mac=ROUTER_MAC))
    assert addresses(inside(done.packet)) == (family.own, family.remote)


@FAMILIES
def test_one_source_port_towards_one_backend_by_two_services(ipip: Datapath, family: Family) -> None:
    """The backend has to see two ports: answers to the second come back by this node, which knows the client's."""
    offer(ipip, family, DSR)
    offer(ipip, family, DSR, port=NODE_PORT + 1)
    ipip.run("uplink_ingress", asked(family, syn(dport=NODE_PORT)))
    second = inside(ipip.run("uplink_ingress", asked(family, syn(dport=NODE_PORT + 1))).packet)
    assert (addresses(second), told(second)) == ((family.client, family.remote), None)
    assert ports(second)[0] != 40000
    back = frame(family.remote, family.client, answer(second, ROUTER_MAC)[TCP])
    done = ipip.run("uplink_ingress", wrapped(back))
    assert (addresses(done.packet), ports(done.packet)) == ((family.own, family.client), (NODE_PORT + 1, 40000))


@WAYS
@shows("68 a running flow of datagrams", FAMILIES)
def test_a_flow_of_datagrams_follows_its_service(made: Datapath, family: Family, flags: ServiceFlag) -> None:
    offer(made, family, flags, datagram)
    sent = asked(family, datagram(dport=NODE_PORT))
    for _ in range(3):
        assert addresses(inside(made.run("uplink_ingress", sent).packet)) == (family.client, family.remote)
    second = f"{family.remote[:-1]}8"
    lost_backend(made, made.set_ids, second)
    for _ in range(3):
        moved = inside(made.run("uplink_ingress", sent).packet)
        assert (addresses(moved), ports(moved)[1]) == ((family.client, second), 8053)
        assert (told(moved) is not None) is (flags == DSR), "the new backend's node is told the service"


@FAMILIES
def test_a_flow_seen_one_way_lives_as_its_client_goes_on(ipip: Datapath, family: Family) -> None:
    offer(ipip, family, DSR)
    ipip.run("uplink_ingress", asked(family, syn(dport=NODE_PORT)))
    age(ipip, 50)
    assert ipip.gc().flows == 2
    ipip.run("uplink_ingress", asked(family, data(dport=NODE_PORT, flags="A")))
    age(ipip, 3600)
    assert (ipip.gc().flows, ipip.gc().unanswered) == (2, 0)
    ipip.run("uplink_ingress", asked(family, data(dport=NODE_PORT, flags="FA")))
    age(ipip, 110)
    assert ipip.gc().flows == 2
    age(ipip, 30)
    assert ipip.gc().flows == 0


@FAMILIES
def test_a_flow_of_datagrams_seen_one_way_lives_as_its_client_goes_on(ipip: Datapath, family: Family) -> None:
    offer(ipip, family, DSR, datagram)
    sent = asked(family, datagram(dport=NODE_PORT))
    ipip.run("uplink_ingress", sent)
    for idle_s in (20, 100):
        age(ipip, idle_s)
        assert ipip.gc().flows == 2
        ipip.run("uplink_ingress", sent)
    age(ipip, 280)
    assert ipip.gc().flows == 2


@FAMILIES
@pytest.mark.parametrize("over", [0, 1], ids=["fits", "does not"])
@WAYS
def test_a_client_is_told_what_fits_with_the_option(
    made: Datapath, family: Family, flags: ServiceFlag, over: int
) -> None:
    """Whether it lets its datagrams be fragmented or not: the stack would not know what to do with the fragments."""
    offer(made, family, flags, datagram)
    mtu = MTU - (OPTION[family.version] if flags == DSR else 0)
    sent = asked(family, datagram(dport=NODE_PORT, size=mtu - UDP_HEADERS[family.version] + over))
    done = made.run("uplink_ingress", sent)
    if not over:
        assert (done.verdict, outer(done.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
        return
    assert done.reason == DropReason.DROP_TOO_BIG
    assert (done.packet[Ether].dst, addresses(done.packet)) == (ROUTER_MAC, (family.own, family.client))
    assert (done.packet[ICMP].nexthopmtu if family.version == 4 else done.packet[ICMPv6PacketTooBig].mtu) == mtu


@WAYS
@FAMILIES
def test_an_error_from_the_clients_side_reaches_the_pods_node(
    made: Datapath, family: Family, flags: ServiceFlag
) -> None:
    offer(made, family, flags)
    made.run("uplink_ingress", asked(family, syn(dport=NODE_PORT)))
    about = frame(family.own, family.client, data(sport=NODE_PORT, dport=40000))
    error = icmp_error(about, TOO_BIG, ROUTER[family.version], mac=ROUTER_MAC)
    done = made.run("uplink_ingress", error)
    assert (done.verdict, outer(done.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
    inner = inside(done.packet)
    assert addresses(inner) == (ROUTER[family.version], family.remote)
    assert (quoted_by(inner).src, quoted_by(inner).dst) == (family.remote, family.client)
    assert ports(quoted_by(inner)) == (TARGET, 40000)
    assert icmp_sum_holds(inner)


def test_a_header_full_of_options_goes_without_ours(ipip: Datapath) -> None:
    """Then answers come back by this node."""
    offer(ipip, V4, DSR)
    full = IP(src=CLIENT, dst=NODE, options=[IPOption(b"\x01")] * 36) / syn(dport=NODE_PORT)
    done = ipip.run("uplink_ingress", Ether(bytes(Ether(src=ROUTER_MAC, dst=GATEWAY_MAC) / full)))
    inner = inside(done.packet)
    assert (addresses(inner), inner[IP].ihl) == ((CLIENT, REMOTE), 14)
    assert checksums_hold(done.packet)


@WAYS
@TRANSPORTS
@FAMILIES
def test_xdp_leaves_it_to_tc(made: Datapath, family: Family, kind: Kind, flags: ServiceFlag) -> None:
    offer(made, family, flags, kind)
    sent = asked(family, kind(dport=NODE_PORT))
    for _ in range(2):  # what begins, and what is known
        done = made.run("uplink_xdp", sent)
        assert (done.verdict, bytes(done.packet)) == (XDP_PASS, bytes(sent))
        made.run("uplink_ingress", sent)


def test_xdp_chooses_nobody_for_it(ipip: Datapath) -> None:
    """Else schedulers that take turns would skip one with each flow."""
    ipip.service(
        V4.anywhere, NODE_PORT, [(REMOTE, TARGET, False)], scope=Scope.SCOPE_EXTERNAL, affinity_s=60, flags=DSR
    )
    sent = asked(V4, syn(dport=NODE_PORT))
    assert ipip.run("uplink_xdp", sent).verdict == XDP_PASS
    assert ipip.tables["affinities"].count() == 0
    ipip.run("uplink_ingress", sent)
    assert ipip.tables["affinities"].count() == 1


# ---- at the pod's node


@TRANSPORTS
@FAMILIES
def test_the_pod_answers_by_the_node_that_asked(made: Datapath, family: Family, kind: Kind) -> None:
    sent = frame(family.client, family.pod, kind(dport=TARGET))
    done = made.run("uplink_ingress", wrapped(sent))
    assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert addresses(done.packet) == (family.client, family.pod)
    back = made.run("pod_ingress", answer(done.packet, POD_MAC))
    assert (back.verdict, outer(back.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
    assert addresses(inside(back.packet)) == (family.pod, family.client)
    assert checksums_hold(back.packet)


@TRANSPORTS
@FAMILIES
def test_the_pods_node_answers_as_the_service(made: Datapath, family: Family, kind: Kind) -> None:
    sent = frame(family.client, family.pod, kind(dport=TARGET), mac=ROUTER_MAC)
    done = made.run("uplink_ingress", wrapped(telling(family, kind(dport=TARGET))))
    assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert bytes(ip_of(done.packet).payload)[:16] == bytes(ip_of(sent).payload)[:16]  # TCP's before sum and options
    assert (addresses(done.packet), len(done.packet), told(done.packet)) == (addresses(sent), len(sent), None)
    assert checksums_hold(done.packet)
    for _ in range(2):  # with what follows, which tells nothing
        back = made.run("pod_ingress", answer(done.packet, POD_MAC))
        assert (back.verdict, addresses(back.packet)) == (TC_ACT_REDIRECT, (ASKED[family.version], family.client))
        assert ports(back.packet) == (ASKED_PORT, 40000)
        assert checksums_hold(back.packet)
        made.run("uplink_ingress", wrapped(frame(family.client, family.pod, data(dport=TARGET, flags="A"))))
    assert made.tables["flows"].count() == (1 if kind is syn else 2)


@FAMILIES
def test_the_pods_first_segment_promises_what_the_tunnel_carries(made: Datapath, family: Family) -> None:
    """What the client sends comes by it, whichever way the answers go."""
    done = made.run("uplink_ingress", wrapped(telling(family, syn(dport=TARGET))))
    back = made.run("pod_ingress", answer(done.packet, POD_MAC))
    assert dict(back.packet[TCP].options[:1]) == {"MSS": MTU - (40 if family.version == 4 else 60)}


@FAMILIES
@pytest.mark.parametrize("how", ["natively", "from who is no node", "by a pod"])
def test_only_a_node_says_which_service_was_asked(ipip: Datapath, family: Family, how: str) -> None:
    packet = telling(family, datagram(dport=TARGET), src=family.other if how == "by a pod" else "")
    if how == "from who is no node":
        packet = wrapped(packet, STRANGER)
        done = ipip.run("uplink_ingress", packet)
        assert (done.verdict, bytes(done.packet)) == (TC_ACT_UNSPEC, bytes(packet))
        assert ipip.tables["flows"].count() == 0
        return
    ipip.run("pod_ingress" if how == "by a pod" else "uplink_ingress", packet)
    back = ipip.run("pod_ingress", frame(family.pod, family.client, datagram(TARGET, 40000)))
    assert family.pod in addresses(back.packet)
    assert not any(flags & FlowFlag.FLOW_DSR for flags in flags_of(ipip))


@FAMILIES
@pytest.mark.parametrize("with_option", [False, True], ids=["tunnel", "dsr"])
def test_a_node_speaks_for_who_is_outside_and_to_our_pods_alone(
    made: Datapath, family: Family, *, with_option: bool
) -> None:
    made.service_address(family.vip)
    theirs = ("10.244.3.9", "10.244.2.99") if family.version == 4 else ("fd00:3::9", "fd00:2::99")
    senders = [family.pod, family.other, family.own, family.third, theirs[0], family.vip]
    senders += ["127.0.0.1", "224.0.0.5"] if family.version == 4 else ["::1", "ff02::5", "fe80::7"]
    for src in senders:
        inner = telling(family, datagram(), src=src) if with_option else frame(src, family.pod, datagram())
        done = made.run("uplink_ingress", wrapped(inner))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_TUNNEL_INNER), src
    for dst in (family.own, family.remote, theirs[1], ROUTER[family.version]):
        done = made.run("uplink_ingress", wrapped(frame(family.client, dst, datagram())))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_TUNNEL_INNER), dst
    assert made.tables["flows"].count() == 0


@FAMILIES
def test_answers_follow_the_client_to_another_node(ipip: Datapath, family: Family) -> None:
    """As when the one that it asked is gone, and the network leads to another."""
    packet = frame(family.client, family.pod, data(dport=TARGET))
    for node in (FAR, THIRD, FAR):
        done = ipip.run("uplink_ingress", wrapped(packet, node))
        back = ipip.run("pod_ingress", answer(done.packet, POD_MAC, "A"))
        assert outer(back.packet) == (NODE, node)
    assert ipip.tables["flows"].count() == 1


def offered_here(node: Datapath, family: Family, flags: ServiceFlag, port: int = ASKED_PORT) -> None:
    """The service that the other node was asked for, whose backend is this node's pod."""
    backend, asked_for = (family.pod, TARGET, True), ASKED[family.version]
    node.service(asked_for, port, [backend], scope=Scope.SCOPE_EXTERNAL, flags=flags)


def to_service(family: Family, l4: Packet) -> Packet:
    """What the client sends, as the network brings it to this node."""
    return frame(family.client, ASKED[family.version], l4, mac=ROUTER_MAC)


@FAMILIES
def test_a_connection_whose_first_node_is_gone_goes_on_by_the_pods_own(made: Datapath, family: Family) -> None:
    """With `dsr`: with `tunnel` nobody here knows of which service it is."""
    offered_here(made, family, DSR)
    made.run("uplink_ingress", wrapped(telling(family, syn(dport=TARGET))))
    for segment in ("PA", "A"):
        done = made.run("uplink_ingress", to_service(family, data(dport=ASKED_PORT, flags=segment)))
        assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
        assert (addresses(done.packet), ports(done.packet)) == ((family.client, family.pod), (40000, TARGET))
        back = made.run("pod_ingress", answer(done.packet, POD_MAC, "A"))
        assert (addresses(back.packet), ports(back.packet)) == (
            (ASKED[family.version], family.client),
            (ASKED_PORT, 40000),
        )
    assert flags_of(made) == {FlowFlag.FLOW_FORWARD, FlowFlag.FLOW_REVERSE}
    assert made.tables["flows"].count() == 2


@WAYS
@FAMILIES
def test_a_connection_of_the_pods_own_node_goes_on_by_another(
    made: Datapath, family: Family, flags: ServiceFlag
) -> None:
    offered_here(made, family, flags)
    made.run("uplink_ingress", to_service(family, syn(dport=ASKED_PORT)))
    for node in (FAR, THIRD):
        later = frame(family.client, family.pod, data(dport=TARGET, flags="PA"))
        done = made.run("uplink_ingress", wrapped(later, node))
        assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
        assert (addresses(done.packet), ports(done.packet)) == ((family.client, family.pod), (40000, TARGET))
        back = made.run("pod_ingress", answer(done.packet, POD_MAC, "A"))
        assert (back.verdict, addresses(back.packet)) == (TC_ACT_REDIRECT, (ASKED[family.version], family.client))
        assert ports(back.packet) == (ASKED_PORT, 40000)


@WAYS
@FAMILIES
def test_a_connection_under_way_that_comes_in_here_goes_to_its_pod(
    made: Datapath, family: Family, flags: ServiceFlag
) -> None:
    """Another node had it before, of which nothing is known here; the pod's node knows the service already."""
    offer(made, family, flags)
    done = made.run("uplink_ingress", asked(family, data(dport=NODE_PORT, flags="PA")))
    assert (done.verdict, outer(done.packet)) == (TC_ACT_REDIRECT, (NODE, FAR))
    inner = inside(done.packet)
    assert (addresses(inner), ports(inner)) == ((family.client, family.remote), (40000, TARGET))
    assert told(inner) is None


@FAMILIES
@pytest.mark.parametrize("segment", ["S", "PA"], ids=["opens", "goes on"])
def test_a_connection_to_another_service_takes_no_other_ones_place(
    made: Datapath, family: Family, segment: str
) -> None:
    offered_here(made, family, DSR, ASKED_PORT + 1)
    made.run("uplink_ingress", wrapped(telling(family, syn(dport=TARGET))))
    done = made.run("uplink_ingress", to_service(family, data(dport=ASKED_PORT + 1, flags=segment)))
    assert addresses(done.packet) == (family.client, family.pod)
    assert ports(done.packet)[0] != 40000
    back = made.run("pod_ingress", frame(family.pod, family.client, data(sport=TARGET, dport=40000, flags="A")))
    assert (addresses(back.packet), ports(back.packet)) == (
        (ASKED[family.version], family.client),
        (ASKED_PORT, 40000),
    )


@FAMILIES
def test_a_client_that_asks_another_service_is_answered_by_that(ipip: Datapath, family: Family) -> None:
    for port in (ASKED_PORT, ASKED_PORT + 1):
        done = ipip.run("uplink_ingress", wrapped(telling(family, datagram(dport=TARGET), port=port)))
        back = ipip.run("pod_ingress", answer(done.packet, POD_MAC))
        assert ports(back.packet) == (port, 40000)
    assert flags_of(ipip) == {FlowFlag.FLOW_REVERSE | FlowFlag.FLOW_DSR}


@FAMILIES
def test_flows_are_what_they_were_after_a_change_of_the_node(made: Datapath, carrier: int, family: Family) -> None:
    told_of = made.run("uplink_ingress", wrapped(telling(family, syn(sport=40001, dport=TARGET))))
    plain = made.run("uplink_ingress", wrapped(frame(family.client, family.pod, syn(dport=TARGET))))
    made.node(revision=2, tunnel=carrier, flags=NodeFlag.NODE_IPIP)
    made.forget_locations()
    back = made.run("pod_ingress", answer(plain.packet, POD_MAC))
    assert (outer(back.packet), addresses(inside(back.packet))) == ((NODE, FAR), (family.pod, family.client))
    back = made.run("pod_ingress", answer(told_of.packet, POD_MAC))
    assert (addresses(back.packet), ports(back.packet)) == ((ASKED[family.version], family.client), (ASKED_PORT, 40001))


@FAMILIES
def test_while_flows_move_to_other_maps_a_connections_packet_begins_none(ipip: Datapath, family: Family) -> None:
    until_s = (time.monotonic_ns() >> abi.SEEN_BITS) + 3
    ipip.tables["flow_moves"].update([(0, abi.FlowMove(until_s))])
    late = ipip.run("uplink_ingress", wrapped(frame(family.client, family.pod, data(dport=TARGET))))
    assert late.reason == DropReason.DROP_FLOW_MOVES
    for inner in (telling(family, syn(dport=TARGET)), frame(family.client, family.pod, datagram(dport=TARGET))):
        assert ipip.run("uplink_ingress", wrapped(inner)).verdict == TC_ACT_REDIRECT


@FAMILIES
def test_a_full_table_lets_no_answer_out_as_the_pods(one_bucket: Datapath, carrier: int, family: Family) -> None:
    cluster(one_bucket, carrier, natively=False)
    one_bucket.fill_flows(0)
    for inner in (telling(family, datagram()), frame(family.client, family.pod, datagram())):
        done = one_bucket.run("uplink_ingress", wrapped(inner))
        assert done.reason == DropReason.DROP_CONNTRACK_FULL


@FAMILIES
@pytest.mark.parametrize("with_option", [False, True], ids=["tunnel", "dsr"])
def test_the_pods_error_about_what_it_was_sent_goes_as_its_answers(
    made: Datapath, family: Family, *, with_option: bool
) -> None:
    sent = datagram(dport=TARGET)
    inner = telling(family, sent) if with_option else frame(family.client, family.pod, sent)
    done = made.run("uplink_ingress", wrapped(inner))
    back = made.run("pod_ingress", icmp_error(done.packet, UNREACHABLE, family.pod))
    if with_option:
        assert addresses(back.packet) == (ASKED[family.version], family.client)
        assert ports(quoted_by(back.packet)) == (40000, ASKED_PORT)
        assert icmp_sum_holds(back.packet)
    else:
        assert outer(back.packet) == (NODE, FAR)
        assert addresses(inside(back.packet)) == (family.pod, family.client)


@FAMILIES
@pytest.mark.parametrize("with_option", [False, True], ids=["tunnel", "dsr"])
def test_an_error_about_an_answer_reaches_the_pod(made: Datapath, family: Family, *, with_option: bool) -> None:
    sent = syn(dport=TARGET)
    made.run(
        "uplink_ingress", wrapped(telling(family, sent) if with_option else frame(family.client, family.pod, sent))
    )
    about = frame(family.pod, family.client, data(sport=TARGET, dport=40000))
    error = icmp_error(about, TOO_BIG, ROUTER[family.version], mac=ROUTER_MAC)
    done = made.run("uplink_ingress", wrapped(error))
    assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert addresses(done.packet) == (ROUTER[family.version], family.pod)
    assert (quoted_by(done.packet).src, ports(quoted_by(done.packet))) == (family.pod, (TARGET, 40000))


@FAMILIES
@pytest.mark.parametrize("with_option", [False, True], ids=["tunnel", "dsr"])
def test_policy_at_the_pod_judges_the_clients_own_address(
    made: Datapath, carrier: int, family: Family, *, with_option: bool
) -> None:
    """What is dropped begins no flow, and so it is when a flow's pod has other rules."""
    policed = Policed(made)
    made.node(tunnel=carrier, flags=NodeFlag.NODE_IPIP | NodeFlag.NODE_POLICY)
    policed.peer(family.client, CLIENTS)
    sent = datagram(dport=TARGET)
    packet = wrapped(telling(family, sent) if with_option else frame(family.client, family.pod, sent))
    slot = policed.slot(family.pod)
    held = made.tables["attachments"].get(slot)
    try:
        for verdict, reason in ((DENY, DropReason.DROP_POLICY_INGRESS), (ACCEPT, DropReason.DROP_NONE)) * 2:
            policed.pod(
                family.pod, ingress={EVERYBODY: said(DENY if verdict == ACCEPT else ACCEPT), CLIENTS: said(verdict)}
            )
            assert made.run("uplink_ingress", packet).reason == reason
    finally:
        made.tables["attachments"].update([(slot, held)])
        made.tables["pod_policies"].update([(slot, abi.PodPolicy(0, 0, abi.PodPolicyFlag(0), 0))])


@FAMILIES
def test_a_pod_is_told_what_fits_the_way_back(made: Datapath, family: Family) -> None:
    """Where its interface carries more than the tunnel, as --mtu may have it."""
    done = made.run("uplink_ingress", wrapped(frame(family.client, family.pod, datagram(dport=TARGET))))
    size = MTU - UDP_HEADERS[family.version] + 1
    back = frame(family.pod, family.client, datagram(TARGET, 40000, size))
    assert addresses(done.packet) == (family.client, family.pod)
    told_so = made.run("pod_ingress", back)
    assert told_so.reason == DropReason.DROP_TOO_BIG
    assert addresses(told_so.packet) == (family.client, family.pod)
    icmp = told_so.packet
    assert (icmp[ICMP].nexthopmtu if family.version == 4 else icmp[ICMPv6PacketTooBig].mtu) == MTU
