"""At XDP what passes through the node is sent on as tc would have; everything else goes to tc as it came."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from agent.model.service import Scheduler
from agent.watch.decode.denied import parse, prefix_key_of
from maps import abi, mapio
from maps.abi import DeniedPrefix, DropReason, FlowFlag, NodeFlag, PrefixFlag, Scope, ServiceFlag
from tests.behaviours import shows
from tests.bpf.datapath import (
    GATEWAY_MAC,
    LOOPBACK,
    NAT_PORTS,
    NODE,
    OTHER_MAC,
    POD_MAC,
    TC_ACT_REDIRECT,
    VIP,
    VIP6,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Datapath,
    Outcome,
    checksums_hold,
    data,
    datagram,
    frame,
    prefix_key,
    syn,
)
from tests.bpf.packets import TIME_EXCEEDED, addresses, answer, icmp_error, ip_of, ports
from tests.bpf.test_revision import lost_backend
from tests.bpf.test_scheduler import Live
from tests.bpf.test_uplink import EXTERNAL_ADDRESS, FAMILIES, NODE_PORT, V4, Family, offer
from tests.bpf.uplink import NEIGHBORS, NODE_2_MAC, ROUTER_MAC, routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

SENT = {("PROGRAM_XDP", "DIRECTION_INGRESS", "DROP_NONE"): 1}
DENIED = {("PROGRAM_XDP", "DIRECTION_INGRESS", "DROP_DENIED_PREFIX"): 1}
ETHERNET = 14


def bare(sport: int = 40000, dport: int = 53) -> Packet:
    """A UDP datagram without a checksum, as IPv4 allows it."""
    return UDP(sport=sport, dport=dport, chksum=0) / Raw(b"bare")


TRANSPORTS = [
    pytest.param(6, syn, id="TCP"),
    pytest.param(6, data, id="TCP with data"),
    pytest.param(17, datagram, id="UDP"),
]


@pytest.fixture(params=[NODE_PORT, EXTERNAL_ADDRESS])
def at(request: pytest.FixtureRequest) -> str:
    """Where clients outside find the service."""
    return str(request.param)


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes and knows its neighbours."""
    with routed(NEIGHBORS) as ifindex:
        yield ifindex


@pytest.fixture(scope="module", autouse=True)
def _one_cpu() -> Iterator[None]:
    """Copies of flows, and the latest drops, are a CPU's own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(autouse=True)
def _fresh_turns(node: Datapath) -> None:
    """No neighbour has been sent to."""
    turn(node, seen_s=0)


def turn(node: Datapath, *, seen_s: int) -> None:
    """Have every neighbour that was sent to last have had a packet by tc at that time; its ways are to be asked for."""
    ways = abi.MAPS["known_ways"]
    keys = b"".join(index.to_bytes(4, "little") for index in range(ways.max_entries))
    mapio.update(
        node.objects["xdp"].map_fd(ways.name), keys, bytes(ways.value.SIZE * ways.max_entries), ways.max_entries
    )
    fd = node.objects["xdp"].map_fd("neighbor_turns")
    for keys, values in mapio.read(fd, 4, 12, 1024):
        own = [values[i : i + 8] + seen_s.to_bytes(4, "little") for i in range(0, len(values), 12)]
        mapio.update(fd, keys, b"".join(own), len(own))


def at_xdp(node: Datapath, packet: Packet, device: int) -> Outcome:
    """What the program at XDP makes of what comes in."""
    return node.run("uplink_xdp", packet, device)


def left_to_tc(node: Datapath, packet: Packet, device: int) -> None:
    """At XDP the packet stays what it is, and nothing is written down of it."""
    before = flows(node)
    passed = at_xdp(node, packet, device)
    assert (passed.verdict, dict(passed.reasons)) == (XDP_PASS, {})
    assert bytes(passed.packet) == bytes(packet)
    assert flows(node) == before


def flows(node: Datapath) -> dict[abi.FlowKey, abi.Flow]:
    """What is known of flows, but when they were last seen."""
    return {key: replace(flow, seen_s=0) for key, flow in node.tables["flows"].items()}


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


# ---- what is tc's ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize("local", ["a pod", "the node"])
def test_a_backend_here_is_tcs_and_tc_begins_the_flow(
    node: Datapath, device: int, at: str, f: Family, local: str
) -> None:
    address, port = offer(node, f, f.pod if local == "a pod" else f.own, at=at, local=True)
    asked = frame(f.client, address, syn(dport=port))
    left_to_tc(node, asked, device)
    assert node.run("uplink_ingress", asked, device).reason == DropReason.DROP_NONE
    left_to_tc(node, asked, device)  # also what tc knows by now


@pytest.mark.parametrize("f", FAMILIES)
def test_a_service_that_leads_nowhere_is_tcs(node: Datapath, device: int, f: Family) -> None:
    node.service(f.any, 30080, [], scope=Scope.SCOPE_EXTERNAL, flags=ServiceFlag.SERVICE_LOCAL)
    left_to_tc(node, frame(f.client, f.own, syn(dport=30080)), device)
    node.service(f.any, 30081, [(f.unreached, 8080, False)], scope=Scope.SCOPE_EXTERNAL)
    asked = frame(f.client, f.own, syn(dport=30081))
    passed = at_xdp(node, asked, device)
    assert (passed.verdict, bytes(passed.packet)) == (XDP_PASS, bytes(asked))
    assert node.run("uplink_ingress", asked, device).reason == DropReason.DROP_NO_ROUTE


@pytest.mark.parametrize("f", FAMILIES)
def test_who_is_in_none_of_a_services_ranges_is_tcs_to_drop(node: Datapath, device: int, f: Family) -> None:
    ranged = ServiceFlag.SERVICE_RANGED
    set_id = node.service(f.external, 443, [(f.remote, 8080, False)], scope=Scope.SCOPE_EXTERNAL, flags=ranged)
    node.source_range(set_id, "198.18.0.0/15" if f is V4 else "2001:2::/48")
    asked = frame(f.client, f.external, syn(dport=443))
    left_to_tc(node, asked, device)
    assert node.run("uplink_ingress", asked, device).reason == DropReason.DROP_SOURCE_RANGE
    node.source_range(set_id, f"{f.client}/{32 if f is V4 else 128}")
    assert at_xdp(node, asked, device).verdict == XDP_TX


@pytest.mark.parametrize("f", FAMILIES)
def test_least_connections_evens_out_what_begins_here(node: Datapath, device: int, f: Family) -> None:
    vip, pods = (VIP, "10.244.2.") if f is V4 else (VIP6, "fd00:2::")
    backends = [f"{pods}{n}" for n in range(1, 8)]
    live = Live(node, vip, backends).now(scheduler=Scheduler.LC, external_ips=(ip_address(f.external),))
    for turn in range(3):
        begin = 20000 + turn * len(backends)
        sent = [at_xdp(node, frame(f.client, f.external, syn(begin + n)), device) for n in range(len(backends))]
        assert sorted(addresses(one.packet)[1] for one in sent) == sorted(backends)
    assert live.open() == dict.fromkeys(backends, 3)


@pytest.mark.parametrize("f", FAMILIES)
def test_what_would_enter_another_nodes_tunnel_by_a_service_is_tcs_to_drop(
    node: Datapath, device: int, f: Family
) -> None:
    far, bits = ("10.88.0.12", 32) if f is V4 else ("fd88::12", 128)
    node.node(port=8472)
    node.prefix(f"{far}/{bits}", flags=PrefixFlag.PREFIX_NODE)
    node.service(f.any, 30080, [(far, 8472, False)], protocol=17, scope=Scope.SCOPE_EXTERNAL)
    asked = frame(f.client, f.own, datagram(dport=30080))
    left_to_tc(node, asked, device)
    assert node.run("uplink_ingress", asked, device).reason == DropReason.DROP_TUNNEL_OUTER
    node.node(port=4789)
    assert at_xdp(node, asked, device).verdict == XDP_TX, "a port like any other"


@pytest.mark.parametrize("f", FAMILIES)
def test_what_is_for_no_service_is_not_touched(node: Datapath, device: int, f: Family) -> None:
    group = "224.0.0.251" if f is V4 else "ff02::fb"
    for packet in (
        frame(f.client, f.own, syn(dport=22)),
        frame(f.client, f.own, syn(dport=30099)),
        frame(f.client, group, datagram(dport=5353)),
        frame(f.client, f.remote, Raw(b"none")),
        frame(f.client, f.pod, syn()),
        Ether(bytes(Ether(src=OTHER_MAC, dst=GATEWAY_MAC, type=0x0806) / Raw(bytes(28)))),
        Ether(bytes(frame(f.client, f.own, syn()))[:30]),
    ):
        left_to_tc(node, packet, device)


def odd_packets(f: Family, address: str, port: int) -> dict[str, Packet]:
    """Packets to a service that XDP does not read, by what is odd in them."""
    found: Mapping[str, Packet]
    if f is V4:
        option = IP(src=f.client, dst=address, options=[IPOption(b"\x07\x07\x04\0\0\0\0\0")])
        first = IP(src=f.client, dst=address, flags="MF", id=7)
        later = IP(src=f.client, dst=address, frag=100, id=7, proto=17)
        odd = {"options": option / syn(dport=port), "first fragment": first / datagram(dport=port, size=64)}
        found = odd | {"later fragment": later / Raw(b"x" * 64)}
    else:
        header = IPv6(src=f.client, dst=address)
        found = {
            "options": header / IPv6ExtHdrDestOpt() / syn(dport=port),
            "first fragment": header / IPv6ExtHdrFragment(m=1, id=7) / datagram(dport=port, size=64),
            "later fragment": header / IPv6ExtHdrFragment(offset=8, id=7, nh=17) / Raw(b"x" * 64),
        }
    return {name: Ether(bytes(Ether(src=POD_MAC, dst=GATEWAY_MAC) / ip)) for name, ip in found.items()}


@pytest.mark.parametrize("f", FAMILIES)
@pytest.mark.parametrize("odd", ["options", "first fragment", "later fragment"])
@pytest.mark.parametrize("known", [False, True], ids=["the first", "of a known flow"])
def test_what_xdp_does_not_read_is_tcs(node: Datapath, device: int, f: Family, odd: str, *, known: bool) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False, protocol=17)
    offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    if known:
        for make in (syn, datagram):
            assert at_xdp(node, frame(f.client, address, make(dport=port)), device).verdict == XDP_TX
    left_to_tc(node, odd_packets(f, address, port)[odd], device)


@pytest.mark.parametrize("f", FAMILIES)
def test_a_tagged_frame_is_tcs(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    asked = frame(f.client, address, syn(dport=port))
    tagged = Ether(bytes(Ether(src=asked.src, dst=asked.dst) / Dot1Q(vlan=7) / asked.payload))
    left_to_tc(node, tagged, device)


@pytest.mark.parametrize("f", FAMILIES)
def test_an_error_about_a_flow_is_tcs(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    there = at_xdp(node, frame(f.client, address, data(dport=port)), device)
    error = icmp_error(there.packet, TIME_EXCEEDED, f.router)
    left_to_tc(node, error, device)
    assert addresses(node.run("uplink_ingress", error, device).packet) == (f.router, f.client)


@pytest.mark.parametrize("f", FAMILIES)
def test_what_is_larger_than_the_way_on_is_tcs(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False, protocol=17)
    header = 20 if f is V4 else 40
    fits = frame(f.client, address, datagram(dport=port, size=1500 - header - 8))
    assert at_xdp(node, fits, device).verdict == XDP_TX
    left_to_tc(node, frame(f.client, address, datagram(dport=port, size=1501 - header - 8)), device)


@pytest.mark.parametrize("f", FAMILIES)
def test_what_is_not_all_in_one_buffer_is_tcs(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False, protocol=17)
    # BPF_PROG_TEST_RUN makes buffers of a page of what is longer
    left_to_tc(node, frame(f.client, address, datagram(dport=port, size=6000)), device)


@pytest.mark.parametrize("f", FAMILIES)
def test_what_nobody_outside_can_have_sent_is_tcs_to_drop(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    for own in (f.own, f.pod, "127.0.0.1" if f is V4 else "::1"):
        forged = frame(own, address, syn(dport=port))
        left_to_tc(node, forged, device)
        assert node.run("uplink_ingress", forged, device).reason == DropReason.DROP_OWN_SOURCE
    node.service_address("10.96.0.9" if f is V4 else "fd00:10:96::9")
    forged = frame("10.96.0.9" if f is V4 else "fd00:10:96::9", address, syn(dport=port))
    left_to_tc(node, forged, device)
    assert node.run("uplink_ingress", forged, device).reason == DropReason.DROP_SERVICE_SOURCE


@pytest.mark.parametrize("f", FAMILIES)
def test_a_forged_source_of_a_known_flow_leaves_no_trace(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    assert at_xdp(node, frame(f.client, address, data(dport=port)), device).verdict == XDP_TX
    node.endpoint(f.client, 0, "00:00:00:00:00:00", 1)  # from now on it is the node's own
    node.node(revision=2)
    left_to_tc(node, frame(f.client, address, data(dport=port, flags="FA")), device)


@pytest.mark.parametrize("f", FAMILIES)
def test_a_backend_behind_a_tunnel_is_tcs(node: Datapath, device: int, at: str, f: Family) -> None:
    node.node(tunnel=LOOPBACK, port=8472)
    node.prefix("10.244.2.0/24" if f is V4 else "fd00:2::/64", "10.88.0.12")
    address, port = offer(node, f, f.remote, at=at, local=False)
    asked = frame(f.client, address, syn(dport=port))
    left_to_tc(node, asked, device)
    assert node.run("uplink_ingress", asked, device).verdict == TC_ACT_REDIRECT
    left_to_tc(node, asked, device)


@pytest.mark.parametrize("f", FAMILIES)
def test_a_frame_for_another_station_is_tcs(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    heard = frame(f.client, address, syn(dport=port), to=OTHER_MAC)
    passed = at_xdp(node, heard, device)
    assert (passed.verdict, bytes(passed.packet)) == (XDP_PASS, bytes(heard))


@pytest.mark.parametrize("f", FAMILIES)
def test_a_flow_whose_way_has_moved_is_tcs(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    asked = frame(f.client, address, data(dport=port))
    assert at_xdp(node, asked, device).verdict == XDP_TX
    table = node.tables["flows"]
    table.update((key, replace(flow, way=device + 1)) for key, flow in table.items() if flow.way)
    node.node(revision=2)  # no copy holds
    passed = at_xdp(node, asked, device)
    assert (passed.verdict, bytes(passed.packet)) == (XDP_PASS, bytes(asked))


@pytest.mark.parametrize("f", FAMILIES)
def test_now_and_then_a_neighbour_is_sent_to_by_tc_that_the_kernel_asks_for_it(
    node: Datapath, device: int, f: Family
) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)

    def verdict(sport: int) -> int:
        return at_xdp(node, frame(f.client, address, syn(sport=sport, dport=port)), device).verdict

    assert [verdict(sport) for sport in (40001, 40002)] == [XDP_TX, XDP_TX]
    turn(node, seen_s=1)  # long ago
    assert [verdict(sport) for sport in (40003, 40004)] == [XDP_PASS, XDP_TX]


@pytest.mark.parametrize("f", FAMILIES)
def test_a_full_table_is_tcs_to_tell(node: Datapath, device: int, f: Family) -> None:
    node.node(nat=(0, 0))  # no port is free
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    asked = frame(f.client, address, syn(dport=port))
    left_to_tc(node, asked, device)
    assert node.run("uplink_ingress", asked, device).reason == DropReason.DROP_NAT_PORTS


@pytest.mark.parametrize("f", FAMILIES)
def test_where_another_plugin_makes_the_network_nothing_is_balanced(node: Datapath, device: int, f: Family) -> None:
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    node.node(flags=NodeFlag.NODE_CHAINED)
    left_to_tc(node, frame(f.client, address, syn(dport=port)), device)


# ---- denied ranges ---------------------------------------------------------------------------------------------------


def deny(node: Datapath, *networks: str) -> None:
    """Let nothing in from these ranges."""
    denied = node.tables["denied_prefixes"]
    denied.update((prefix_key(network), DeniedPrefix(line)) for line, network in enumerate(networks, 1))


@pytest.mark.parametrize("f", FAMILIES)
def test_nothing_from_a_denied_range_is_let_in(node: Datapath, device: int, f: Family) -> None:
    deny(node, "192.0.2.0/25", "2001:db8::/120")
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    asked = frame(f.client, address, syn(dport=port))
    tagged = Ether(src=asked.src, dst=asked.dst) / Dot1Q(vlan=7) / asked.payload
    twice = Ether(src=asked.src, dst=asked.dst, type=0x88A8) / Dot1Q(vlan=7) / Dot1Q(vlan=8) / asked.payload
    for packet in (asked, frame(f.client, f.pod, Raw(b"any")), Ether(bytes(tagged)), Ether(bytes(twice))):
        done = at_xdp(node, packet, device)
        assert (done.verdict, dict(done.reasons)) == (XDP_DROP, DENIED)
    assert node.tables["flows"].count() == 0
    outside = "192.0.2.200" if f is V4 else "2001:db8::1:7"
    assert at_xdp(node, frame(outside, address, syn(dport=port)), device).verdict == XDP_TX


def test_a_hundred_thousand_ranges_are_denied_and_exchanged(node: Datapath, device: int) -> None:
    """As the agent reads them from its file; the addresses are 198.18.0.0/15's, and as many of IPv6."""
    table, half = node.tables["denied_prefixes"], 50_000
    text = "\n".join(
        [f"198.{18 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(half)]
        + [f"2001:2:0:{n:x}::/64" for n in range(half)]
    )
    denied, problems = parse(text, "deny")
    assert problems == ()
    table.update_packed(denied.keys, denied.values, 2 * half)
    assert table.count() == 2 * half

    def verdicts(*sources: str) -> list[int]:
        to = {True: "fd88::11", False: NODE}
        return [at_xdp(node, frame(one, to[":" in one], syn(dport=22)), device).verdict for one in sources]

    last, last6 = f"198.18.{half - 1 >> 8}.{half - 1 & 255}", f"2001:2:0:{half - 1:x}::7"
    assert verdicts("198.18.0.0", last, "2001:2::7", last6) == [XDP_DROP] * 4
    assert verdicts(f"198.18.{half >> 8}.{half & 255}", f"2001:2:0:{half:x}::7", V4.client) == [XDP_PASS] * 3
    gone, come = prefix_key_of(last), prefix_key_of(f"2001:2:0:{half:x}::/64")
    table.delete_packed(gone, 1)
    table.update_packed(come, DeniedPrefix(1).pack(), 1)
    assert verdicts(last, f"2001:2:0:{half:x}::7", last6) == [XDP_PASS, XDP_DROP, XDP_DROP]
    table.delete_packed(denied.keys, 2 * half)
    assert verdicts("198.18.0.0", last6) == [XDP_PASS, XDP_PASS]


def test_a_denied_range_of_one_family_means_nothing_to_the_other(node: Datapath, device: int) -> None:
    deny(node, "::/0")
    assert at_xdp(node, frame(V4.client, NODE, syn(dport=22)), device).verdict == XDP_PASS
    node.tables["denied_prefixes"].delete([prefix_key("::/0")])
    deny(node, "0.0.0.0/0")
    assert at_xdp(node, frame("2001:db8::7", "fd88::11", syn(dport=22)), device).verdict == XDP_PASS
    assert at_xdp(node, frame(V4.client, NODE, syn(dport=22)), device).verdict == XDP_DROP


def test_what_was_denied_is_among_the_latest_drops(node: Datapath, device: int) -> None:
    deny(node, "192.0.2.0/24")
    at_xdp(node, frame(V4.client, NODE, TCP(sport=1, dport=2)), device)
    kept = max((event for _, event in node.tables["drops"].items()), key=lambda event: event.at_ns)
    assert (kept.reason, str(kept.src.ipv4_mapped)) == (DropReason.DROP_DENIED_PREFIX, V4.client)
