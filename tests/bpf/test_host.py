"""What the node itself sends to services, and what it answers as a backend."""

from collections.abc import Callable, Iterator

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps.abi import DropReason, Scope
from tests.behaviours import shows
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NODE,
    NODE6,
    OTHER,
    OTHER_MAC,
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
from tests.bpf.packets import UNREACHABLE, addresses, answer, icmp_error, icmp_sum_holds, ip_of, ports, quoted_by
from tests.bpf.uplink import UNREACHED, routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

LEFT = {("PROGRAM_UPLINK", "DIRECTION_EGRESS", "DROP_NONE"): 1}
CAME = {("PROGRAM_UPLINK", "DIRECTION_INGRESS", "DROP_NONE"): 1}
FAMILIES = [
    pytest.param(NODE, VIP, POD, REMOTE, id="IPv4"),
    pytest.param(NODE6, VIP6, POD6, REMOTE6, id="IPv6"),
]
TRANSPORTS = [pytest.param(6, data(), id="TCP"), pytest.param(17, datagram(dport=80), id="UDP")]


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


@pytest.mark.parametrize(("own", "vip", "pod", "remote"), FAMILIES)
@pytest.mark.parametrize(("protocol", "l4"), TRANSPORTS)
def test_the_node_reaches_a_service_in_its_own_pod(
    node: Datapath, device: int, own: str, vip: str, pod: str, remote: str, protocol: int, l4: Packet
) -> None:
    node.service(vip, 80, [(pod, 8080, True)], protocol=protocol)
    there = node.run("uplink_egress", frame(own, vip, l4), device)
    assert (there.verdict, dict(there.reasons)) == (TC_ACT_REDIRECT, LEFT)
    assert (addresses(there.packet), ports(there.packet)) == ((own, pod), (40000, 8080))
    assert there.packet[Ether].dst == POD_MAC
    assert checksums_hold(there.packet)
    back = node.run("pod_ingress", answer(there.packet, POD_MAC))
    assert (back.verdict, back.reason) == (TC_ACT_OK, DropReason.DROP_NONE)
    assert (addresses(back.packet), ports(back.packet)) == ((vip, own), (80, 40000))
    assert checksums_hold(back.packet)
    assert remote not in addresses(back.packet)


@pytest.mark.parametrize(("own", "vip", "pod", "remote"), FAMILIES)
@pytest.mark.parametrize(("protocol", "l4"), TRANSPORTS)
def test_the_node_reaches_a_service_elsewhere(
    node: Datapath, device: int, own: str, vip: str, pod: str, remote: str, protocol: int, l4: Packet
) -> None:
    node.service(vip, 80, [(remote, 8080, False)], protocol=protocol)
    there = node.run("uplink_egress", frame(own, vip, l4), device)
    assert (there.verdict, dict(there.reasons)) == (TC_ACT_REDIRECT, LEFT)
    assert (addresses(there.packet), ports(there.packet)) == ((own, remote), (40000, 8080))
    assert (ip_of(there.packet).hlim if ":" in own else ip_of(there.packet).ttl) == 64
    assert checksums_hold(there.packet)
    back = node.run("uplink_ingress", answer(there.packet, GATEWAY_MAC), device)
    assert (back.verdict, dict(back.reasons)) == (TC_ACT_UNSPEC, CAME)
    assert (addresses(back.packet), ports(back.packet)) == ((vip, own), (80, 40000))
    assert checksums_hold(back.packet)
    assert pod not in addresses(back.packet)


@pytest.mark.parametrize(("own", "vip", "pod", "remote"), FAMILIES)
@pytest.mark.parametrize(("protocol", "l4"), TRANSPORTS)
def test_the_node_reaches_itself_through_a_service_in_by_loopback(
    node: Datapath, device: int, own: str, vip: str, pod: str, remote: str, protocol: int, l4: Packet
) -> None:
    node.service(vip, 80, [(own, 8080, True)], protocol=protocol)
    there = node.run("uplink_egress", frame(own, vip, l4), device)
    assert (there.verdict, dict(there.reasons)) == (TC_ACT_REDIRECT, LEFT)
    assert (addresses(there.packet), ports(there.packet)) == ((own, own), (40000, 8080))
    assert checksums_hold(there.packet)
    back = node.run("uplink_egress", answer(there.packet, GATEWAY_MAC))
    assert (back.verdict, dict(back.reasons)) == (TC_ACT_REDIRECT, LEFT)
    assert (addresses(back.packet), ports(back.packet)) == ((vip, own), (80, 40000))
    assert checksums_hold(back.packet)
    # the loopback device takes what is for its own MAC
    assert there.packet.dst == back.packet.dst == "00:00:00:00:00:00"
    assert {pod, remote}.isdisjoint(addresses(back.packet))


@pytest.mark.parametrize(("own", "vip", "pod", "remote"), FAMILIES)
@pytest.mark.parametrize(("protocol", "l4"), TRANSPORTS)
def test_the_node_answers_its_pod_under_the_services_name(
    node: Datapath, device: int, own: str, vip: str, pod: str, remote: str, protocol: int, l4: Packet
) -> None:
    node.service(vip, 80, [(own, 8080, True)], protocol=protocol)
    there = node.run("pod_ingress", frame(pod, vip, l4))
    assert (there.verdict, addresses(there.packet)) == (TC_ACT_OK, (pod, own))
    back = node.run("pod_egress", answer(there.packet, GATEWAY_MAC))
    assert (back.verdict, addresses(back.packet), ports(back.packet)) == (TC_ACT_OK, (vip, pod), (80, 40000))
    assert checksums_hold(back.packet)
    assert device
    assert remote not in addresses(back.packet)


@pytest.mark.parametrize(("own", "vip", "pod", "remote"), FAMILIES)
def test_an_error_about_the_nodes_own_request_reaches_it(
    node: Datapath, device: int, own: str, vip: str, pod: str, remote: str
) -> None:
    node.service(vip, 80, [(remote, 8080, False)])
    asked = frame(own, vip, data())
    handed = node.run("uplink_egress", asked, device).packet
    done = node.run("uplink_ingress", icmp_error(handed, UNREACHABLE, remote), device)
    assert (done.verdict, dict(done.reasons)) == (TC_ACT_UNSPEC, CAME)
    assert addresses(done.packet) == (vip, own)
    assert bytes(quoted_by(done.packet)) == bytes(ip_of(asked))
    assert icmp_sum_holds(done.packet)
    assert pod not in addresses(done.packet)


@pytest.mark.parametrize(("own", "vip", "pod", "remote"), FAMILIES)
def test_the_nodes_error_as_a_backend_goes_out_under_the_services_name(
    node: Datapath, device: int, own: str, vip: str, pod: str, remote: str
) -> None:
    node.service(vip, 80, [(own, 8080, True)], protocol=17)
    asked = frame(pod, vip, datagram(dport=80))
    handed = node.run("pod_ingress", asked).packet
    done = node.run("pod_egress", icmp_error(handed, UNREACHABLE, own))
    assert addresses(done.packet) == (vip, pod)
    assert bytes(quoted_by(done.packet)) == bytes(ip_of(asked))
    assert icmp_sum_holds(done.packet)
    assert device
    assert remote not in addresses(done.packet)


def test_a_service_without_a_route_to_its_backend_is_counted(node: Datapath, device: int) -> None:
    node.service(VIP, 80, [(UNREACHED, 8080, False)])
    done = node.run("uplink_egress", frame(NODE, VIP, syn()), device)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NO_ROUTE)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(frame(NODE, CLIENT, syn()), id="the node to somebody else"),
        pytest.param(frame(NODE, NODE, syn()), id="the node to itself"),
        pytest.param(frame(POD, VIP, syn()), id="a pod's, judged at its own device"),
        pytest.param(frame(REMOTE, VIP, syn()), id="another's"),
        pytest.param(icmp_error(frame(CLIENT, NODE, syn()), UNREACHABLE, NODE), id="an error about its own flow"),
    ],
)
def test_what_else_leaves_is_left_alone_and_uncounted(node: Datapath, device: int, packet: Packet) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True)])
    done = node.run("uplink_egress", packet, device)
    assert (done.verdict, dict(done.reasons), bytes(done.packet)) == (TC_ACT_UNSPEC, {}, bytes(packet))
    assert node.tables["flows"].count() == 0


def test_the_node_and_its_pod_speak_without_translation(node: Datapath) -> None:
    done = node.run("pod_egress", frame(NODE, POD, syn(), mac=GATEWAY_MAC, to=POD_MAC))
    assert (done.verdict, done.reason) == (TC_ACT_OK, DropReason.DROP_NONE)
    back = node.run("pod_ingress", answer(done.packet, POD_MAC))
    assert (back.verdict, addresses(back.packet)) == (TC_ACT_OK, (POD, NODE))
    assert node.tables["flows"].count() == 0
    assert node.run("pod_ingress", frame(POD, OTHER, syn())).packet[Ether].dst == OTHER_MAC


@pytest.mark.parametrize(("own", "there", "anywhere"), [(NODE, CLIENT, "0.0.0.0"), (NODE6, CLIENT6, "::")])
@shows("42 a process of the node", pytest.mark.parametrize("l4", [syn, datagram], ids=["TCP", "UDP"]))
def test_the_nodes_own_socket_on_a_node_ports_number_gets_its_answers(
    node: Datapath, own: str, there: str, anywhere: str, l4: Callable[..., Packet]
) -> None:
    for protocol in (6, 17):
        node.service(anywhere, 30080, [(OTHER, 8080, True)], protocol=protocol, scope=Scope.SCOPE_EXTERNAL)
    asked = frame(own, there, l4(sport=30080, dport=443))
    assert node.run("uplink_egress", asked).verdict == TC_ACT_UNSPEC
    answered = answer(asked, GATEWAY_MAC)
    done = node.run("uplink_ingress", answered)
    assert (done.verdict, bytes(done.packet)) == (TC_ACT_UNSPEC, bytes(answered))
    other = node.run("uplink_ingress", frame(there, own, l4(sport=444, dport=30080)))
    assert addresses(other.packet)[1] != own or other.reasons, "the service has the port for all others"
