"""Whom a pod asks outside sees one socket under one port, the pod's own where that is free."""

import socket
from collections.abc import Callable, Iterator

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Packet

from agent.compile.node import kept_ports
from maps import abi, mapio
from maps.abi import DropReason, NodeFlag, PrefixFlag
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    LOOPBACK,
    NAT_PORTS,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    POD_MAC,
    REMOTE,
    REMOTE6,
    VIP,
    VIP6,
    Datapath,
    checksums_hold,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import addresses, answer, ports
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FAMILIES = [pytest.param(POD, CLIENT, id="IPv4"), pytest.param(POD6, CLIENT6, id="IPv6")]
KINDS = [pytest.param(datagram, id="UDP"), pytest.param(syn, id="TCP")]
NEIGHBOR = {POD: OTHER, POD6: OTHER6}
OWN = {POD: NODE, POD6: NODE6}


def server(outside: str, number: int) -> str:
    """A server outside, by its number."""
    return f"{outside.rpartition('.')[0]}.{10 + number}" if "." in outside else f"{outside[:-1]}{10 + number}"


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """The uplink, in a namespace that has routes."""
    with routed() as ifindex:
        yield ifindex


@pytest.fixture
def masked(node: Datapath, device: int) -> Datapath:
    """A node that masquerades, and whose ports nobody has."""
    assert device
    spec = abi.MAPS["port_owners"]
    fd = node.objects["tc_pod"].map_fd(spec.name)
    keys = b"".join(index.to_bytes(4, "little") for index in range(spec.max_entries))
    mapio.update(fd, keys, bytes(spec.value.SIZE * spec.max_entries), spec.max_entries)
    node.node(flags=NodeFlag.NODE_MASQUERADE)
    for other in (OTHER, OTHER6):  # behind the one device that is there
        node.endpoint(other, LOOPBACK, OTHER_MAC)
    return node


def seen(node: Datapath, pod: str, to: str, l4: Packet, *, mac: str = POD_MAC) -> int:
    """The port under which a server sees the pod's socket."""
    done = node.run("pod_ingress", frame(pod, to, l4, mac=mac))
    assert done.reason is DropReason.DROP_NONE
    assert addresses(done.packet)[1] == to
    return ports(done.packet)[0]


@pytest.mark.parametrize(("pod", "outside"), FAMILIES)
def test_a_udp_socket_has_one_port_for_all_servers(masked: Datapath, pod: str, outside: str) -> None:
    for sport in (40000, 52000, 61000):
        found = {seen(masked, pod, server(outside, n), datagram(sport=sport, dport=3478)) for n in range(8)}
        assert len(found) == 1
        assert NAT_PORTS[0] <= found.pop() <= NAT_PORTS[1]
    assert len({seen(masked, pod, outside, datagram(sport=sport)) for sport in range(40000, 40050)}) == 50


@pytest.mark.parametrize(("pod", "outside"), FAMILIES)
def test_two_pods_from_one_port_have_one_port_each_for_all_servers(masked: Datapath, pod: str, outside: str) -> None:
    def other(to: str) -> int:
        packet = datagram(sport=5060, dport=5060)
        return seen(masked, NEIGHBOR[pod], to, packet, mac=OTHER_MAC)

    first = [seen(masked, pod, server(outside, n), datagram(sport=5060, dport=5060)) for n in (0, 1)]
    second = {other(server(outside, n)) for n in range(8)}
    first += [seen(masked, pod, server(outside, n), datagram(sport=5060, dport=5060)) for n in (2, 3)]
    assert set(first) == {5060}
    assert len(second) == 1
    assert second != {5060}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sport", [1024, 5060, 29999, 111, 665, 1023])
@pytest.mark.parametrize(("pod", "outside"), FAMILIES)
def test_a_port_that_is_free_is_kept(
    masked: Datapath, pod: str, outside: str, sport: int, kind: Callable[..., Packet]
) -> None:
    assert seen(masked, pod, outside, kind(sport=sport)) == sport


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("pod", "outside"), FAMILIES)
def test_a_privileged_port_that_is_taken_becomes_another_one(
    masked: Datapath, pod: str, outside: str, kind: Callable[..., Packet]
) -> None:
    first = seen(masked, pod, outside, kind(sport=700, dport=2049))
    other = kind(sport=700, dport=2049)
    second = seen(masked, NEIGHBOR[pod], outside, other, mac=OTHER_MAC)
    assert first == 700
    assert 512 <= second < 1024
    assert second != first


@pytest.mark.parametrize(("pod", "outside"), FAMILIES)
def test_no_privileged_port_of_the_nodes_own_is_given_in_place_of_one_that_is_taken(
    masked: Datapath, pod: str, outside: str
) -> None:
    masked.tables["kept_ports"].update_packed(bytes(4), kept_ports([(odd, odd) for odd in range(1, 1024, 2)]), 1)
    for sport in range(600, 640, 2):
        tcp = syn(sport=sport, dport=2000 + sport)
        assert seen(masked, pod, outside, tcp) == sport
        assert seen(masked, NEIGHBOR[pod], outside, tcp, mac=OTHER_MAC) % 2 == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("pod", "outside"), FAMILIES)
def test_a_port_of_the_nodes_own_is_not_kept(
    masked: Datapath, pod: str, outside: str, kind: Callable[..., Packet]
) -> None:
    assert NAT_PORTS[0] <= seen(masked, pod, outside, kind(sport=40000)) <= NAT_PORTS[1]


@pytest.mark.parametrize(("pod", "outside"), FAMILIES)
def test_when_every_port_is_a_sockets_ports_are_shared(masked: Datapath, pod: str, outside: str) -> None:
    masked.node(nat=(5000, 5007), flags=NodeFlag.NODE_MASQUERADE)
    for sport in range(40000, 40008):
        seen(masked, pod, server(outside, 0), datagram(sport=sport))
    assert 5000 <= seen(masked, pod, server(outside, 1), datagram(sport=41000)) <= 5007


@pytest.mark.parametrize(("pod", "outside"), FAMILIES)
def test_gc_keeps_the_port_of_a_flow_in_use(masked: Datapath, pod: str, outside: str) -> None:
    spec = abi.MAPS["port_owners"]
    seen(masked, pod, outside, datagram(sport=5060))
    index = 5060 + (65536 if ":" in pod else 0)
    fd, key = masked.objects["tc_pod"].map_fd(spec.name), index.to_bytes(4, "little")
    before = mapio.lookup(fd, key, spec.value.SIZE)
    assert before
    mapio.update(fd, key, before[:4] + (1).to_bytes(4, "little"), 1)
    masked.gc()
    after = mapio.lookup(fd, key, spec.value.SIZE)
    assert after
    assert after[:4] == before[:4]
    assert int.from_bytes(after[4:], "little") >= int.from_bytes(before[4:], "little") - 1


# ---- endpoints outside the cluster -----------------------------------------------------------------------------------

SERVICES = [pytest.param(POD, VIP, CLIENT, id="IPv4"), pytest.param(POD6, VIP6, CLIENT6, id="IPv6")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("pod", "vip", "outside"), SERVICES)
def test_a_backend_outside_the_cluster_sees_the_node(
    masked: Datapath, pod: str, vip: str, outside: str, kind: Callable[..., Packet]
) -> None:
    protocol = 17 if UDP in kind() else 6
    masked.service(vip, 80, [(outside, 8080, False)], protocol=protocol)
    there = masked.run("pod_ingress", frame(pod, vip, kind(dport=80))).packet
    assert (addresses(there), ports(there)[1]) == ((OWN[pod], outside), 8080)
    back = masked.run("uplink_ingress", answer(there, OTHER_MAC)).packet
    assert (addresses(back), ports(back)) == ((vip, pod), (80, 40000))
    assert checksums_hold(back)


@pytest.mark.parametrize("where", ["another node's pod", "not masqueraded", "masquerading is off", "this node's pod"])
@pytest.mark.parametrize(("pod", "vip", "outside"), SERVICES)
def test_another_backend_sees_the_pod(masked: Datapath, pod: str, vip: str, outside: str, where: str) -> None:
    backend, is_local = outside, False
    match where:
        case "another node's pod":
            backend = REMOTE if pod == POD else REMOTE6
            masked.prefix(
                "10.244.2.0/24" if pod == POD else "fd00:2::/64", "10.88.0.12", flags=PrefixFlag.PREFIX_NO_MASQUERADE
            )
        case "not masqueraded":
            masked.prefix("0.0.0.0/0" if pod == POD else "::/0", flags=PrefixFlag.PREFIX_NO_MASQUERADE)
        case "masquerading is off":
            masked.node()
        case _:
            backend, is_local = NEIGHBOR[pod], True
    masked.service(vip, 80, [(backend, 8080, is_local)])
    done = masked.run("pod_ingress", frame(pod, vip, syn()))
    assert addresses(done.packet) == (pod, backend)


SOCKETS = {datagram: socket.SOCK_DGRAM, syn: socket.SOCK_STREAM}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(("pod", "outside"), FAMILIES)
def test_a_port_at_which_the_node_has_a_socket_is_no_pods_while_it_has(
    masked: Datapath, pod: str, outside: str, make: Callable[..., Packet]
) -> None:
    """As where pod and node ask one time server from port 123 each: the server could not tell them apart."""
    family = socket.AF_INET6 if ":" in pod else socket.AF_INET
    port = 1900
    with socket.socket(family, SOCKETS[make]) as held:
        held.bind(("", port))
        if SOCKETS[make] is socket.SOCK_STREAM:
            held.listen()
        assert seen(masked, pod, outside, make(sport=port, dport=123)) != port
    assert seen(masked, pod, server(outside, 1), make(sport=port, dport=124)) == port
