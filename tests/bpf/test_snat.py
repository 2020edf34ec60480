"""A translated flow leaves under the address that its route gives, and begins anew when that address is gone."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6NIQueryNOOP
from scapy.packet import Packet, Raw

from maps.abi import DropReason, EndpointFlag, FlowFlag, NodeFlag, PrefixFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    VIP,
    VIP6,
    Datapath,
    addr,
    checksums_hold,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import UNREACHABLE, addresses, answer, icmp_error
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

ROUTER_MAC = "02:00:00:00:00:99"
NO_MAC = "00:00:00:00:00:00"
OWN = EndpointFlag.ENDPOINT_NODE | EndpointFlag.ENDPOINT_HELD
GRE, ESP = 47, 50


@dataclass(frozen=True)
class Family:
    """One family's addresses; the node has three, one on a storage network and one for a range by its default route."""

    version: str
    pod: str
    node: str
    outside: str
    storage: str
    server: str  # on the storage network
    third: str
    partner: str  # in the range whose route names a source
    remote: str
    vip: str


V4 = Family("-4", POD, NODE, CLIENT, "10.99.0.11", "10.99.0.200", "10.88.0.77", "198.51.100.5", REMOTE, VIP)
V6 = Family("-6", POD6, NODE6, CLIENT6, "fd99::11", "fd99::200", "fd88::77", "2001:db8:5::5", REMOTE6, VIP6)
FAMILIES = pytest.mark.parametrize("f", [pytest.param(V4, id="IPv4"), pytest.param(V6, id="IPv6")])
NETWORK = """
link add nic0 type veth peer name nic1
link set nic0 up
link set nic1 up
address add 10.99.0.11/24 dev nic0
address add 10.99.0.12/24 dev nic0
address add fd99::11/64 dev nic0 nodad
address add 10.88.0.77/24 dev up0
address add fd88::77/64 dev up0 nodad preferred_lft 0
route add 198.51.100.0/24 via 10.88.0.1 src 10.88.0.77
-6 route add 2001:db8:5::/64 via fd88::1 src fd88::77
"""


def ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True)


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    """Two uplinks: one has the default route, the other a storage network."""
    with routed():
        for line in NETWORK.strip().splitlines():
            ip(line)
        yield


def two_nics(node: Datapath) -> Datapath:
    """A node that masquerades, with the programs on both uplinks."""
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    node.uplink(socket.if_nametoindex("up0"), NODE, NODE6)
    node.uplink(socket.if_nametoindex("nic0"), V4.storage, V6.storage)
    for f in (V4, V6):
        for own in (f.storage, f.third):
            node.endpoint(own, 0, NO_MAC, OWN)
    return node


@pytest.fixture
def masked(node: Datapath) -> Datapath:
    return two_nics(node)


@pytest.fixture(scope="module")
def older_loaded() -> Iterator[Datapath]:
    """The programs as on a kernel that names no route's source."""
    datapath = Datapath.load(constants={"routes_name_source": 0})
    yield datapath
    datapath.close()


@pytest.fixture
def older(older_loaded: Datapath) -> Datapath:
    older_loaded.reset()
    return two_nics(older_loaded)


def ping(f: Family) -> Packet:
    return (ICMPv6EchoRequest(id=7, seq=1) if f is V6 else ICMP(type=8, id=7, seq=1)) / Raw(b"payload")


def sent(node: Datapath, f: Family, to: str, l4: Packet) -> Packet:
    """What leaves of what the pod sends."""
    done = node.run("pod_ingress", frame(f.pod, to, l4))
    assert done.verdict == TC_ACT_REDIRECT
    assert checksums_hold(done.packet)
    return done.packet


def source(node: Datapath, f: Family, to: str, l4: Packet) -> str:
    """Under which address it leaves."""
    return addresses(sent(node, f, to, l4))[0]


@contextmanager
def rule(f: Family, line: str) -> Iterator[None]:
    """A rule of the kernel's, with the storage network as the way to all in its table."""
    hop = f.server
    ip(f"{f.version} route add default via {hop} dev nic0 table 77")
    ip(f"{f.version} rule add {line} lookup 77")
    try:
        yield
    finally:
        ip(f"{f.version} rule del {line} lookup 77")
        ip(f"{f.version} route del default table 77")


@FAMILIES
@pytest.mark.parametrize("kind", ["TCP", "UDP", "ping"])
def test_a_pod_is_seen_under_the_address_of_the_device_by_which_it_leaves(
    masked: Datapath, f: Family, kind: str
) -> None:
    l4 = {"TCP": syn(), "UDP": datagram(), "ping": ping(f)}[kind]
    assert source(masked, f, f.server, l4) == f.storage
    assert source(masked, f, f.outside, l4) == f.node
    if kind != "ping":
        back = masked.run(
            "uplink_ingress", answer(sent(masked, f, f.server, l4), ROUTER_MAC), socket.if_nametoindex("nic0")
        )
        assert (back.verdict, addresses(back.packet)) == (TC_ACT_REDIRECT, (f.server, f.pod))


@FAMILIES
def test_a_route_that_names_its_source_has_it(masked: Datapath, f: Family) -> None:
    assert source(masked, f, f.partner, syn()) == f.third


@FAMILIES
def test_a_kernel_that_names_none_has_the_devices(older: Datapath, f: Family) -> None:
    assert source(older, f, f.server, syn()) == f.storage
    assert source(older, f, f.outside, syn()) == f.node
    assert source(older, f, f.partner, syn()) == f.node


@FAMILIES
def test_a_kernel_that_names_none_has_the_nodes_where_the_device_has_none(older: Datapath, f: Family) -> None:
    older.uplink(socket.if_nametoindex("nic0"))
    assert source(older, f, f.server, syn()) == f.node


@FAMILIES
def test_by_a_device_without_programs_the_nodes_address_stays(masked: Datapath, f: Family) -> None:
    masked.tables["uplinks"].delete([socket.if_nametoindex("nic0")])
    assert source(masked, f, f.server, syn()) == f.node


@FAMILIES
def test_the_kernels_rules_for_the_pod_choose_its_way_and_its_address(masked: Datapath, f: Family) -> None:
    with rule(f, f"from {f.pod}"):
        assert source(masked, f, f.outside, syn()) == f.storage
    assert source(masked, f, f.outside, syn(sport=1)) == f.node


@FAMILIES
@pytest.mark.parametrize("kind", ["TCP", "UDP", "ping"])
def test_a_flow_whose_way_moves_to_another_device_begins_anew_under_the_address_there(
    masked: Datapath, f: Family, kind: str
) -> None:
    l4 = {"TCP": data(), "UDP": datagram(), "ping": ping(f)}[kind]
    packet = frame(f.pod, f.outside, l4)
    undisturbed = sent(masked, f, f.partner, datagram(sport=9))
    assert source(masked, f, f.outside, l4) == f.node
    with rule(f, f"to {f.outside}"):
        done = masked.run("pod_ingress", packet)
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NAT_WAY)
        assert source(masked, f, f.outside, l4) == f.storage
    assert bytes(sent(masked, f, f.partner, datagram(sport=9))) == bytes(undisturbed)


@FAMILIES
def test_a_flow_whose_way_moves_and_has_the_same_address_there_goes_on(masked: Datapath, f: Family) -> None:
    ip(f"{f.version} route add default via {f.server} dev nic0 src {f.node} table 78")
    first = sent(masked, f, f.outside, datagram())
    ip(f"{f.version} rule add to {f.outside} lookup 78")
    try:
        assert bytes(sent(masked, f, f.outside, datagram())) == bytes(first)
    finally:
        ip(f"{f.version} rule del to {f.outside} lookup 78")
        ip(f"{f.version} route del default table 78")


@FAMILIES
def test_a_node_ports_backend_elsewhere_sees_the_address_of_the_way_there(masked: Datapath, f: Family) -> None:
    anywhere = "::" if f is V6 else "0.0.0.0"
    masked.service(anywhere, 30080, [(f.server, 8080, False)], scope=Scope.SCOPE_EXTERNAL)
    done = masked.run(
        "uplink_ingress", frame(f.outside, f.node, syn(dport=30080), mac=ROUTER_MAC), socket.if_nametoindex("up0")
    )
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (f.storage, f.server))
    assert checksums_hold(done.packet)


@FAMILIES
def test_what_goes_by_the_tunnel_is_from_the_address_that_other_nodes_know(masked: Datapath, f: Family) -> None:
    anywhere, up = ("::" if f is V6 else "0.0.0.0"), socket.if_nametoindex("up0")
    masked.node(tunnel=socket.if_nametoindex("nic0"), port=8472, flags=NodeFlag.NODE_MASQUERADE)
    masked.prefix("fd99::/64" if f is V6 else "10.99.0.0/24", "10.88.0.12", PrefixFlag.PREFIX_NO_MASQUERADE)
    masked.service(anywhere, 30080, [(f.server, 8080, False)], scope=Scope.SCOPE_EXTERNAL)
    done = masked.run("uplink_ingress", frame(f.outside, f.node, syn(dport=30080), mac=ROUTER_MAC), up)
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (f.node, f.server))


@FAMILIES
def test_a_pod_that_reaches_itself_is_the_node_to_itself(masked: Datapath, f: Family) -> None:
    masked.service(f.vip, 80, [(f.pod, 8080, True)])
    assert addresses(masked.run("pod_ingress", frame(f.pod, f.vip, syn())).packet) == (f.node, f.pod)


# ---- an address that is gone


def lose(node: Datapath, address: str) -> None:
    """Have the agent say that no device has the address."""
    node.tables["endpoints"].delete([addr(address)])
    node.node(revision=2, flags=NodeFlag.NODE_MASQUERADE)
    node.forget_locations()


@contextmanager
def moved(f: Family) -> Iterator[str]:
    """The storage network's address becomes another."""
    other = "fd99::33" if f is V6 else "10.99.0.33"
    bits, nodad = (64, " nodad") if f is V6 else (24, "")
    ip(f"address flush dev nic0 to {f.storage}")
    if f is V4:
        ip("address flush dev nic0 to 10.99.0.12")
    ip(f"address add {other}/{bits} dev nic0{nodad}")
    try:
        yield other
    finally:
        ip(f"address del {other}/{bits} dev nic0")
        ip(f"address add {f.storage}/{bits} dev nic0{nodad}")


@FAMILIES
@pytest.mark.parametrize("kind", ["UDP", "ping", "TCP"])
def test_a_flow_under_an_address_that_is_gone_begins_anew_under_the_new_one(
    masked: Datapath, f: Family, kind: str
) -> None:
    l4 = {"TCP": data(), "UDP": datagram(), "ping": ping(f)}[kind]
    assert source(masked, f, f.server, l4) == f.storage
    undisturbed = sent(masked, f, f.outside, datagram(sport=9))
    with moved(f) as other:
        masked.endpoint(other, 0, NO_MAC, OWN)
        assert source(masked, f, f.server, l4) == f.storage, "before the agent has told"
        lose(masked, f.storage)
        assert source(masked, f, f.server, l4) == other
        assert bytes(sent(masked, f, f.outside, datagram(sport=9))) == bytes(undisturbed)
    kept = [k for k, flow in masked.tables["flows"].items() if FlowFlag(flow.flags) & FlowFlag.FLOW_REVERSE]
    assert len(kept) == 2, "nothing is left of the flow under the old address"


@FAMILIES
def test_an_address_that_came_just_now_is_used_before_the_agent_has_told(masked: Datapath, f: Family) -> None:
    with moved(f) as other:
        assert source(masked, f, f.server, datagram()) == other


@FAMILIES
def test_an_address_that_the_cluster_knows_but_no_device_has_is_gone(masked: Datapath, f: Family) -> None:
    assert source(masked, f, f.server, datagram()) == f.storage
    with moved(f) as other:
        masked.endpoint(f.storage, 0, NO_MAC, EndpointFlag.ENDPOINT_NODE)
        masked.node(revision=2, flags=NodeFlag.NODE_MASQUERADE)
        assert source(masked, f, f.server, datagram()) == other


@FAMILIES
def test_a_flow_under_the_nodes_address_stays_even_where_no_device_has_that(masked: Datapath, f: Family) -> None:
    first = sent(masked, f, f.outside, datagram())
    masked.endpoint(f.node, 0, NO_MAC, EndpointFlag.ENDPOINT_NODE)
    masked.node(revision=2, flags=NodeFlag.NODE_MASQUERADE)
    assert bytes(sent(masked, f, f.outside, datagram())) == bytes(first)


# ---- what has no ports


def portless(f: Family, protocol: int) -> Packet:
    """A packet of another protocol."""
    packet = frame(f.pod, f.outside, Raw(b"\0" * 24))
    if f is V6:
        packet.payload.nh = protocol
    else:
        packet.payload.proto = protocol
        del packet[IP].chksum
    return packet.__class__(bytes(packet))


def goes_on(node: Datapath, packet: Packet) -> Packet:
    """What becomes of a packet of the pod's that is not dropped."""
    done = node.run("pod_ingress", packet)
    assert done.verdict != TC_ACT_SHOT
    return done.packet


@FAMILIES
@pytest.mark.parametrize("protocol", [GRE, ESP])
def test_what_has_no_ports_never_leaves_under_the_pods_address(masked: Datapath, f: Family, protocol: int) -> None:
    packet = portless(f, protocol)
    done = masked.run("pod_ingress", packet)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NAT_PROTOCOL)
    masked.prefix("2001:db8::/64" if f is V6 else "192.0.2.0/24", flags=PrefixFlag.PREFIX_NO_MASQUERADE)
    assert addresses(goes_on(masked, packet)) == (f.pod, f.outside)
    masked.node()
    masked.prefix("2001:db8::/64" if f is V6 else "192.0.2.0/24")
    assert addresses(goes_on(masked, packet)) == (f.pod, f.outside)


@FAMILIES
def test_an_icmp_question_that_is_no_echo_is_one_of_those(masked: Datapath, f: Family) -> None:
    question = ICMPv6NIQueryNOOP() if f is V6 else ICMP(type=13)
    done = masked.run("pod_ingress", frame(f.pod, f.outside, question))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NAT_PROTOCOL)


@FAMILIES
def test_a_pods_error_leaves_where_the_flow_that_it_is_about_is_known(masked: Datapath, f: Family) -> None:
    asked = frame(f.outside, f.pod, datagram(), mac=ROUTER_MAC, to=POD_MAC)
    error = icmp_error(asked, UNREACHABLE, f.pod)
    done = masked.run("pod_ingress", error)
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_STRAY_ERROR)
    masked.run("pod_egress", asked)
    assert addresses(goes_on(masked, error)) == (f.pod, f.outside)


@FAMILIES
def test_a_pods_error_about_an_answer_leaves_under_the_flows_address(masked: Datapath, f: Family) -> None:
    back = answer(sent(masked, f, f.server, datagram()), ROUTER_MAC)
    told = masked.run("uplink_ingress", back, socket.if_nametoindex("nic0"))
    error = masked.run("pod_ingress", icmp_error(told.packet, UNREACHABLE, f.pod))
    assert (error.verdict, addresses(error.packet)) == (TC_ACT_REDIRECT, (f.storage, f.server))
