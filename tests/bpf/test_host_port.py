"""Host ports at loopback, without socket hooks: for the node's own processes, and for nobody else."""

from collections.abc import Iterator

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps.abi import DropReason
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NAT_PORTS,
    NODE,
    NODE6,
    OTHER,
    POD,
    POD6,
    POD_MAC,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_UNSPEC,
    Datapath,
    checksums_hold,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import UNREACHABLE, addresses, answer, icmp_error, ip_of, ports, quoted_by
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

LEFT = {("PROGRAM_UPLINK", "DIRECTION_EGRESS", "DROP_NONE"): 1}
SELF, SELF6, NOBODY = "127.0.0.1", "::1", "00:00:00:00:00:00"
FAMILIES = [pytest.param(SELF, NODE, POD, id="IPv4"), pytest.param(SELF6, NODE6, POD6, id="IPv6")]
TRANSPORTS = [pytest.param(6, syn(dport=8080), id="TCP"), pytest.param(17, datagram(dport=8080), id="UDP")]


@pytest.fixture(scope="module")
def loaded() -> Iterator[Datapath]:
    self = Datapath.load()
    yield self
    self.close()


@pytest.fixture
def node(loaded: Datapath) -> Datapath:
    loaded.reset()
    return loaded


@pytest.fixture
def device() -> Iterator[int]:
    with routed() as ifindex:
        yield ifindex


def asks(src: str, dst: str, l4: Packet) -> Packet:
    return frame(src, dst, l4, mac=NOBODY, to=NOBODY)


@pytest.mark.parametrize(("loopback", "own", "pod"), FAMILIES)
@pytest.mark.parametrize(("protocol", "l4"), TRANSPORTS)
def test_the_node_reaches_a_pod_by_its_loopback_address(
    node: Datapath, loopback: str, own: str, pod: str, protocol: int, l4: Packet
) -> None:
    node.service(loopback, 8080, [(pod, 80, True)], protocol=protocol)
    there = node.run("uplink_egress", asks(loopback, loopback, l4))
    assert (there.verdict, dict(there.reasons)) == (TC_ACT_REDIRECT, LEFT)
    assert addresses(there.packet) == (own, pod)
    sport, dport = ports(there.packet)
    assert (NAT_PORTS[0] <= sport <= NAT_PORTS[1], dport) == (True, 80)
    assert checksums_hold(there.packet)
    back = node.run("pod_ingress", answer(there.packet, POD_MAC))
    assert (back.verdict, back.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    assert (addresses(back.packet), ports(back.packet)) == ((loopback, loopback), (8080, 40000))
    assert back.packet[Ether].dst == NOBODY, "or it would be another host's"
    assert checksums_hold(back.packet)


@pytest.mark.parametrize(("loopback", "own", "pod"), FAMILIES)
def test_a_socket_with_the_nodes_address_reaches_it_too(node: Datapath, loopback: str, own: str, pod: str) -> None:
    node.service(loopback, 8080, [(pod, 80, True)])
    there = node.run("uplink_egress", asks(own, loopback, syn(dport=8080)))
    assert (addresses(there.packet), ports(there.packet)) == ((own, pod), (40000, 80))
    back = node.run("pod_ingress", answer(there.packet, POD_MAC))
    assert (back.verdict, addresses(back.packet), ports(back.packet)) == (
        TC_ACT_REDIRECT,
        (loopback, own),
        (8080, 40000),
    )


@pytest.mark.parametrize(("loopback", "own", "pod"), FAMILIES)
def test_a_pods_error_about_it_reaches_the_node(node: Datapath, loopback: str, own: str, pod: str) -> None:
    node.service(loopback, 8080, [(pod, 80, True)], protocol=17)
    asked = asks(loopback, loopback, datagram(dport=8080))
    handed = node.run("uplink_egress", asked).packet
    assert addresses(handed) == (own, pod)
    done = node.run("pod_ingress", icmp_error(handed, UNREACHABLE, pod))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (loopback, loopback))
    assert bytes(quoted_by(done.packet)) == bytes(ip_of(asked))


@pytest.mark.parametrize(("loopback", "own", "pod"), FAMILIES)
def test_a_pod_that_writes_the_loopback_address_itself_reaches_nothing(
    node: Datapath, loopback: str, own: str, pod: str
) -> None:
    node.service(loopback, 8080, [(OTHER if pod == POD else "fd00::3", 80, True)])
    done = node.run("pod_ingress", frame(pod, loopback, syn(dport=8080)))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_OK, (pod, loopback)), "left to the stack, which drops it"
    assert own not in addresses(done.packet)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(asks(SELF, SELF, syn(dport=9)), id="another port of the loopback address"),
        pytest.param(asks(SELF6, SELF6, syn(dport=9)), id="the same by IPv6"),
        pytest.param(asks(SELF, "127.0.0.2", syn(dport=8080)), id="another loopback address"),
        pytest.param(asks(SELF, CLIENT, syn(dport=8080)), id="from loopback to somebody else"),
        pytest.param(asks(SELF6, CLIENT6, syn(dport=8080)), id="the same by IPv6, to a host port"),
    ],
)
def test_what_else_passes_by_loopback_is_left_alone_and_uncounted(node: Datapath, packet: Packet) -> None:
    for address in (SELF, SELF6):
        node.service(address, 8080, [(POD, 80, True)])
    done = node.run("uplink_egress", packet)
    assert (done.verdict, dict(done.reasons), bytes(done.packet)) == (TC_ACT_UNSPEC, {}, bytes(packet))
    assert node.tables["flows"].count() == 0


def test_a_neighbour_that_writes_the_loopback_address_reaches_nothing(node: Datapath, device: int) -> None:
    node.service(SELF, 8080, [(POD, 80, True)])
    packet = frame(CLIENT, SELF, syn(dport=8080), mac=GATEWAY_MAC)
    done = node.run("uplink_ingress", packet, device)
    assert (done.verdict, dict(done.reasons), bytes(done.packet)) == (TC_ACT_UNSPEC, {}, bytes(packet))
