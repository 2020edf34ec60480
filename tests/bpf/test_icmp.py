"""ICMP errors about a translated flow reach the end that can use them, and speak of the packet that it sent."""

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps.abi import DropReason, Scope
from tests.behaviours import shows
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    OTHER_POD_DEVICE,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import (
    TIME_EXCEEDED,
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

pytestmark = pytest.mark.kernel

FAMILIES = [
    pytest.param(POD, VIP, OTHER, "10.88.0.1", id="IPv4"),
    pytest.param(POD6, VIP6, OTHER6, "fd88::1", id="IPv6"),
]
KINDS = [
    pytest.param(UNREACHABLE, id="unreachable"),
    pytest.param(TOO_BIG, id="too big"),
    pytest.param(TIME_EXCEEDED, id="time exceeded"),
]
TRANSPORTS = [
    pytest.param(syn(), id="TCP"),
    pytest.param(data(), id="TCP with data"),
    pytest.param(datagram(dport=80), id="UDP"),
    pytest.param(UDP(sport=40000, dport=80, chksum=0) / Raw(b"bare"), id="UDP without a checksum"),
]
# of the quoted packet behind its IP header: the least of RFC 792, up to TCP's checksum, and all of it
QUOTES = [pytest.param(8, id="8 octets quoted"), pytest.param(18, id="18 quoted"), pytest.param(1232, id="all quoted")]


def to_the_backend(node: Datapath, pod: str, vip: str, backend: str, l4: Packet) -> tuple[Packet, Packet]:
    """What a pod sends to a service, and what its backend is handed."""
    protocol = 17 if UDP in l4 else 6
    node.service(vip, 80, [(backend, 8080, True)], protocol=protocol)
    sent = frame(pod, vip, l4)
    return sent, node.run("pod_ingress", sent).packet


def one_hop_on(packet: Packet) -> Packet:
    """The packet as it is after one more router."""
    moved = packet.copy()
    ip = ip_of(moved)
    if IPv6 in moved:
        ip.hlim -= 1
    else:
        ip.ttl -= 1
        del ip.chksum
    return Ether(bytes(moved))


def quotes(error: Packet, sent: Packet, octets: int) -> bool:
    """Whether an error quotes what was sent, apart from its TTL, as far as it quotes it."""
    quoted = quoted_by(error)
    begin = 40 if IPv6 in sent else 20
    now, then = bytes(quoted), bytes(ip_of(sent))[: begin + octets]
    same = now[begin:] == then[begin:] and len(now) == len(then)
    if IPv6 in sent:
        return same and now[8:40] == then[8:40]
    return same and now[12:20] == then[12:20] and checksums_hold(IP(now[:20]))


@pytest.mark.parametrize(("pod", "vip", "backend", "router"), FAMILIES)
@pytest.mark.parametrize("l4", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("octets", QUOTES)
@pytest.mark.parametrize("by", ["backend", "router"])
def test_an_error_about_a_packet_to_a_service_comes_back_as_if_about_the_service(
    node: Datapath,
    pod: str,
    vip: str,
    backend: str,
    router: str,
    l4: Packet,
    kind: dict[int, tuple[int, int]],
    octets: int,
    by: str,
) -> None:
    sent, handed = to_the_backend(node, pod, vip, backend, l4)
    origin = backend if by == "backend" else router
    error = icmp_error(one_hop_on(handed), kind, origin, octets=octets)
    assert icmp_sum_holds(error)
    done = node.run("pod_egress", error)
    assert (done.verdict, done.reason) == (TC_ACT_OK, DropReason.DROP_NONE)
    assert addresses(done.packet) == (vip if by == "backend" else router, pod)
    assert quotes(done.packet, sent, octets)
    assert icmp_sum_holds(done.packet)


@pytest.mark.parametrize(("pod", "vip", "backend", "router"), FAMILIES)
@pytest.mark.parametrize("octets", QUOTES)
def test_a_backend_pods_own_error_goes_to_the_client_under_the_services_name(
    node: Datapath, pod: str, vip: str, backend: str, router: str, octets: int
) -> None:
    # the pod under test is the backend, its neighbour the client
    node.endpoint(pod, OTHER_POD_DEVICE, OTHER_MAC)
    node.endpoint(backend, 1, POD_MAC)
    node.service(vip, 80, [(backend, 8080, True)], protocol=17)
    node.endpoint(pod, 1, POD_MAC)
    sent = frame(pod, vip, datagram(dport=80))
    handed = node.run("pod_ingress", sent).packet
    done = node.run("pod_ingress", icmp_error(handed, UNREACHABLE, backend, octets=octets))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (vip, pod))
    assert quotes(done.packet, one_hop_on(sent), octets)
    assert icmp_sum_holds(done.packet)
    assert router not in addresses(done.packet)


@pytest.mark.parametrize(("pod", "vip", "backend", "router"), FAMILIES)
@shows("131 an ICMP error about a service", pytest.mark.parametrize("by", ["client", "router"]))
def test_an_error_about_a_services_answer_reaches_the_backend(
    node: Datapath, pod: str, vip: str, backend: str, router: str, by: str
) -> None:
    _, handed = to_the_backend(node, pod, vip, backend, data())
    replied = answer(handed, OTHER_MAC)
    back = node.run("pod_egress", replied).packet
    error = icmp_error(one_hop_on(back), TOO_BIG, pod if by == "client" else router)
    done = node.run("pod_ingress" if by == "client" else "uplink_ingress", error)
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    assert addresses(done.packet) == (pod if by == "client" else router, backend)
    assert done.packet[Ether].dst == OTHER_MAC
    assert quotes(done.packet, replied, 1232)
    assert icmp_sum_holds(done.packet)


@pytest.mark.parametrize(
    ("client", "own", "backend", "any_address", "router"),
    [
        pytest.param(CLIENT, NODE, POD, "0.0.0.0", "10.88.0.1", id="IPv4"),
        pytest.param(CLIENT6, NODE6, POD6, "::", "fd88::1", id="IPv6"),
    ],
)
@pytest.mark.parametrize("octets", QUOTES)
@pytest.mark.parametrize("by", ["client", "router"])
def test_an_error_from_outside_about_a_node_ports_answer_reaches_the_backend(
    node: Datapath, client: str, own: str, backend: str, any_address: str, router: str, octets: int, by: str
) -> None:
    node.service(any_address, 30080, [(backend, 8080, True)], scope=Scope.SCOPE_EXTERNAL)
    handed = node.run("uplink_ingress", frame(client, own, data(dport=30080))).packet
    assert addresses(handed) == (client, backend)
    replied = answer(handed, POD_MAC)
    back = node.run("pod_ingress", replied).packet
    assert (addresses(back), ports(back)) == ((own, client), (30080, 40000))
    error = icmp_error(one_hop_on(back), TOO_BIG, client if by == "client" else router, octets=octets)
    done = node.run("uplink_ingress", error)
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    assert addresses(done.packet) == (client if by == "client" else router, backend)
    assert done.packet[Ether].dst == POD_MAC
    assert quotes(done.packet, replied, octets)
    assert icmp_sum_holds(done.packet)


@pytest.mark.parametrize(("pod", "vip", "backend", "router"), FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("program", ["pod_ingress", "pod_egress", "uplink_ingress", "uplink_egress"])
def test_an_error_about_a_flow_that_is_not_translated_passes_unchanged(
    node: Datapath, pod: str, vip: str, backend: str, router: str, kind: dict[int, tuple[int, int]], program: str
) -> None:
    far = REMOTE6 if ":" in pod else REMOTE
    about = frame(far, backend, data())
    node.run("uplink_ingress", about)
    error = icmp_error(about, kind, pod)
    done = node.run(program, error)
    assert done.verdict == (TC_ACT_OK if program.startswith("pod") else TC_ACT_UNSPEC)
    assert bytes(done.packet) == bytes(error)
    assert {vip, router}.isdisjoint(addresses(done.packet))


@pytest.mark.parametrize("octets", [0, 2])
def test_an_error_that_quotes_no_ports_passes_unchanged(node: Datapath, octets: int) -> None:
    _, handed = to_the_backend(node, POD, VIP, OTHER, syn())
    error = icmp_error(handed, UNREACHABLE, OTHER, octets=octets)
    done = node.run("pod_egress", error)
    assert (done.verdict, bytes(done.packet)) == (TC_ACT_OK, bytes(error))


def test_an_error_under_anothers_address_is_dropped(node: Datapath) -> None:
    _, handed = to_the_backend(node, POD, VIP, OTHER, syn())
    done = node.run("pod_ingress", icmp_error(answer(handed, OTHER_MAC), UNREACHABLE, OTHER))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_ADDRESS)


def test_an_error_keeps_the_frame_around_it(node: Datapath) -> None:
    _, handed = to_the_backend(node, POD, VIP, OTHER, syn())
    done = node.run("pod_egress", icmp_error(handed, UNREACHABLE, OTHER))
    assert (done.packet[Ether].src, done.packet[Ether].dst) == (POD_MAC, GATEWAY_MAC)
    assert TCP not in done.packet
