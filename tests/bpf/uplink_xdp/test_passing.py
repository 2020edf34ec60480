"""At XDP what passes through the node is sent on as tc would have."""

from collections.abc import Callable

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps.abi import FlowFlag
from tests.behaviours import shows
from tests.bpf.datapath import (
    GATEWAY_MAC,
    NAT_PORTS,
    TC_ACT_REDIRECT,
    XDP_PASS,
    XDP_TX,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses, answer, ip_of, ports
from tests.bpf.test_revision import lost_backend
from tests.bpf.test_uplink import EXTERNAL_ADDRESS, FAMILIES, NODE_PORT, V4, Family, offer
from tests.bpf.uplink import NODE_2_MAC, ROUTER_MAC
from tests.bpf.uplink_xdp.xdp import ETHERNET, SENT, TRANSPORTS, at_xdp, bare, left_to_tc

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize(("protocol", "make"), TRANSPORTS)
def test_a_backend_elsewhere_is_reached_and_answers_as_by_tc(
    node: Datapath, device: int, at: str, f: Family, protocol: int, make: Callable[..., Packet]
) -> None:
    address, port = offer(node, f, f.remote, at=at, local=False, protocol=protocol)
    asked = frame(f.client, address, make(dport=port))
    there = at_xdp(node, asked, device)
    assert (there.verdict, dict(there.reasons)) == (XDP_TX, SENT)
    assert (there.packet[Ether].src, there.packet[Ether].dst) == (GATEWAY_MAC, NODE_2_MAC)
    assert (addresses(there.packet), ports(there.packet)[1]) == ((f.own, f.remote), 8080)
    assert checksums_hold(there.packet)
    by_tc = node.run("uplink_ingress", asked, device)
    assert by_tc.verdict == TC_ACT_REDIRECT
    assert bytes(by_tc.packet)[ETHERNET:] == bytes(there.packet)[ETHERNET:]

    answered = answer(there.packet, NODE_2_MAC)
    back = at_xdp(node, answered, device)
    assert (back.verdict, dict(back.reasons)) == (XDP_TX, SENT)
    assert (back.packet[Ether].src, back.packet[Ether].dst) == (GATEWAY_MAC, ROUTER_MAC)
    assert (addresses(back.packet), ports(back.packet)) == ((address, f.client), (port, 40000))
    assert checksums_hold(back.packet)
    assert bytes(node.run("uplink_ingress", answered, device).packet)[ETHERNET:] == bytes(back.packet)[ETHERNET:]
    assert node.tables["flows"].count() == 2


@pytest.mark.parametrize("f", FAMILIES)
def test_a_flow_that_tc_began_goes_on_at_xdp(node: Datapath, device: int, at: str, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=at, local=False)
    began = node.run("uplink_ingress", frame(f.client, address, syn(dport=port)), device)
    back = at_xdp(node, answer(began.packet, NODE_2_MAC), device)
    assert (back.verdict, addresses(back.packet), ports(back.packet)) == (XDP_TX, (address, f.client), (port, 40000))
    on = at_xdp(node, frame(f.client, address, data(dport=port)), device)
    assert (on.verdict, ports(on.packet)) == (XDP_TX, ports(began.packet))


@shows("67 68 a running flow of datagrams", pytest.mark.parametrize("f", FAMILIES))
def test_a_flow_of_datagrams_follows_its_service(node: Datapath, device: int, at: str, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=at, local=False, protocol=17)
    asked = frame(f.client, address, datagram(dport=port))
    for _ in range(3):
        there = at_xdp(node, asked, device)
        assert (there.verdict, addresses(there.packet)) == (XDP_TX, (f.own, f.remote))
        assert at_xdp(node, answer(there.packet, NODE_2_MAC), device).verdict == XDP_TX
    second = f"{f.remote[:-1]}8"
    lost_backend(node, node.set_ids, second)
    passed = at_xdp(node, asked, device)
    assert (passed.verdict, bytes(passed.packet)) == (XDP_PASS, bytes(asked)), "what moves the flow is tc's"
    assert addresses(node.run("uplink_ingress", asked, device).packet) == (f.own, second)
    for _ in range(3):
        moved = at_xdp(node, asked, device)
        assert (moved.verdict, addresses(moved.packet)) == (XDP_TX, (f.own, second))
        back = at_xdp(node, answer(moved.packet, NODE_2_MAC), device)
        assert (addresses(back.packet), ports(back.packet)) == ((address, f.client), (port, 40000))
    assert node.tables["flows"].count() == 2, "nothing is left of the first backend's"


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize(("protocol", "make"), TRANSPORTS)
def test_one_source_port_towards_one_backend_by_two_services(
    node: Datapath, device: int, f: Family, protocol: int, make: Callable[..., Packet]
) -> None:
    """The backend has to see two: each answer comes back as from the service that was asked."""
    services = [offer(node, f, f.remote, at=at, local=False, protocol=protocol) for at in (NODE_PORT, EXTERNAL_ADDRESS)]
    for _ in range(2):
        asks = [at_xdp(node, frame(f.client, address, make(dport=port)), device) for address, port in services]
        assert [(one.verdict, addresses(one.packet)) for one in asks] == [(XDP_TX, (f.own, f.remote))] * 2
        assert ports(asks[0].packet)[0] != ports(asks[1].packet)[0]
        for (address, port), there in zip(services, asks, strict=True):
            back = at_xdp(node, answer(there.packet, NODE_2_MAC), device)
            assert back.verdict == XDP_TX
            assert (addresses(back.packet), ports(back.packet)) == ((address, f.client), (port, 40000))
    assert node.tables["flows"].count() == 4


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize(("protocol", "make"), TRANSPORTS)
def test_clients_of_one_source_port_are_told_apart_by_the_nodes(
    node: Datapath, device: int, at: str, f: Family, protocol: int, make: Callable[..., Packet]
) -> None:
    """Source translation at XDP: each flow has a port of the node, and the same one with each packet."""
    address, port = offer(node, f, f.remote, at=at, local=False, protocol=protocol)
    clients = [f"{f.client[:-1]}{digit}" for digit in range(3, 7)]

    def seen() -> list[int]:
        asks = [at_xdp(node, frame(client, address, make(dport=port)), device).packet for client in clients]
        assert {addresses(one) for one in asks} == {(f.own, f.remote)}
        for client, one in zip(clients, asks, strict=True):
            assert addresses(at_xdp(node, answer(one, NODE_2_MAC), device).packet) == (address, client)
        return [ports(one)[0] for one in asks]

    first = seen()
    assert len(set(first)) == len(clients)
    assert all(NAT_PORTS[0] <= number <= NAT_PORTS[1] for number in first)
    assert seen() == first


def test_a_datagram_without_a_checksum_stays_without(node: Datapath, device: int) -> None:
    address, port = offer(node, V4, V4.remote, at=EXTERNAL_ADDRESS, local=False, protocol=17)
    there = at_xdp(node, frame(V4.client, address, bare(dport=port)), device)
    assert (there.verdict, there.packet[UDP].chksum) == (XDP_TX, 0)
    back = at_xdp(node, frame(V4.remote, V4.own, bare(8080, ports(there.packet)[0])), device)
    assert (back.verdict, back.packet[UDP].chksum, addresses(back.packet)) == (XDP_TX, 0, (address, V4.client))


@pytest.mark.parametrize("f", FAMILIES)
def test_a_hop_is_taken_off_and_the_last_one_left_to_tc(node: Datapath, device: int, at: str, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=at, local=False)
    done = at_xdp(node, frame(f.client, address, syn(dport=port), ttl=2), device)
    assert (ip_of(done.packet).ttl if f is V4 else ip_of(done.packet).hlim) == 1
    left_to_tc(node, frame(f.client, address, syn(dport=port), ttl=1), device)


def has_flow(node: Datapath, flag: FlowFlag) -> bool:
    """Whether some entry has the flag."""
    return any(flow.flags & flag for _, flow in node.tables["flows"].items())


@pytest.mark.parametrize("f", FAMILIES)
def test_what_ends_a_connection_is_noted(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=NODE_PORT, local=False)
    there = at_xdp(node, frame(f.client, address, data(dport=port, flags="FA")), device)
    assert at_xdp(node, answer(there.packet, NODE_2_MAC, flags="FA"), device).verdict == XDP_TX
    assert has_flow(node, FlowFlag.FLOW_FIN_REPLY)
    assert not has_flow(node, FlowFlag.FLOW_FIN_ORIGIN)  # what makes the entries is not noted in them
    assert at_xdp(node, frame(f.client, address, data(dport=port, flags="FA")), device).verdict == XDP_TX
    assert has_flow(node, FlowFlag.FLOW_FIN_ORIGIN)
