"""Translation changes the tuple alone, keeps every checksum right, and finds source ports that nobody uses."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps.abi import DropReason, FlowFlag
from tests.bpf.datapath import (
    GATEWAY_MAC,
    NODE,
    OTHER,
    OTHER_MAC,
    POD,
    POD6,
    POD_MAC,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    frame,
    syn,
)
from tests.bpf.packets import UNREACHABLE, addresses, answer, icmp_error, icmp_sum_holds, ip_of, ports, quoted_by

pytestmark = pytest.mark.kernel

PORT = st.integers(1, 65535)
# unicast, and no pod's: 20.0.0.0/8 and 2001:db9::/32
V4 = st.integers(20 << 24, (21 << 24) - 1).map(lambda n: str(IPv4Address(n)))
V6 = st.integers(0x20010DB9 << 96, (0x20010DBA << 96) - 1).map(lambda n: str(IPv6Address(n)))
TUPLES = st.one_of(
    st.tuples(st.just(POD), V4, V4, PORT, PORT, PORT),
    st.tuples(st.just(POD6), V6, V6, PORT, PORT, PORT),
)


def zero_sum(src: str, dst: str) -> Packet:
    """A UDP packet whose checksum is zero, and so is sent as all ones (RFC 768)."""
    chksum = frame(src, dst, UDP(sport=40000, dport=53) / Raw(b"\0\0"))[UDP].chksum
    packet = frame(src, dst, UDP(sport=40000, dport=53) / Raw(chksum.to_bytes(2)))
    assert packet[UDP].chksum == 0xFFFF
    return packet


@pytest.fixture(params=["tc", "xdp"])
def node(loaded: Datapath, request: pytest.FixtureRequest) -> Iterator[Datapath]:
    """A node with its pod, a neighbour and no service; its programs are those of each hook in turn."""
    loaded.reset()
    with loaded.at(request.param):
        yield loaded


@pytest.mark.parametrize("hook", ["tc", "xdp"])
@given(ends=TUPLES, l4=st.sampled_from([TCP, UDP]), payload=st.binary(max_size=64))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_translation_there_and_back_changes_the_tuple_alone(
    loaded: Datapath,
    ends: tuple[str, str, str, int, int, int],
    l4: type[Packet],
    payload: bytes,
    hook: Literal["tc", "xdp"],
) -> None:
    pod, vip, backend, sport, port, target = ends
    loaded.reset()
    loaded.service(vip, port, [(backend, target, False)], protocol=6 if l4 is TCP else 17)
    sent = frame(pod, vip, l4(sport=sport, dport=port) / Raw(payload))
    wanted = sent.copy()
    ip_of(wanted).dst = backend
    wanted[l4].dport = target
    with loaded.at(hook):
        there = loaded.run("pod_ingress", sent).packet
        back = loaded.run("pod_egress", answer(there, OTHER_MAC)).packet
    assert (addresses(there), ports(there)) == ((pod, backend), (sport, target))
    assert bytes(there) == bytes(summed(wanted))
    assert bytes(back) == bytes(answer(sent, OTHER_MAC))


def summed(packet: Packet) -> Packet:
    """The packet with its checksums computed anew."""
    fresh = packet.copy()
    for layer in (IP, TCP, UDP):
        if layer in fresh:
            del fresh[layer].chksum
    return Ether(bytes(fresh))


@pytest.mark.parametrize(
    ("pod", "vip", "backend"), [(POD, VIP, "10.244.9.9"), (POD6, VIP6, "fd00:9::9")], ids=["IPv4", "IPv6"]
)
def test_a_udp_checksum_that_comes_out_zero_is_sent_as_all_ones(
    node: Datapath, pod: str, vip: str, backend: str
) -> None:
    node.service(vip, 53, [(backend, 53, False)], protocol=17)
    sent = zero_sum(pod, backend)
    ip_of(sent).dst = vip
    there = node.run("pod_ingress", summed(sent)).packet
    assert there[UDP].chksum == 0xFFFF
    assert checksums_hold(there)


@pytest.mark.parametrize(
    ("pod", "vip", "backend"), [(POD, VIP, "10.244.9.9"), (POD6, VIP6, "fd00:9::9")], ids=["IPv4", "IPv6"]
)
def test_a_quoted_udp_checksum_that_comes_out_zero_is_all_ones(
    node: Datapath, pod: str, vip: str, backend: str
) -> None:
    node.service(vip, 53, [(backend, 53, False)], protocol=17)
    sent = zero_sum(pod, vip)
    handed = node.run("pod_ingress", sent).packet
    done = node.run("pod_egress", icmp_error(handed, UNREACHABLE, backend)).packet
    assert bytes(quoted_by(done)) == bytes(ip_of(sent))
    assert icmp_sum_holds(done)


@pytest.mark.parametrize(("pod", "vip"), [(POD, VIP), (POD6, VIP6)], ids=["IPv4", "IPv6"])
def test_source_ports_stay_in_their_range_and_apart(node: Datapath, pod: str, vip: str) -> None:
    node.node(nat=(5000, 5099))
    node.service(vip, 80, [(pod, 8080, True)])
    taken = [ports(node.run("pod_ingress", frame(pod, vip, syn(sport=n))).packet)[0] for n in range(40000, 40040)]
    assert len(set(taken)) == 40
    assert min(taken) >= 5000
    assert max(taken) <= 5099


def test_a_taken_port_is_tried_over_and_a_closed_flows_port_is_used_again(node: Datapath) -> None:
    node.node(nat=(5000, 5001))
    node.service(VIP, 80, [(POD, 8080, True)])
    first, second = (node.run("pod_ingress", frame(POD, VIP, syn(sport=n))).packet for n in (40001, 40002))
    assert {ports(first)[0], ports(second)[0]} == {5000, 5001}
    assert node.run("pod_ingress", frame(POD, VIP, syn(sport=40003))).reason == DropReason.DROP_NAT_PORTS
    reset = answer(first, POD_MAC)
    reset[TCP].flags = "R"
    node.run("pod_ingress", summed(reset))
    third = node.run("pod_ingress", frame(POD, VIP, syn(sport=40003))).packet
    assert ports(third)[0] == ports(first)[0]
    assert node.tables["flows"].count() == 4


@pytest.mark.parametrize(("pod", "own", "vip"), [(POD, NODE, VIP), (POD6, "fd88::11", VIP6)], ids=["IPv4", "IPv6"])
def test_each_half_of_a_pair_names_the_other(node: Datapath, pod: str, own: str, vip: str) -> None:
    node.service(vip, 80, [(pod, 8080, True)])
    done = node.run("pod_ingress", frame(pod, vip, syn())).packet
    flows = [flow for _, flow in node.tables["flows"].items()]
    (forward,) = [flow for flow in flows if flow.flags & FlowFlag.FLOW_FORWARD]
    (reverse,) = [flow for flow in flows if flow.flags & FlowFlag.FLOW_REVERSE]
    assert (forward.to_sport, forward.to_dport) == ports(done)
    assert (reverse.to_sport, reverse.to_dport) == (80, 40000)
    assert addresses(done) == (own, pod)
    assert forward.to_dst == reverse.to_dst


def test_what_is_no_service_is_carried_as_it_is(node: Datapath) -> None:
    bare = IP(src=POD, dst=OTHER) / UDP(sport=1, dport=2, chksum=0) / Raw(b"no checksum")
    done = node.run("pod_ingress", Ether(bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / bare)))
    assert done.packet[UDP].chksum == 0
    assert IPv6 not in done.packet


def test_udp_without_a_checksum_is_translated_without(node: Datapath) -> None:
    node.service(VIP, 53, [(OTHER, 8053, True)], protocol=17)
    done = node.run("pod_ingress", frame(POD, VIP, UDP(sport=1, dport=53, chksum=0) / Raw(b"query")))
    assert (addresses(done.packet), done.packet[UDP].chksum) == ((POD, OTHER), 0)
