"""Services seen from outside: node ports, external and load balancer addresses, and what the node itself sends."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from maps import abi
from maps.abi import DropReason, FlowFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    GATEWAY_MAC,
    NAT_PORTS,
    NODE,
    NODE6,
    OTHER_MAC,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
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
    addresses,
    answer,
    icmp_error,
    icmp_sum_holds,
    ip_of,
    ports,
    quoted_by,
)
from tests.bpf.uplink import UNREACHED, UNREACHED6, routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

EXTERNAL = Scope.SCOPE_EXTERNAL
FORWARDED = {("PROGRAM_UPLINK", "DIRECTION_INGRESS", "DROP_NONE"): 1}


@dataclass(frozen=True)
class Family:
    """The addresses of a family."""

    client: str
    own: str
    pod: str
    remote: str
    unreached: str
    any: str
    external: str
    router: str


V4 = Family(CLIENT, NODE, POD, REMOTE, UNREACHED, "0.0.0.0", "198.51.100.80", "10.88.0.1")
V6 = Family(CLIENT6, NODE6, POD6, REMOTE6, UNREACHED6, "::", "2001:db8:80::1", "fd88::1")
FAMILIES = [pytest.param(V4, id="IPv4"), pytest.param(V6, id="IPv6")]
TRANSPORTS = [
    pytest.param(6, syn, id="TCP"),
    pytest.param(6, data, id="TCP with data"),
    pytest.param(17, datagram, id="UDP"),
]
NODE_PORT, EXTERNAL_ADDRESS = "a node port", "an external or load balancer address"


@pytest.fixture(params=[NODE_PORT, EXTERNAL_ADDRESS])
def at(request: pytest.FixtureRequest) -> str:
    """Where clients outside find the service."""
    return str(request.param)


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


def offer(node: Datapath, f: Family, backend: str, *, at: str, local: bool, protocol: int = 6) -> tuple[str, int]:
    """A service for clients outside; returns its address and port."""
    under, address, port = (f.external, f.external, 443) if at == EXTERNAL_ADDRESS else (f.any, f.own, 30080)
    node.service(under, port, [(backend, 8080, local)], protocol=protocol, scope=EXTERNAL)
    return address, port


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize("local", [True, False], ids=["a pod of the node's", "another node's"])
@pytest.mark.parametrize(
    "mac", [pytest.param(OTHER_MAC, id="another host's"), pytest.param("ff" + ":ff" * 5, id="all's")]
)
def test_a_frame_that_is_not_for_the_node_alone_is_left_to_the_stack(
    node: Datapath, device: int, at: str, f: Family, *, mac: str, local: bool
) -> None:
    """A device that listens to everything has such, one with a macvlan on it has that one's; all have a broadcast."""
    address, port = offer(node, f, f.pod if local else f.remote, at=at, local=local)
    node.service_address(f.external, EXTERNAL)
    asked, refused = (
        frame(f.client, address, syn(dport=port), to=mac),
        frame(f.client, f.external, syn(dport=4), to=mac),
    )
    answered = frame(f.external, f.unreached, data(sport=443), to=mac)  # by another node, to who asked there
    for packet in (asked, refused, answered):
        done = node.run("uplink_ingress", packet, device)
        assert (done.verdict, dict(done.reasons), bytes(done.packet)) == (TC_ACT_UNSPEC, {}, bytes(packet))
    assert node.tables["flows"].count() == 0


@pytest.mark.parametrize("f", FAMILIES)
def test_a_frame_for_a_device_of_the_nodes_on_the_uplink_is_the_nodes(
    node: Datapath, device: int, at: str, f: Family
) -> None:
    """VRRP's have MACs of their own."""
    address, port = offer(node, f, f.pod, at=at, local=True)
    node.tables["own_macs"].update([(abi.MacKey(bytes.fromhex(OTHER_MAC.replace(":", ""))), abi.OwnMac(device + 1))])
    there = node.run("uplink_ingress", frame(f.client, address, syn(dport=port), to=OTHER_MAC), device)
    assert (there.verdict, addresses(there.packet)) == (TC_ACT_REDIRECT, (f.client, f.pod))


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize(("protocol", "make"), TRANSPORTS)
def test_a_local_backend_sees_the_clients_own_address(
    node: Datapath, device: int, at: str, f: Family, protocol: int, make: type[Packet]
) -> None:
    address, port = offer(node, f, f.pod, at=at, local=True, protocol=protocol)
    there = node.run("uplink_ingress", frame(f.client, address, make(dport=port)), device)
    assert (there.verdict, dict(there.reasons)) == (TC_ACT_REDIRECT, FORWARDED)
    assert (addresses(there.packet), ports(there.packet)) == ((f.client, f.pod), (40000, 8080))
    assert (there.packet[Ether].dst, there.packet[Ether].src) == (POD_MAC, GATEWAY_MAC)
    assert checksums_hold(there.packet)
    back = node.run("pod_ingress", answer(there.packet, POD_MAC))
    assert back.reason == DropReason.DROP_NONE
    assert (addresses(back.packet), ports(back.packet)) == ((address, f.client), (port, 40000))
    assert checksums_hold(back.packet)


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize(("protocol", "make"), TRANSPORTS)
def test_a_backend_elsewhere_sees_the_node_and_answers_through_it(
    node: Datapath, device: int, at: str, f: Family, protocol: int, make: type[Packet]
) -> None:
    address, port = offer(node, f, f.remote, at=at, local=False, protocol=protocol)
    asked = frame(f.client, address, make(dport=port))
    there = node.run("uplink_ingress", asked, device)
    assert (there.verdict, dict(there.reasons)) == (TC_ACT_REDIRECT, FORWARDED)
    assert (addresses(there.packet), ports(there.packet)[1]) == ((f.own, f.remote), 8080)
    assert NAT_PORTS[0] <= ports(there.packet)[0] <= NAT_PORTS[1]
    assert checksums_hold(there.packet)
    back = node.run("uplink_ingress", answer(there.packet, GATEWAY_MAC), device)
    assert (back.verdict, dict(back.reasons)) == (TC_ACT_REDIRECT, FORWARDED)
    assert (addresses(back.packet), ports(back.packet)) == ((address, f.client), (port, 40000))
    assert checksums_hold(back.packet)
    again = node.run("uplink_ingress", asked, device)
    assert ports(again.packet) == ports(there.packet)


@pytest.mark.parametrize("f", FAMILIES)
def test_a_hop_through_the_node_takes_one_from_the_ttl(node: Datapath, device: int, at: str, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=at, local=False)
    done = node.run("uplink_ingress", frame(f.client, address, syn(dport=port), ttl=9), device)
    assert (ip_of(done.packet).ttl if f is V4 else ip_of(done.packet).hlim) == 8


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize("way", ["to a pod", "to another node"])
def test_a_translated_packet_whose_ttl_is_spent_is_dropped(
    node: Datapath, device: int, at: str, f: Family, way: str
) -> None:
    local = way == "to a pod"
    address, port = offer(node, f, f.pod if local else f.remote, at=at, local=local)
    done = node.run("uplink_ingress", frame(f.client, address, syn(dport=port), ttl=1), device)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_TTL)


@pytest.mark.parametrize("f", FAMILIES)
def test_a_backend_without_a_route_is_counted(node: Datapath, device: int, at: str, f: Family) -> None:
    address, port = offer(node, f, f.unreached, at=at, local=False)
    done = node.run("uplink_ingress", frame(f.client, address, syn(dport=port)), device)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NO_ROUTE)


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize("kind", [TOO_BIG, TIME_EXCEEDED], ids=["too big", "time exceeded"])
@pytest.mark.parametrize("octets", [8, 1232], ids=["8 octets quoted", "all quoted"])
@pytest.mark.parametrize("by", ["backend", "router"])
def test_an_error_behind_source_translation_reaches_the_client_as_if_about_the_service(
    node: Datapath, device: int, f: Family, kind: dict[int, tuple[int, int]], octets: int, by: str
) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    asked = frame(f.client, address, data(dport=port))
    handed = node.run("uplink_ingress", asked, device).packet
    error = icmp_error(handed, kind, f.remote if by == "backend" else f.router, octets=octets)
    done = node.run("uplink_ingress", error, device)
    assert (done.verdict, dict(done.reasons)) == (TC_ACT_REDIRECT, FORWARDED)
    assert addresses(done.packet) == (address if by == "backend" else f.router, f.client)
    quoted = quoted_by(done.packet)
    assert (quoted.src, quoted.dst) == (f.client, address)
    begin = 20 if f is V4 else 40
    assert bytes(quoted)[begin:] == bytes(ip_of(asked))[begin : begin + octets]
    assert icmp_sum_holds(done.packet)


@pytest.mark.parametrize("f", FAMILIES)
def test_a_translated_error_whose_ttl_is_spent_is_dropped(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    handed = node.run("uplink_ingress", frame(f.client, address, data(dport=port)), device).packet
    done = node.run("uplink_ingress", icmp_error(handed, TIME_EXCEEDED, f.router, ttl=1), device)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_TTL)


@pytest.mark.parametrize("f", FAMILIES)
def test_a_backend_on_the_node_itself_is_reached_by_the_stack(node: Datapath, device: int, at: str, f: Family) -> None:
    address, port = offer(node, f, f.own, at=at, local=True)
    there = node.run("uplink_ingress", frame(f.client, address, syn(dport=port)), device)
    assert (there.verdict, dict(there.reasons)) == (TC_ACT_UNSPEC, FORWARDED)
    assert (addresses(there.packet), ports(there.packet)) == ((f.client, f.own), (40000, 8080))
    assert checksums_hold(there.packet)
    back = node.run("uplink_egress", answer(there.packet, GATEWAY_MAC), device)
    assert (back.verdict, back.reason) == (TC_ACT_UNSPEC, DropReason.DROP_NONE)
    assert (addresses(back.packet), ports(back.packet)) == ((address, f.client), (port, 40000))
    assert checksums_hold(back.packet)


@pytest.mark.parametrize("f", FAMILIES)
def test_a_backend_on_the_node_itself_is_no_hop_away(node: Datapath, device: int, at: str, f: Family) -> None:
    address, port = offer(node, f, f.own, at=at, local=True)
    done = node.run("uplink_ingress", frame(f.client, address, syn(dport=port), ttl=1), device)
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_UNSPEC, (f.client, f.own))


@pytest.mark.parametrize("f", FAMILIES)
def test_a_pods_packets_from_outside_are_handed_to_it(node: Datapath, device: int, f: Family) -> None:
    done = node.run("uplink_ingress", frame(f.remote, f.pod, syn(), mac=GATEWAY_MAC), device)
    assert (done.verdict, dict(done.reasons)) == (TC_ACT_REDIRECT, FORWARDED)
    assert done.packet[Ether].dst == POD_MAC
    ((_, flow),) = node.tables["flows"].items()
    assert flow.flags & FlowFlag.FLOW_EXTERNAL


@pytest.mark.parametrize("f", FAMILIES)
def test_what_is_not_ours_is_left_alone_and_uncounted(node: Datapath, device: int, f: Family) -> None:
    node.service(f.external, 443, [(f.pod, 8080, True)])  # for clients inside alone
    group = "224.0.0.251" if f is V4 else "ff02::fb"
    strangers = [
        frame(f.client, f.own, syn(dport=22)),
        frame(f.client, f.own, syn(dport=30081)),
        frame(f.client, f.external, syn(dport=443)),
        frame(f.client, group, datagram(dport=5353)),
        frame(f.client, f.remote, Raw(b"none")),
        frame(f.client, f.pod, syn(), ttl=1),
    ]
    for packet in strangers[:-1]:
        done = node.run("uplink_ingress", packet, device)
        assert (done.verdict, dict(done.reasons)) == (TC_ACT_UNSPEC, {})
        assert bytes(done.packet) == bytes(packet)
        assert node.tables["flows"].count() == 0
    spent = node.run("uplink_ingress", strangers[-1], device)
    assert (spent.verdict, bytes(spent.packet)) == (TC_ACT_UNSPEC, bytes(strangers[-1]))
