"""What is behind another node's tunnel leaves by the device that encapsulates, with that node's address outside."""

import subprocess
from collections.abc import Callable, Iterator
from socket import IPPROTO_TCP, IPPROTO_UDP

import pytest
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps.abi import DropReason, EndpointFlag, NodeFlag, PrefixFlag, Scope
from tests.bpf.datapath import (
    CLIENT,
    GATEWAY_MAC,
    NODE,
    NODE6,
    POD,
    POD6,
    REMOTE,
    REMOTE6,
    TC_ACT_OK,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_UNSPEC,
    VIP,
    Datapath,
    checksums_hold,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses, answer, ports
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FAR_NODE = "10.88.0.12"


@pytest.fixture(scope="module")
def tunnel() -> Iterator[int]:
    """A VXLAN device, in a namespace of its own."""
    with routed():
        subprocess.run(
            ["ip", "link", "add", "tun0", "mtu", "1450", "type", "vxlan", "external", "dstport", "8472"], check=True
        )
        subprocess.run(["ip", "link", "set", "tun0", "up"], check=True)
        shown = subprocess.run(["ip", "-o", "link", "show", "tun0"], check=True, capture_output=True, text=True).stdout
        yield int(shown.partition(":")[0])


@pytest.fixture
def far(node: Datapath, tunnel: int) -> Datapath:
    """A node with another behind the tunnel."""
    node.node(tunnel=tunnel)
    node.prefix("10.244.2.0/24", FAR_NODE)
    node.prefix("fd00:2::/64", FAR_NODE)
    return node


@pytest.mark.parametrize(("pod", "remote"), [(POD, REMOTE), (POD6, REMOTE6)], ids=["IPv4", "IPv6"])
def test_a_remote_pod_is_sent_by_the_tunnel(far: Datapath, pod: str, remote: str) -> None:
    for _ in ("a new flow", "an established one"):
        done = far.run("pod_ingress", frame(pod, remote, syn()))
        assert done.verdict == TC_ACT_REDIRECT
        assert done.packet[Ether].dst == GATEWAY_MAC
        assert done.packet[Ether].src != GATEWAY_MAC  # the driver takes its own MAC for a loop
        assert addresses(done.packet) == (pod, remote)
        assert checksums_hold(done.packet)


def test_a_service_with_a_remote_backend_is_sent_by_the_tunnel(far: Datapath) -> None:
    far.service(VIP, 80, [(REMOTE, 8080, False)])
    done = far.run("pod_ingress", frame(POD, VIP, syn()))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (POD, REMOTE))


@pytest.mark.parametrize(
    ("network", "behind", "own", "remote"),
    [("10.200.0.0/16", "10.200.3.4", NODE, REMOTE), ("fd00:200::/64", "fd00:200::34", NODE6, REMOTE6)],
    ids=["IPv4", "IPv6"],
)
def test_who_is_behind_a_router_is_the_node_in_the_tunnel(  # whose other end takes nobody else from it
    far: Datapath, tunnel: int, network: str, behind: str, own: str, remote: str
) -> None:
    far.routed_range(network, 1)
    far.node(tunnel=tunnel, flags=NodeFlag.NODE_MASQUERADE)
    for remote_range in ("10.244.2.0/24", "fd00:2::/64"):
        far.prefix(remote_range, FAR_NODE, PrefixFlag.PREFIX_NO_MASQUERADE)
    done = far.run("pod_ingress", frame(behind, remote, syn()))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (own, remote))
    assert done.packet[Ether].src != GATEWAY_MAC, "by the tunnel"
    back = far.run("uplink_ingress", answer(done.packet, GATEWAY_MAC), tunnel)
    assert (back.verdict, addresses(back.packet)) == (TC_ACT_REDIRECT, (remote, behind))


def test_a_node_port_with_a_remote_backend_is_sent_by_the_tunnel_from_the_node(far: Datapath) -> None:
    far.service("0.0.0.0", 30080, [(REMOTE, 8080, False)], scope=Scope.SCOPE_EXTERNAL)
    done = far.run("uplink_ingress", frame(CLIENT, NODE, syn(dport=30080)))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (NODE, REMOTE))


@pytest.mark.parametrize(
    ("program", "asker", "address", "reason"),
    [
        pytest.param("pod_ingress", POD, VIP, DropReason.DROP_TUNNEL_POD, id="a pod"),
        pytest.param("uplink_ingress", CLIENT, NODE, DropReason.DROP_TUNNEL_OUTER, id="the outside"),
        pytest.param("uplink_egress", NODE, VIP, DropReason.DROP_NONE, id="the node, which may without"),
    ],
)
@pytest.mark.parametrize("at", [FAR_NODE, NODE], ids=["another node", "this node"])
def test_nobody_enters_a_nodes_tunnel_by_a_service(  # under this node's address, it would be believed there
    far: Datapath, tunnel: int, program: str, asker: str, address: str, reason: DropReason, at: str
) -> None:
    far.node(tunnel=tunnel, port=8472)
    far.prefix(f"{FAR_NODE}/32", flags=PrefixFlag.PREFIX_NODE)
    scope = Scope.SCOPE_EXTERNAL if program == "uplink_ingress" else Scope.SCOPE_INTERNAL
    far.service("0.0.0.0" if address == NODE else address, 30080, [(at, 8472, at == NODE)], protocol=17, scope=scope)
    done = far.run(program, frame(asker, address, datagram(dport=30080)))
    assert done.reason is reason
    if reason:
        assert (done.verdict, far.tables["flows"].count()) == (TC_ACT_SHOT, 0)


def test_a_nodes_tunnel_is_at_the_addresses_that_nodes_know(far: Datapath, tunnel: int) -> None:
    other = "10.88.0.99"  # as a floating one of several control planes; pods are masqueraded on their way there
    far.node(tunnel=tunnel, port=8472, flags=NodeFlag.NODE_MASQUERADE)
    far.prefix(f"{FAR_NODE}/32", flags=PrefixFlag.PREFIX_NODE)
    forged = far.run("pod_ingress", frame(POD, other, datagram(dport=8472)))
    assert (forged.verdict, addresses(forged.packet)) == (TC_ACT_REDIRECT, (NODE, other))
    far.endpoint(other, 0, "00:00:00:00:00:00", EndpointFlag.ENDPOINT_NODE | EndpointFlag.ENDPOINT_HELD)
    done = far.run("uplink_ingress", frame(FAR_NODE, other, datagram(dport=8472)))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_TUNNEL_OUTER)
    assert far.run("uplink_ingress", frame(FAR_NODE, NODE, datagram(dport=8472))).verdict == TC_ACT_UNSPEC
    far.prefix(f"{other}/32", flags=PrefixFlag.PREFIX_NODE)  # now its Node has it
    assert far.run("uplink_ingress", frame(FAR_NODE, other, datagram(dport=8472))).verdict == TC_ACT_UNSPEC


@pytest.mark.parametrize(
    ("remote", "own", "anywhere"), [(REMOTE, NODE, "0.0.0.0"), (REMOTE6, NODE6, "::")], ids=["IPv4", "IPv6"]
)
@pytest.mark.parametrize("kind", [syn, datagram])
def test_the_nodes_own_answer_to_a_remote_pod_comes_from_the_node_port(
    far: Datapath, remote: str, own: str, anywhere: str, kind: Callable[..., Packet]
) -> None:
    protocol = IPPROTO_TCP if kind is syn else IPPROTO_UDP
    far.service(anywhere, 30080, [(own, 8080, True)], scope=Scope.SCOPE_EXTERNAL, protocol=protocol)
    asked = far.run("uplink_ingress", frame(remote, own, kind(sport=4000, dport=30080)))
    assert (asked.verdict, addresses(asked.packet), ports(asked.packet)) == (TC_ACT_UNSPEC, (remote, own), (4000, 8080))
    done = far.run("tunnel_egress", answer(asked.packet, GATEWAY_MAC))
    assert (done.verdict, addresses(done.packet), ports(done.packet)) == (TC_ACT_OK, (own, remote), (30080, 4000))
    assert checksums_hold(done.packet)


def test_what_does_not_fit_the_tunnel_is_left_to_the_stack_to_tell(far: Datapath) -> None:
    done = far.run("pod_ingress", frame(POD, REMOTE, datagram(size=1450 - 28 + 1)))
    assert done.verdict == TC_ACT_OK
    fits = far.run("pod_ingress", frame(POD, REMOTE, datagram(size=1450 - 28)))
    assert fits.verdict == TC_ACT_REDIRECT


def test_a_flow_moves_to_the_tunnel_and_back_with_its_node(far: Datapath, tunnel: int) -> None:
    far.node()
    assert far.run("pod_ingress", frame(POD, REMOTE, syn())).verdict == TC_ACT_OK
    far.node(revision=2, tunnel=tunnel)
    assert far.run("pod_ingress", frame(POD, REMOTE, syn())).verdict == TC_ACT_REDIRECT
    far.node(revision=3)
    assert far.run("pod_ingress", frame(POD, REMOTE, syn())).verdict == TC_ACT_OK


def test_what_the_stack_sends_by_the_tunnel_is_addressed_there(far: Datapath) -> None:
    done = far.run("tunnel_egress", frame(NODE, REMOTE, syn()))
    assert done.verdict == TC_ACT_OK
    assert done.reasons == {("PROGRAM_TUNNEL", "DIRECTION_EGRESS", "DROP_NONE"): 1}


BEHIND, BEHIND6, HOP, HOP6 = "198.51.100.7", "2001:db8:51::7", "10.88.1.12", "fd88:1::12"
RELAYED = pytest.mark.parametrize(
    ("pod", "own", "behind", "hop"),
    [(POD, NODE, BEHIND, HOP), (POD6, NODE6, BEHIND6, HOP6)],
    ids=["IPv4", "IPv6"],
)


@pytest.fixture
def relayed(far: Datapath) -> Iterator[Datapath]:
    """Routes of BGP's, whose next hop is a node that the tunnel alone reaches; one has another way too."""
    routes = [
        f"198.51.100.0/24 via {HOP} dev tun0 onlink",
        f"2001:db8:51::/48 via {HOP6} dev tun0 onlink",
        f"198.51.101.0/24 nexthop via 10.88.0.1 dev up0 nexthop via {HOP} dev tun0 onlink",
    ]
    for route in routes:
        subprocess.run(["ip", "route", "add", *route.split()], check=True)
    for hop in (f"{HOP}/32", f"{HOP6}/128"):
        far.prefix(hop, FAR_NODE, PrefixFlag.PREFIX_NODE)
    yield far
    for route in routes:
        subprocess.run(["ip", "route", "del", route.split()[0]], check=True)


@RELAYED
def test_a_route_whose_next_hop_is_a_tunnelled_node_leads_to_that_node(
    relayed: Datapath, pod: str, own: str, behind: str, hop: str
) -> None:
    done = relayed.run("tunnel_egress", frame(own, behind, syn()))
    assert done.verdict == TC_ACT_OK
    assert done.reasons == {("PROGRAM_TUNNEL", "DIRECTION_EGRESS", "DROP_NONE"): 1}
    relayed.prefix(f"{hop}/{32 if pod == POD else 128}", FAR_NODE)  # whose it is nobody says
    assert relayed.run("tunnel_egress", frame(own, behind, syn())).reasons == {
        ("PROGRAM_TUNNEL", "DIRECTION_EGRESS", "DROP_NO_TUNNEL"): 1
    }


@RELAYED
def test_a_pods_packet_takes_such_a_route_past_the_stack(
    relayed: Datapath, pod: str, own: str, behind: str, hop: str
) -> None:
    for _ in ("a new flow", "an established one"):
        done = relayed.run("pod_ingress", frame(pod, behind, datagram()))
        assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (pod, behind)), (own, hop)


def test_of_several_ways_the_tunnels_is_found_whatever_the_stack_chose_by(relayed: Datapath, tunnel: int) -> None:
    for number in range(8):
        done = relayed.run("tunnel_egress", frame(NODE, f"198.51.101.{number}", syn()), tunnel)
        assert done.reasons == {("PROGRAM_TUNNEL", "DIRECTION_EGRESS", "DROP_NONE"): 1}
