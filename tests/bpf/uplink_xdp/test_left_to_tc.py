"""What XDP does not send on goes to tc as it came."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from agent.model.service import Scheduler
from maps.abi import DropReason, NodeFlag, PrefixFlag, Scope, ServiceFlag
from tests.bpf.datapath import (
    GATEWAY_MAC,
    LOOPBACK,
    OTHER_MAC,
    POD_MAC,
    TC_ACT_REDIRECT,
    VIP,
    VIP6,
    XDP_PASS,
    XDP_TX,
    Datapath,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import TIME_EXCEEDED, addresses, icmp_error
from tests.bpf.scheduled import Live
from tests.bpf.test_uplink import EXTERNAL_ADDRESS, FAMILIES, V4, Family, offer
from tests.bpf.uplink_xdp.xdp import at_xdp, left_to_tc, turn

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


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
    for time in range(3):
        begin = 20000 + time * len(backends)
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
    left_to_tc(node, frame(f.client, address, syn(dport=port), to=OTHER_MAC), device)


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
