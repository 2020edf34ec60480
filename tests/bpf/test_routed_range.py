"""A pod that routes for a range of addresses sends under them and is sent what is for them; nobody else is."""

from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from maps.abi import DropReason, NodeFlag, PrefixFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    LOOPBACK,
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
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    data,
    datagram,
    frame,
    prefix_key,
    syn,
)
from tests.bpf.packets import addresses, answer, ip_of, ports
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

RANGE, RANGE6 = "10.200.0.0/16", "fd00:200::/64"
BEHIND, BEHIND6, NEXT, NEXT6 = "10.200.3.4", "fd00:200::34", "10.200.3.5", "fd00:200::35"
ROUTER_MAC = "02:00:00:00:00:99"
SENT = pytest.mark.parametrize("l4", [syn(), datagram(), Raw(b"none")], ids=["TCP", "UDP", "no ports"])
PORTS = pytest.mark.parametrize("l4", [syn(), datagram()], ids=["TCP", "UDP"])
FAMILIES = pytest.mark.parametrize(
    ("behind", "other"), [pytest.param(BEHIND, OTHER, id="IPv4"), pytest.param(BEHIND6, OTHER6, id="IPv6")]
)


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


@pytest.fixture
def router(node: Datapath) -> Datapath:
    """A node whose pod routes for two ranges."""
    node.routed_range(RANGE, LOOPBACK)
    node.routed_range(RANGE6, LOOPBACK)
    return node


def withdraw(node: Datapath, network: str) -> None:
    """Have nobody route for a range, as the agent does."""
    node.tables["routed_ranges"].delete([prefix_key(network)])
    node.node(revision=2)


@SENT
@FAMILIES
def test_the_pod_sends_under_an_address_of_its_range(router: Datapath, behind: str, other: str, l4: Packet) -> None:
    done = router.run("pod_ingress", frame(behind, other, l4))
    assert (done.verdict, done.reason) == (TC_ACT_REDIRECT, DropReason.DROP_NONE)
    assert (addresses(done.packet), done.packet[Ether].dst) == ((behind, other), OTHER_MAC)
    assert ip_of(done.packet).fields.get("ttl", ip_of(done.packet).fields.get("hlim")) == 63


@SENT
@FAMILIES
def test_a_range_is_the_pods_alone(router: Datapath, behind: str, other: str, l4: Packet) -> None:
    for network in (RANGE, RANGE6):
        router.routed_range(network, OTHER_POD_DEVICE)
    done = router.run("pod_ingress", frame(behind, other, l4))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_ADDRESS)
    assert router.tables["flows"].count() == 0


@SENT
@pytest.mark.parametrize("src", ["10.201.0.1", "10.199.255.255", "fd00:200:0:1::1", CLIENT, CLIENT6, NODE, REMOTE])
def test_outside_its_range_the_pod_may_not_send(router: Datapath, src: str, l4: Packet) -> None:
    done = router.run("pod_ingress", frame(src, OTHER6 if ":" in src else OTHER, l4))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_ADDRESS)


@FAMILIES
def test_all_of_ipv6_is_no_range_of_ipv4(node: Datapath, behind: str, other: str) -> None:
    node.routed_range("::/0" if ":" not in behind else "0.0.0.0/0", LOOPBACK)
    done = node.run("pod_ingress", frame(behind, other, syn()))
    assert done.reason == DropReason.DROP_SOURCE_ADDRESS


@FAMILIES
def test_the_mac_is_the_pods_nevertheless(router: Datapath, behind: str, other: str) -> None:
    done = router.run("pod_ingress", frame(behind, other, syn(), mac=OTHER_MAC))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_MAC)


@PORTS
@pytest.mark.parametrize(("behind", "pod"), [(BEHIND, POD), (BEHIND6, POD6)], ids=["IPv4", "IPv6"])
def test_another_pods_answer_is_delivered_to_the_router(node: Datapath, behind: str, pod: str, l4: Packet) -> None:
    node.routed_range(RANGE, OTHER_POD_DEVICE)
    node.routed_range(RANGE6, OTHER_POD_DEVICE)
    for _ in range(3):
        done = node.run("pod_ingress", frame(pod, behind, l4))
        assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, OTHER_MAC)
        assert addresses(done.packet) == (pod, behind)


@PORTS
@pytest.mark.parametrize(("behind", "outside"), [(BEHIND, CLIENT), (BEHIND6, CLIENT6)], ids=["IPv4", "IPv6"])
def test_what_comes_from_outside_is_delivered_to_the_router(
    router: Datapath, device: int, behind: str, outside: str, l4: Packet
) -> None:
    done = router.run("uplink_ingress", frame(outside, behind, l4, mac=ROUTER_MAC), device)
    assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert addresses(done.packet) == (outside, behind)


@PORTS
@FAMILIES
def test_nobody_outside_speaks_for_the_range(router: Datapath, behind: str, other: str, l4: Packet) -> None:
    done = router.run("uplink_ingress", frame(behind, other, l4, mac=ROUTER_MAC))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_OWN_SOURCE)
    assert router.tables["flows"].count() == 0


@FAMILIES
def test_nobody_outside_speaks_for_an_established_flow_of_it(router: Datapath, behind: str, other: str) -> None:
    for sent in (syn(), data()):
        assert router.run("pod_ingress", frame(behind, other, sent)).verdict == TC_ACT_REDIRECT
    done = router.run("uplink_ingress", frame(behind, other, data(), mac=ROUTER_MAC))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_OWN_SOURCE)


@pytest.mark.parametrize(
    ("network", "behind", "other"), [(RANGE, BEHIND, OTHER), (RANGE6, BEHIND6, OTHER6)], ids=["IPv4", "IPv6"]
)
@PORTS
def test_a_range_that_is_withdrawn_ends_its_flows(
    router: Datapath, network: str, behind: str, other: str, l4: Packet
) -> None:
    """Also one that is so far established that its shortcut is taken."""
    for _ in range(4):
        assert router.run("pod_ingress", frame(behind, other, data() if l4 == syn() else l4)).verdict == TC_ACT_REDIRECT
    withdraw(router, network)
    done = router.run("pod_ingress", frame(behind, other, data() if l4 == syn() else l4))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_SOURCE_ADDRESS)


@PORTS
def test_what_is_for_a_range_that_is_withdrawn_is_for_no_pod_any_more(node: Datapath, l4: Packet) -> None:
    node.routed_range(RANGE, OTHER_POD_DEVICE)
    assert node.run("pod_ingress", frame(POD, BEHIND, l4)).verdict == TC_ACT_REDIRECT
    withdraw(node, RANGE)
    done = node.run("pod_ingress", frame(POD, BEHIND, l4))
    assert (done.verdict, done.reason) == (TC_ACT_OK, DropReason.DROP_NONE)


@PORTS
@pytest.mark.parametrize(("behind", "nearby"), [(BEHIND, NEXT), (BEHIND6, NEXT6)], ids=["IPv4", "IPv6"])
def test_what_the_router_sends_to_its_own_range_does_not_go_round(
    router: Datapath, behind: str, nearby: str, l4: Packet
) -> None:
    for src in (behind, POD6 if ":" in behind else POD):
        for _ in range(3):
            done = router.run("pod_ingress", frame(src, nearby, l4))
            assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_ROUTED_BACK)
    assert router.tables["flows"].count() == 0


@PORTS
def test_nor_does_a_flow_when_the_range_becomes_the_routers_own(node: Datapath, l4: Packet) -> None:
    node.routed_range(RANGE, OTHER_POD_DEVICE)
    assert node.run("pod_ingress", frame(POD, NEXT, l4)).verdict == TC_ACT_REDIRECT
    node.routed_range(RANGE, LOOPBACK)
    node.node(revision=2)
    for _ in range(3):
        done = node.run("pod_ingress", frame(POD, NEXT, data() if l4 == syn() else l4))
        assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_ROUTED_BACK)


@PORTS
@pytest.mark.parametrize(
    ("behind", "vip", "backend"), [(BEHIND, VIP, OTHER), (BEHIND6, VIP6, OTHER6)], ids=["IPv4", "IPv6"]
)
def test_who_is_behind_the_router_asks_a_service(
    router: Datapath, behind: str, vip: str, backend: str, l4: Packet
) -> None:
    router.service(vip, l4.dport, [(backend, 8080, True)], protocol=6 if l4 == syn() else 17)
    there = router.run("pod_ingress", frame(behind, vip, l4))
    assert there.verdict == TC_ACT_REDIRECT
    assert (addresses(there.packet), ports(there.packet)) == ((behind, backend), (40000, 8080))
    assert checksums_hold(there.packet)
    router.endpoint(backend, LOOPBACK, OTHER_MAC)  # where packets come from in a test
    router.node(revision=2)
    back = router.run("pod_ingress", answer(there.packet, OTHER_MAC))
    assert (back.verdict, back.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert (addresses(back.packet), ports(back.packet)) == ((vip, behind), (l4.dport, 40000))
    assert checksums_hold(back.packet)


CLIENTS = pytest.mark.parametrize(
    ("behind", "own", "remote", "network"),
    [
        pytest.param(BEHIND, NODE, REMOTE, "10.244.2.0/24", id="IPv4"),
        pytest.param(BEHIND6, NODE6, REMOTE6, "fd00:2::/64", id="IPv6"),
    ],
)


def cluster(node: Datapath, network: str) -> None:
    """Another node with its pods, that meets ours unmasqueraded."""
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    node.prefix(network, flags=PrefixFlag.PREFIX_NO_MASQUERADE)


@PORTS
@CLIENTS
def test_another_nodes_pod_sees_the_node_and_answers_whoever_is_behind(
    router: Datapath, device: int, behind: str, own: str, remote: str, network: str, l4: Packet
) -> None:
    cluster(router, network)
    there = router.run("pod_ingress", frame(behind, remote, l4))
    assert (there.verdict, addresses(there.packet)) == (TC_ACT_REDIRECT, (own, remote))
    back = router.run("uplink_ingress", answer(there.packet, ROUTER_MAC), device)
    assert (back.verdict, back.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert (addresses(back.packet), ports(back.packet)) == ((remote, behind), (l4.dport, l4.sport))
    assert checksums_hold(back.packet)


@PORTS
@CLIENTS
def test_a_services_backend_on_another_node_sees_the_node(
    router: Datapath, device: int, behind: str, own: str, remote: str, network: str, l4: Packet
) -> None:
    cluster(router, network)
    vip = VIP6 if ":" in behind else VIP
    router.service(vip, l4.dport, [(remote, 8080, False)], protocol=6 if l4 == syn() else 17)
    there = router.run("pod_ingress", frame(behind, vip, l4))
    assert (there.verdict, addresses(there.packet)) == (TC_ACT_REDIRECT, (own, remote))
    back = router.run("uplink_ingress", answer(there.packet, ROUTER_MAC), device)
    assert (back.verdict, back.packet[Ether].dst) == (TC_ACT_REDIRECT, POD_MAC)
    assert addresses(back.packet) == (vip, behind)


def test_the_pod_itself_is_seen_there_as_before(router: Datapath, device: int) -> None:
    assert device
    cluster(router, "10.244.2.0/24")
    router.service(VIP, 80, [(REMOTE, 8080, False)])
    for dst in (REMOTE, VIP):
        assert addresses(router.run("pod_ingress", frame(POD, dst, syn())).packet) == (POD, REMOTE)


def test_a_range_that_is_never_masqueraded_sees_who_is_behind(router: Datapath, device: int) -> None:
    assert device
    cluster(router, "10.244.2.0/24")
    router.prefix("192.0.2.0/24", flags=PrefixFlag.PREFIX_NO_MASQUERADE, node_id=0)
    assert addresses(router.run("pod_ingress", frame(BEHIND, CLIENT, syn())).packet) == (BEHIND, CLIENT)


def test_another_pod_is_not_masqueraded_towards_the_range(node: Datapath) -> None:
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    node.routed_range(RANGE, OTHER_POD_DEVICE)
    assert addresses(node.run("pod_ingress", frame(POD, BEHIND, syn())).packet) == (POD, BEHIND)


@PORTS
@pytest.mark.parametrize(
    ("behind", "own", "outside"), [(BEHIND, NODE, CLIENT), (BEHIND6, NODE6, CLIENT6)], ids=["IPv4", "IPv6"]
)
def test_outside_the_cluster_it_is_the_node_as_a_pod_is(
    router: Datapath, device: int, behind: str, own: str, outside: str, l4: Packet
) -> None:
    router.node(flags=NodeFlag.NODE_MASQUERADE)
    there = router.run("pod_ingress", frame(behind, outside, l4))
    assert (there.verdict, addresses(there.packet)) == (TC_ACT_REDIRECT, (own, outside))
    back = router.run("uplink_ingress", answer(there.packet, ROUTER_MAC), device)
    assert (back.verdict, addresses(back.packet), back.packet[Ether].dst) == (
        TC_ACT_REDIRECT,
        (outside, behind),
        POD_MAC,
    )


@pytest.mark.parametrize("own", [NODE, NODE6])
def test_a_node_port_of_another_client_reaches_a_backend_behind(router: Datapath, device: int, own: str) -> None:
    behind, client, port = (BEHIND6, CLIENT6, "::") if own == NODE6 else (BEHIND, CLIENT, "0.0.0.0")
    router.service(port, 30080, [(behind, 8080, True)], scope=Scope.SCOPE_EXTERNAL)
    done = router.run("uplink_ingress", frame(client, own, syn(dport=30080), mac=ROUTER_MAC), device)
    assert (done.verdict, addresses(done.packet), done.packet[Ether].dst) == (
        TC_ACT_REDIRECT,
        (client, behind),
        POD_MAC,
    )


@pytest.mark.parametrize(("way", "src", "dst"), [("egress", BEHIND, OTHER), ("ingress", POD, BEHIND)])
def test_the_router_pays_for_who_is_behind_it(node: Datapath, way: str, src: str, dst: str) -> None:
    pays = LOOPBACK if way == "egress" else OTHER_POD_DEVICE
    node.routed_range(RANGE, pays)
    node.limit(pays, **{way: 1000}, ahead_s=100)
    node.node(flags=NodeFlag.NODE_LIMITS)
    wanted = DropReason.DROP_EGRESS_LIMIT if way == "egress" else DropReason.DROP_INGRESS_LIMIT
    assert node.run("pod_ingress", frame(src, dst, datagram())).reason == wanted


@pytest.mark.parametrize("l4", [ICMP(type=8, id=7), ICMPv6EchoRequest(id=7)], ids=["IPv4", "IPv6"])
def test_a_ping_passes(router: Datapath, l4: Packet) -> None:
    src, dst = (BEHIND6, OTHER6) if isinstance(l4, ICMPv6EchoRequest) else (BEHIND, OTHER)
    assert router.run("pod_ingress", frame(src, dst, l4)).verdict == TC_ACT_REDIRECT


def test_a_later_fragment_follows_its_first(router: Datapath) -> None:
    head = IP(src=BEHIND, dst=OTHER, id=9, proto=17)
    first = Ether(src=POD_MAC) / IP(**{**head.fields, "flags": "MF"}) / Raw(bytes(datagram(size=24)))
    later = Ether(src=POD_MAC) / IP(**{**head.fields, "frag": 4}) / Raw(b"later")
    for packet in (first, later):
        done = router.run("pod_ingress", Ether(bytes(packet)))
        assert (done.verdict, done.packet[Ether].dst) == (TC_ACT_REDIRECT, OTHER_MAC)


ARP_SAYS = Ether(src=POD_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=POD_MAC, psrc=BEHIND, pdst="169.254.1.1")
ND_ASKS = IPv6(src=BEHIND6, dst="ff02::1:ff00:3", hlim=255) / ICMPv6ND_NS(tgt=OTHER6)
ND_SAYS = IPv6(src=POD6, dst=NODE6, hlim=255) / ICMPv6ND_NA(tgt=BEHIND6, R=0)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(ARP_SAYS, DropReason.DROP_ARP, id="ARP"),
        pytest.param(
            Ether(src=POD_MAC) / ND_ASKS / ICMPv6NDOptSrcLLAddr(lladdr=POD_MAC), DropReason.DROP_ND, id="a solicitation"
        ),
        pytest.param(Ether(src=POD_MAC) / ND_SAYS, DropReason.DROP_ND, id="an advertisement"),
    ],
)
def test_the_link_has_the_pods_own_addresses_alone(router: Datapath, packet: Packet, reason: DropReason) -> None:
    """Else a pod that routes for a large range would fill the node's table of neighbours."""
    done = router.run("pod_ingress", Ether(bytes(packet)))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, reason)


@pytest.mark.parametrize("program", ["uplink_ingress", "pod_egress"])
@CLIENTS
def test_a_full_table_takes_no_client_of_another_node_whose_answers_would_be_the_nodes(
    device: int, behind: str, own: str, remote: str, network: str, program: str, one_bucket: Datapath
) -> None:
    """A pod's own answers to there are not masqueraded, and need no entry."""
    assert device
    assert own
    cluster(one_bucket, network)
    one_bucket.routed_range(RANGE6 if ":" in behind else RANGE, OTHER_POD_DEVICE)
    one_bucket.fill_flows(0)
    for dst, reason in (
        (behind, DropReason.DROP_CONNTRACK_FULL),
        (OTHER6 if ":" in behind else OTHER, DropReason.DROP_NONE),
    ):
        assert one_bucket.run(program, frame(remote, dst, syn(dport=81))).reason == reason
