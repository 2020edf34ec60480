"""Packets to services, at a pod's device: translated there and back, with every checksum right."""

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from maps import abi
from maps.abi import DropReason, NodeFlag
from tests.bpf.datapath import (
    CLIENT,
    CLIENT6,
    NODE,
    NODE6,
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    REMOTE,
    TC_ACT_OK,
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
from tests.bpf.packets import FAMILIES, addresses, answer

pytestmark = pytest.mark.kernel

TRANSPORTS = [
    pytest.param(syn(), 6, id="TCP"),
    pytest.param(data(), 6, id="TCP with data"),
    pytest.param(datagram(dport=80), 17, id="UDP"),
]


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
@pytest.mark.parametrize(("l4", "protocol"), TRANSPORTS)
def test_a_service_is_its_backend_there_and_itself_back(
    node: Datapath, pod: str, vip: str, backend: str, l4: Packet, protocol: int
) -> None:
    node.service(vip, 80, [(backend, 8080, True)], protocol=protocol)
    there = node.run("pod_ingress", frame(pod, vip, l4))
    assert there.verdict == TC_ACT_REDIRECT
    assert addresses(there.packet) == (pod, backend)
    assert there.packet.dport == 8080
    assert there.packet[Ether].dst == OTHER_MAC
    assert checksums_hold(there.packet)
    back = node.run("pod_egress", answer(there.packet, OTHER_MAC))
    assert addresses(back.packet) == (vip, pod)
    assert back.packet.sport == 80
    assert checksums_hold(back.packet)
    again = node.run("pod_ingress", frame(pod, vip, l4))
    assert addresses(again.packet) == (pod, backend)
    assert again.reasons == {("PROGRAM_POD", "DIRECTION_INGRESS", "DROP_NONE"): 1}


def test_the_hop_to_a_neighbour_takes_one_from_the_ttl(node: Datapath) -> None:
    done = node.run("pod_ingress", frame(POD, OTHER, syn(), ttl=17))
    assert done.verdict == TC_ACT_REDIRECT
    assert done.packet[IP].ttl == 16
    assert checksums_hold(done.packet)


def test_a_packet_at_the_end_of_its_ttl_is_left_to_the_stack_to_answer(node: Datapath) -> None:
    done = node.run("pod_ingress", frame(POD, OTHER, syn(), ttl=1))
    assert done.verdict == TC_ACT_OK
    assert done.packet[IP].ttl == 1


def test_a_backend_elsewhere_is_left_to_the_kernels_routes(node: Datapath) -> None:
    node.service(VIP, 80, [(REMOTE, 8080, False)])
    done = node.run("pod_ingress", frame(POD, VIP, syn()))
    assert done.verdict == TC_ACT_OK
    assert addresses(done.packet) == (POD, REMOTE)
    assert checksums_hold(done.packet)


@pytest.mark.parametrize(("pod", "vip", "own"), [(POD, VIP, NODE), (POD6, VIP6, NODE6)], ids=["IPv4", "IPv6"])
def test_a_pod_that_reaches_itself_sees_its_node(node: Datapath, pod: str, vip: str, own: str) -> None:
    node.service(vip, 80, [(pod, 8080, True)])
    done = node.run("pod_ingress", frame(pod, vip, syn()))
    assert done.verdict == TC_ACT_REDIRECT
    assert addresses(done.packet) == (own, pod)
    assert 1024 <= done.packet.sport <= 29999
    assert checksums_hold(done.packet)
    back = node.run("pod_ingress", answer(done.packet, "02:00:00:00:00:01"))
    assert back.verdict == TC_ACT_REDIRECT
    assert addresses(back.packet) == (vip, pod)
    assert back.packet.dport == 40000


def test_a_node_port_answers_on_the_nodes_address_and_nowhere_else(node: Datapath) -> None:
    node.service("0.0.0.0", 30080, [(OTHER, 8080, True)])
    done = node.run("pod_ingress", frame(POD, NODE, syn(dport=30080)))
    assert addresses(done.packet) == (POD, OTHER)
    stranger = node.run("pod_ingress", frame(POD, "10.88.0.99", syn(dport=30080)))
    assert addresses(stranger.packet) == (POD, "10.88.0.99")


def test_a_full_table_drops_flows_that_need_an_entry_and_carries_those_that_do_not(one_bucket: Datapath) -> None:
    one_bucket.fill_flows(1)
    one_bucket.service(VIP, 80, [(OTHER, 8080, True)])
    full = one_bucket.run("pod_ingress", frame(POD, VIP, syn()))
    assert (full.verdict, full.reason) == (TC_ACT_SHOT, DropReason.DROP_CONNTRACK_FULL)
    assert one_bucket.tables["flows"].count() == abi.FLOW_WAYS - 1
    plain = one_bucket.run("pod_ingress", frame(POD, OTHER, syn()))
    other = one_bucket.run("pod_ingress", frame(POD, OTHER, syn(sport=40001)))
    assert (plain.verdict, other.verdict) == (TC_ACT_REDIRECT, TC_ACT_REDIRECT)


@pytest.mark.parametrize("flags", [NodeFlag(0), NodeFlag.NODE_MASQUERADE], ids=["plain", "masqueraded"])
@pytest.mark.parametrize("program", ["uplink_ingress", "pod_egress"])
@pytest.mark.parametrize(("client", "pod"), [(CLIENT, OTHER), (CLIENT6, OTHER6)], ids=["IPv4", "IPv6"])
def test_a_full_table_takes_no_client_outside_whose_answers_would_be_masqueraded(
    client: str, pod: str, program: str, flags: NodeFlag, one_bucket: Datapath
) -> None:
    one_bucket.node(flags=flags)
    one_bucket.fill_flows(0)
    for l4 in (syn(dport=81), datagram(dport=81)):
        done = one_bucket.run(program, frame(client, pod, l4))
        assert (done.reason is DropReason.DROP_CONNTRACK_FULL) == bool(flags)


def test_a_full_table_is_no_lack_of_source_ports(one_bucket: Datapath) -> None:
    one_bucket.service(VIP, 80, [(POD, 8080, True)])
    one_bucket.fill_flows(0)
    full = one_bucket.run("pod_ingress", frame(POD, VIP, syn()))
    assert (full.verdict, full.reason) == (TC_ACT_SHOT, DropReason.DROP_CONNTRACK_FULL)
    assert one_bucket.tables["flows"].count() == abi.FLOW_WAYS


def test_a_table_that_names_a_lost_backend_drops_with_its_own_reason(node: Datapath) -> None:
    set_id = node.service(VIP, 80, [(OTHER, 8080, True)])
    node.tables["backends"].delete([abi.BackendKey(set_id, 0)])
    done = node.run("pod_ingress", frame(POD, VIP, syn()))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_BACKEND_LOST)


def test_an_answer_whose_key_is_taken_gets_another_source_port(node: Datapath) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True)])
    node.run("pod_ingress", frame(POD, OTHER, syn(dport=8080)))
    done = node.run("pod_ingress", frame(POD, VIP, syn()))
    assert addresses(done.packet) == (POD, OTHER)
    assert done.packet.sport != 40000
    back = node.run("pod_egress", answer(done.packet, OTHER_MAC))
    assert (addresses(back.packet), back.packet.dport) == ((VIP, POD), 40000)


def test_when_every_source_port_is_taken_the_flow_is_dropped(node: Datapath) -> None:
    node.node(nat=(5000, 5000))
    node.service(VIP, 80, [(POD, 8080, True)])
    node.run("pod_ingress", frame(POD, VIP, syn(sport=40001)))
    done = node.run("pod_ingress", frame(POD, VIP, syn(sport=40002)))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NAT_PORTS)


def test_a_node_without_an_address_of_the_family_cannot_stand_in(node: Datapath) -> None:
    node.node(addr6="")
    node.service(VIP6, 80, [(POD6, 8080, True)])
    done = node.run("pod_ingress", frame(POD6, VIP6, syn()))
    assert (done.verdict, done.reason) == (TC_ACT_SHOT, DropReason.DROP_NAT_ADDRESS)


def test_a_udp_flow_whose_backend_left_is_given_another(node: Datapath) -> None:
    set_id = node.service(VIP, 53, [(OTHER, 8053, True)], protocol=17)
    query = frame(POD, VIP, datagram())
    assert addresses(node.run("pod_ingress", query).packet) == (POD, OTHER)
    node.backends(set_id, [(REMOTE, 8053, False)], first_slot=1)
    node.tables["backends"].delete([abi.BackendKey(set_id, 0)])
    node.node(revision=2)
    assert addresses(node.run("pod_ingress", query).packet) == (POD, REMOTE)


def test_a_tcp_connection_stays_with_a_backend_that_left(node: Datapath) -> None:
    set_id = node.service(VIP, 80, [(OTHER, 8080, True)])
    node.run("pod_ingress", frame(POD, VIP, syn()))
    node.backends(set_id, [(REMOTE, 8080, False)], first_slot=1)
    node.tables["backends"].delete([abi.BackendKey(set_id, 0)])
    node.node(revision=2)
    assert addresses(node.run("pod_ingress", frame(POD, VIP, data())).packet) == (POD, OTHER)
    assert addresses(node.run("pod_ingress", frame(POD, VIP, syn())).packet) == (POD, REMOTE)


def test_a_client_with_affinity_stays_with_its_backend(node: Datapath) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True), (REMOTE, 8080, False)], affinity_s=60)
    seen = {
        addresses(node.run("pod_ingress", frame(POD, VIP, syn(sport=port))).packet)[1] for port in range(41000, 41032)
    }
    assert len(seen) == 1


def test_without_affinity_flows_spread_over_the_backends(node: Datapath) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True), (REMOTE, 8080, False)])
    seen = {
        addresses(node.run("pod_ingress", frame(POD, VIP, syn(sport=port))).packet)[1] for port in range(41000, 41032)
    }
    assert seen == {OTHER, REMOTE}


def test_a_moved_pod_is_found_at_its_new_device(node: Datapath) -> None:
    node.run("pod_ingress", frame(POD, OTHER, syn()))
    node.endpoint(OTHER, 4300, "02:00:00:00:00:77")
    node.node(revision=2)
    done = node.run("pod_ingress", frame(POD, OTHER, data()))
    assert done.packet[Ether].dst == "02:00:00:00:00:77"
    again = node.run("pod_ingress", frame(POD, OTHER, data()))
    assert again.packet[Ether].dst == "02:00:00:00:00:77", "by the flow's copy"


def served(node: Datapath, backends: int, flows: int) -> list[str]:
    """Who of so many backends serves each of some new flows."""
    node.reset()
    node.service(VIP, 80, [(f"10.0.2.{i + 1}", 8080, False) for i in range(backends)])
    packets = [frame(POD, VIP, syn(sport=20000 + i)) for i in range(flows)]
    return [addresses(node.run("pod_ingress", packet).packet)[1] for packet in packets]


@pytest.mark.parametrize("n", [10, 40])
def test_few_flows_move_when_the_parts_become_twice_as_many(node: Datapath, n: int) -> None:
    """A flow's part, as the programs find it, is one of the two that its part becomes."""
    moved = sum(a != b for a, b in zip(served(node, n, 200), served(node, n + 1, 200), strict=True))
    assert moved < 200 * 0.3  # two shares at most; as good as all where the parts do not fit


def test_every_backend_of_several_parts_serves(node: Datapath) -> None:
    assert len(set(served(node, 40, 400))) == 40


def test_the_one_backend_of_a_service_is_found_by_its_slot_or_else_by_the_table(node: Datapath) -> None:
    set_id = node.service(VIP, 80, [(OTHER, 8080, True)])
    (table,) = (key for key, _ in node.tables["maglevs"].items() if key.set_id == set_id)
    node.tables["maglevs"].delete([table])
    done = node.run("pod_ingress", frame(POD, VIP, syn()))
    assert (done.verdict, addresses(done.packet)) == (TC_ACT_REDIRECT, (POD, OTHER))
    moved = node.service(VIP, 81, [])
    node.backends(moved, [(OTHER, 8081, True)], first_slot=5)
    node.tables["services"].update([(abi.ServiceKey(addr(VIP), 81, 6, 0), abi.Service(moved, 0, 1, 1, 0, 0, 0))])
    done = node.run("pod_ingress", frame(POD, VIP, syn(dport=81)))
    assert (done.verdict, done.packet.dport) == (TC_ACT_REDIRECT, 8081)
