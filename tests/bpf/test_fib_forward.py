"""What a pod sends takes the kernel's route past its stack, where that would do no more and answers come so too."""

import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, IPOption_RR
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps import libbpf
from maps.abi import FlowFlag, NodeFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    LOOPBACK,
    NODE,
    NODE6,
    POD,
    POD6,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

HOP_MAC = "02:00:00:00:00:99"
MTU, SEGMENT = 1400, 1300  # of the route; octets of a segment that passes
MOMENT_S = 2**27 / 1e9  # an established flow's next hop is remembered until the next one begins
TICK_S = 0.02  # the programs' clock is behind by a tick of the kernel at most


@dataclass(frozen=True)
class Family:
    """One family's addresses, and the next hop of the route to the other node's pods."""

    pod: str
    remote: str
    vip: str
    pods: str
    hop: str  # the other node's own address
    header: int
    node: str
    client: str  # outside


V4 = Family(POD, REMOTE, VIP, "10.244.2.0/24", "10.88.0.12", 20, NODE, CLIENT)
V6 = Family(POD6, REMOTE6, VIP6, "fd00:2::/64", "fd88::12", 40, NODE6, CLIENT6)
FAMILIES = pytest.mark.parametrize("f", [pytest.param(V4, id="IPv4"), pytest.param(V6, id="IPv6")])


def ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True)


@contextmanager
def blackhole(to: str) -> Iterator[None]:
    """Have the kernel's routes refuse an address."""
    ip(f"route add blackhole {to}")
    try:
        yield
    finally:
        ip(f"route del blackhole {to}")


@pytest.fixture(scope="module", autouse=True)
def uplink() -> Iterator[int]:
    """Routes to the other node's pods, with a locked MTU, by a neighbour that is known; the ifindex of the uplink."""
    with routed() as ifindex:
        for f in (V4, V6):
            ip(f"neighbour add {f.hop} lladdr {HOP_MAC} dev up0 nud permanent")
            ip(f"route change {f.pods} via {f.hop} mtu lock {MTU}")
        yield ifindex


@pytest.fixture
def near(node: Datapath, uplink: int) -> Datapath:
    """A node that is told of its uplink and of the other's pods."""
    node.uplink(uplink)
    for f in (V4, V6):
        node.prefix(f.pods)
    return node


def ttl(packet: Packet) -> int:
    return int(packet[IP].ttl if IP in packet else packet[IPv6].hlim)


def verdicts(node: Datapath, packet: Packet, times: int = 3) -> set[int]:
    """What becomes of a packet that comes so often: of a new flow, of one that gets a copy, of one that has it."""
    return {node.run("pod_ingress", packet).verdict for _ in range(times)}


@FAMILIES
def test_a_remote_pods_packets_go_straight_out_one_hop_older(near: Datapath, f: Family) -> None:
    for segment in (syn(), data(), datagram()):
        for _ in ("a new flow", "an established one"):
            done = near.run("pod_ingress", frame(f.pod, f.remote, segment))
            assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (f.pod, f.remote))
            assert ttl(done.packet) == 63
            assert checksums_hold(done.packet)


@FAMILIES
def test_a_service_with_a_remote_backend_goes_straight_out(near: Datapath, f: Family) -> None:
    near.service(f.vip, 80, [(f.remote, 8080, False)])
    done = near.run("pod_ingress", frame(f.pod, f.vip, syn()))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (f.pod, f.remote))
    assert checksums_hold(done.packet)


@FAMILIES
def test_the_other_node_and_the_outside_are_reached_alike(near: Datapath, f: Family) -> None:
    for to in (f.hop, f.client):
        for _ in ("a new flow", "an established one"):
            done = near.run("pod_ingress", frame(f.pod, to, datagram()))
            assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (f.pod, to))


@FAMILIES
def test_the_node_itself_is_reached_by_its_stack(near: Datapath, f: Family) -> None:
    assert left_to_the_stack(near, frame(f.pod, f.node, syn()))


@contextmanager
def unknown(f: Family) -> Iterator[None]:
    """Have the kernel know no MAC of the next hop."""
    ip(f"neighbour del {f.hop} dev up0")
    try:
        yield
    finally:
        ip(f"neighbour add {f.hop} lladdr {HOP_MAC} dev up0 nud permanent")


@FAMILIES
def test_a_neighbour_that_is_not_known_is_no_matter_for_the_stack(near: Datapath, f: Family) -> None:
    room = MTU - f.header - 8
    with unknown(f):
        assert verdicts(near, frame(f.pod, f.remote, datagram(size=room))) == {TC_ACT_REDIRECT}
        assert left_to_the_stack(near, frame(f.pod, f.remote, datagram(size=room + 1)))


@FAMILIES
def test_a_device_by_which_answers_come_through_the_stack_is_reached_through_it(node: Datapath, f: Family) -> None:
    for to in (f.remote, f.client):
        assert verdicts(node, frame(f.pod, to, datagram())) == {TC_ACT_OK}


@FAMILIES
def test_who_came_past_the_stack_is_answered_past_it_by_any_device(node: Datapath, f: Family) -> None:
    for _ in ("a new flow", "an established one"):
        asked = node.run("uplink_ingress", frame(f.client, f.pod, syn(), mac=HOP_MAC))
        assert (asked.verdict, addresses(asked.packet)) == (TC_ACT_REDIRECT, (f.client, f.pod))
        done = node.run("pod_ingress", frame(f.pod, f.client, data(80, 40000)))
        assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (f.pod, f.client))


@FAMILIES
def test_an_answer_under_an_external_address_goes_past_the_stack(node: Datapath, f: Family) -> None:
    node.service(f.vip, 80, [(f.pod, 8080, True)], scope=Scope.SCOPE_EXTERNAL)
    asked = node.run("uplink_ingress", frame(f.client, f.vip, syn(), mac=HOP_MAC))
    assert (asked.verdict, addresses(asked.packet)) == (TC_ACT_REDIRECT, (f.client, f.pod))
    done = node.run("pod_ingress", frame(f.pod, f.client, data(8080, 40000)))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (f.vip, f.client))
    assert checksums_hold(done.packet)


@FAMILIES
def test_with_host_routing_the_stack_carries_what_pods_send_as_it_is(near: Datapath, f: Family) -> None:
    near.node(flags=NodeFlag.NODE_HOST_ROUTING)
    for to in (f.remote, f.hop, f.client):
        assert left_to_the_stack(near, frame(f.pod, to, syn()))


@FAMILIES
def test_the_stack_tells_of_a_route_that_refuses(near: Datapath, f: Family) -> None:
    with blackhole(f.remote):
        assert left_to_the_stack(near, frame(f.pod, f.remote, syn()))


def test_the_stack_minds_options_of_ipv4(near: Datapath) -> None:
    plain = frame(POD, REMOTE, data())
    assert verdicts(near, plain) == {TC_ACT_REDIRECT}
    options = Ether(src=plain.src, dst=plain.dst) / IP(src=POD, dst=REMOTE, options=[IPOption_RR(routers=["0.0.0.0"])])
    assert verdicts(near, options / data()) == {TC_ACT_OK}


@FAMILIES
def test_rules_for_source_and_port_are_heeded(near: Datapath, f: Family) -> None:
    version = "-6" if f is V6 else "-4"
    rule = f"from {f.pod} ipproto tcp dport 81 prohibit"
    ip(f"{version} rule add {rule}")
    try:
        assert left_to_the_stack(near, frame(f.pod, f.remote, syn(dport=81)))
        assert near.run("pod_ingress", frame(f.pod, f.remote, syn(dport=82))).verdict == TC_ACT_REDIRECT
    finally:
        ip(f"{version} rule del {rule}")


@FAMILIES
def test_the_stack_tells_of_a_packet_over_the_routes_mtu(near: Datapath, f: Family) -> None:
    room = MTU - f.header - 8
    assert left_to_the_stack(near, frame(f.pod, f.remote, datagram(size=room + 1)))
    assert near.run("pod_ingress", frame(f.pod, f.remote, datagram(size=room))).verdict == TC_ACT_REDIRECT


@FAMILIES
def test_of_a_gso_packet_the_segments_count(near: Datapath, f: Family) -> None:
    segment = TCP(sport=1, dport=80, flags="A", options=[("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)])
    gso_packet = frame(f.pod, f.remote, segment / Raw(b"x" * 2 * SEGMENT))
    fits = MTU - f.header - 32  # 20 octets of TCP header, 12 of options
    assert verdict_of_gso_packet(near, gso_packet, fits) == TC_ACT_REDIRECT
    assert verdict_of_gso_packet(near, gso_packet, fits + 1) == TC_ACT_OK


@FAMILIES
def test_who_came_through_the_stack_is_answered_through_it(near: Datapath, f: Family) -> None:
    near.run("pod_egress", frame(f.remote, f.pod, syn(sport=80, dport=40000)))
    ((_, flow),) = near.tables["flows"].items()
    assert flow.flags & FlowFlag.FLOW_BY_STACK
    assert left_to_the_stack(near, frame(f.pod, f.remote, data()))


@FAMILIES
@pytest.mark.usefixtures("undisturbed")
def test_an_established_flows_next_hop_is_asked_for_once_a_moment(near: Datapath, f: Family) -> None:
    held = False
    for port in range(40000, 40010):  # between two packets the next moment may have begun
        packet = frame(f.pod, f.remote, datagram(sport=port))
        assert verdicts(near, packet) == {TC_ACT_REDIRECT}
        with blackhole(f.remote):
            held = held or verdicts(near, packet) == {TC_ACT_REDIRECT}
            assert left_to_the_stack(near, frame(f.pod, f.remote, datagram(sport=port + 100)))
            time.sleep(MOMENT_S + TICK_S)
            assert left_to_the_stack(near, packet)
        if held:
            return
    pytest.fail("each packet asked")


@FAMILIES
def test_a_flow_that_begins_anew_asks_anew(near: Datapath, f: Family) -> None:
    other = str(ip_address(f.remote) + 1)
    packet = frame(f.pod, f.vip, datagram())
    set_id = near.service(f.vip, 53, [(f.remote, 8053, False)], protocol=17)
    assert verdicts(near, packet) == {TC_ACT_REDIRECT}
    with blackhole(other):
        near.backends(set_id, [(other, 8053, False)])
        near.node(revision=2)
        assert verdicts(near, packet) == {TC_ACT_OK}
    assert addresses(near.run("pod_ingress", packet).packet) == (f.pod, other)


@FAMILIES
def test_a_copys_place_taken_by_another_flow_keeps_no_next_hop(uplink: int, f: Family) -> None:
    node = Datapath.load(constants={"cache_span": 2})
    refused = str(ip_address(f.remote) + 1)
    try:
        node.uplink(uplink)
        with blackhole(refused):
            for port in range(40000, 40012):  # of three flows, over two places
                to, expected = (f.remote, TC_ACT_REDIRECT) if port % 3 else (refused, TC_ACT_OK)
                assert verdicts(node, frame(f.pod, to, datagram(sport=port))) == {expected}
    finally:
        node.close()


def left_to_the_stack(node: Datapath, packet: Packet) -> bool:
    """Whether the packet goes on as it is."""
    done = node.run("pod_ingress", packet)
    return done.verdict == TC_ACT_OK and bytes(done.packet) == bytes(Ether(bytes(packet)))


def verdict_of_gso_packet(node: Datapath, packet: Packet, gso_size: int) -> int:
    """What becomes of a packet that the kernel would cut into such segments."""
    # struct __sk_buff: ifindex at 40, gso_segs at 164, gso_size at 176
    context = bytearray(192)
    for at, value in ((40, LOOPBACK), (164, 2), (176, gso_size)):
        struct.pack_into("<I", context, at, value)
    program = node.objects["tc_pod"].program_fd("pod_ingress")
    return libbpf.test_run(program, bytes(packet), context=bytes(context)).retval
