"""What a flow rested on has changed: UDP and what opens a connection look again, a connection that lives goes on."""

import time
from collections.abc import Iterator

import pytest
from scapy.packet import Packet

from maps import abi
from maps.abi import DropReason, NodeFlag
from tests.behaviours import shows
from tests.bpf.clock import UNIT_NS, early_in_a_unit
from tests.bpf.cpus import OWN_CPU, before_others, on_cpu
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
    REMOTE,
    REMOTE6,
    TC_ACT_REDIRECT,
    VIP,
    VIP6,
    Datapath,
    addr,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import FAMILIES, addresses, answer, ports
from tests.bpf.test_cache import forget
from tests.bpf.test_gc import age

pytestmark = pytest.mark.kernel

TCP, UDP = 6, 17
KINDS = [pytest.param(UDP, datagram(dport=53), id="UDP"), pytest.param(TCP, syn(dport=53), id="SYN again")]
# a node's own address and a client of it, by the pod's family
NODES = {POD: NODE, POD6: NODE6}
REMOTES = {POD: REMOTE, POD6: REMOTE6}
CLIENTS = {POD: CLIENT, POD6: CLIENT6}


@pytest.fixture(autouse=True)
def _one_cpu(loaded: Datapath) -> Iterator[None]:  # noqa: ARG001  that takes its time before
    with on_cpu(OWN_CPU), before_others():
        early_in_a_unit()  # some copies hold until it ends
        yield


def withdrawn(node: Datapath, vip: str, port: int, protocol: int, scope: abi.Scope) -> None:
    """A service's address goes, as the agent takes it away; its set stays."""
    node.tables["services"].delete([abi.ServiceKey(addr(vip), port, protocol, scope)])
    node.node(revision=2)


@pytest.mark.parametrize("flags", [NodeFlag(0), NodeFlag.NODE_MASQUERADE], ids=["plain", "masqueraded"])
@pytest.mark.parametrize(("protocol", "l4"), KINDS)
@shows("69 a client earlier than its service", pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES))
def test_a_client_that_is_earlier_than_its_service_reaches_it(
    node: Datapath, pod: str, vip: str, backend: str, protocol: int, l4: Packet, flags: NodeFlag
) -> None:
    node.node(flags=flags)
    for _ in range(3):
        assert addresses(node.run("pod_ingress", frame(pod, vip, l4)).packet)[1] == vip
    node.service(vip, 53, [(backend, 8053, True)], protocol=protocol)
    node.node(revision=2, flags=flags)
    for _ in range(3):
        handed = node.run("pod_ingress", frame(pod, vip, l4)).packet
        assert (addresses(handed), ports(handed)) == ((pod, backend), (40000, 8053))
        back = node.run("pod_egress", answer(handed, OTHER_MAC)).packet
        assert (addresses(back), ports(back)) == ((vip, pod), (53, 40000))
    assert node.tables["flows"].count() == 2, "nothing is left of the early flow"


@pytest.mark.parametrize(("protocol", "l4"), KINDS)
@pytest.mark.parametrize(("pod", "vip"), [(POD, VIP), (POD6, VIP6)], ids=["IPv4", "IPv6"])
def test_a_node_that_is_earlier_than_a_service_reaches_it(
    node: Datapath, pod: str, vip: str, protocol: int, l4: Packet
) -> None:
    here, elsewhere = NODES[pod], REMOTES[pod]
    l4 = l4.copy()
    l4.sport = 31000  # of the NodePort range, so that the node's own flow is kept
    node.run("uplink_egress", frame(here, vip, l4))
    assert node.tables["flows"].count() == 1
    node.service(vip, 53, [(elsewhere, 8053, False)], protocol=protocol)
    node.node(revision=2)
    done = node.run("uplink_egress", frame(here, vip, l4))
    assert (addresses(done.packet), ports(done.packet)[1]) == ((here, elsewhere), 8053)


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_a_service_that_goes_serves_no_udp_flow_any_more(node: Datapath, pod: str, vip: str, backend: str) -> None:
    node.service(vip, 53, [(backend, 8053, True)], protocol=UDP)
    for _ in range(3):
        assert addresses(node.run("pod_ingress", frame(pod, vip, datagram())).packet) == (pod, backend)
    withdrawn(node, vip, 53, UDP, abi.Scope.SCOPE_INTERNAL)
    assert addresses(node.run("pod_ingress", frame(pod, vip, datagram())).packet) == (pod, vip)


@shows("35 the old node port serves nobody", pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES))
def test_a_node_port_that_goes_serves_no_client_outside_any_more(
    node: Datapath, pod: str, vip: str, backend: str
) -> None:
    client = CLIENTS[pod]
    node.service(vip, 53, [(backend, 8053, True)], protocol=UDP, scope=abi.Scope.SCOPE_EXTERNAL)
    for _ in range(3):
        done = node.run("uplink_ingress", frame(client, vip, datagram()))
        assert addresses(done.packet) == (client, backend)
    withdrawn(node, vip, 53, UDP, abi.Scope.SCOPE_EXTERNAL)
    assert addresses(node.run("uplink_ingress", frame(client, vip, datagram())).packet) == (client, vip)


@shows("135 a connection outlives its Service", pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES))
def test_a_connection_outlives_its_service(node: Datapath, pod: str, vip: str, backend: str) -> None:
    node.service(vip, 80, [(backend, 8080, True)])
    handed = node.run("pod_ingress", frame(pod, vip, syn())).packet
    node.run("pod_egress", answer(handed, OTHER_MAC))
    withdrawn(node, vip, 80, TCP, abi.Scope.SCOPE_INTERNAL)
    for _ in range(3):
        assert addresses(node.run("pod_ingress", frame(pod, vip, data())).packet) == (pod, backend)


@shows("9 a service is made again", pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES))
def test_a_service_that_is_made_again_gets_udp_clients_of_the_old_one(
    node: Datapath, pod: str, vip: str, backend: str
) -> None:
    old = node.service(vip, 53, [(backend, 8053, True)], protocol=UDP)
    for _ in range(3):
        node.run("pod_ingress", frame(pod, vip, datagram()))
    node.service(vip, 53, [(REMOTES[pod], 8054, False)], protocol=UDP)
    assert old != node.set_ids
    node.node(revision=2)
    done = node.run("pod_ingress", frame(pod, vip, datagram()))
    assert (addresses(done.packet)[1], ports(done.packet)[1]) == (REMOTES[pod], 8054)


def lost_backend(node: Datapath, set_id: int, address: str) -> None:
    """A set's only backend goes and another is there; flows to the set are told."""
    node.tables["backends"].delete([abi.BackendKey(set_id, 0)])
    node.backends(set_id, [(address, 8053, address in {OTHER, OTHER6})], first_slot=1)
    revisions = node.tables["set_revisions"]
    index = set_id % revisions.max_entries
    before = revisions.get(index)
    assert before
    revisions.update([(index, abi.SetRevision(before.number + 1))])


@shows("67 a UDP flow moves when its backend goes", pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES))
def test_a_backend_that_leaves_concerns_its_own_sets_flows_alone(
    node: Datapath, pod: str, vip: str, backend: str
) -> None:
    for loses, keeps in ((53, 54), (55, 56), (57, 58), (59, 60)):  # busy machines take longer than a unit
        ids = {port: node.service(vip, port, [(backend, 8053, True)], protocol=UDP) for port in (loses, keeps)}
        unit = early_in_a_unit()  # some copies hold until it ends
        for _ in range(3):
            for port in ids:
                handed = node.run("pod_ingress", frame(pod, vip, datagram(dport=port))).packet
                node.run("pod_egress", answer(handed, OTHER_MAC))
        lost_backend(node, ids[loses], REMOTES[pod])
        left = node.run("pod_ingress", frame(pod, vip, datagram(dport=loses))).packet
        assert addresses(left)[1] == REMOTES[pod]
        forget(node)
        stays = node.run("pod_ingress", frame(pod, vip, datagram(dport=keeps))).packet
        assert addresses(stays)[1] == backend
        if time.monotonic_ns() // UNIT_NS == unit:
            break
    assert node.tables["flows"].count() == 0, "its copy holds"


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_a_connection_stays_with_a_backend_that_leaves_and_is_copied_again(
    node: Datapath, pod: str, vip: str, backend: str
) -> None:
    set_id = node.service(vip, 80, [(backend, 8080, True)])
    handed = node.run("pod_ingress", frame(pod, vip, syn())).packet
    node.run("pod_egress", answer(handed, OTHER_MAC))
    lost_backend(node, set_id, REMOTES[pod])
    early_in_a_unit()
    assert addresses(node.run("pod_ingress", frame(pod, vip, data())).packet) == (pod, backend)
    forget(node)
    assert addresses(node.run("pod_ingress", frame(pod, vip, data())).packet) == (pod, backend)
    age(node, 2)
    assert addresses(node.run("pod_ingress", frame(pod, vip, syn())).packet)[1] == REMOTES[pod], "one that opens"


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_what_opens_a_connection_again_meets_who_answers_just_now(
    node: Datapath, pod: str, vip: str, backend: str
) -> None:
    """Both ends send again at the same moment: two backends' answers would be one connection's."""
    set_id = node.service(vip, 80, [(backend, 8080, True)])
    handed = node.run("pod_ingress", frame(pod, vip, syn())).packet
    lost_backend(node, set_id, REMOTES[pod])
    early_in_a_unit()  # just now is this one and the next
    node.run("pod_egress", answer(handed, OTHER_MAC))
    assert addresses(node.run("pod_ingress", frame(pod, vip, syn())).packet)[1] == backend
    age(node, 2)
    assert addresses(node.run("pod_ingress", frame(pod, vip, syn())).packet)[1] == REMOTES[pod]


@pytest.fixture
def moved(node: Datapath) -> Iterator[Datapath]:
    """What has changed of the pods' attachments is put back."""
    slots = {slot: node.tables["attachments"].get(slot) for slot in node.slots.values()}
    yield node
    node.tables["attachments"].update(slots.items())


def reuse(node: Datapath, device: int, ifindex: int, mac: str) -> None:
    """Another attachment has the slot of the one behind a device; nothing else is told."""
    other = abi.Attachment(ifindex, 4711, 99, bytes.fromhex(mac.replace(":", "")), 0, 0)
    node.tables["attachments"].update([(node.slot(device), other)])


@pytest.mark.parametrize("packets", [1, 3], ids=["an entry", "a copy"])
@shows("144 a slot that is used again", pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES))
def test_who_gets_a_slot_gets_no_packets_of_who_had_it(
    moved: Datapath, pod: str, vip: str, backend: str, packets: int
) -> None:
    assert vip
    for _ in range(packets):
        handed = moved.run("pod_ingress", frame(pod, backend, syn() if _ == 0 else data())).packet
        moved.run("pod_egress", answer(handed, OTHER_MAC))
    moved.tables["endpoints"].delete([addr(backend)])
    reuse(moved, OTHER_POD_DEVICE, 4300, "02:00:00:00:00:77")
    done = moved.run("pod_ingress", frame(pod, backend, data()))
    assert done.verdict != TC_ACT_REDIRECT
    assert done.packet.dst != "02:00:00:00:00:77"


@pytest.mark.parametrize("packets", [1, 3], ids=["an entry", "a copy"])
@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_who_gets_a_slot_may_not_send_as_who_had_it(
    moved: Datapath, pod: str, vip: str, backend: str, packets: int
) -> None:
    assert vip
    for _ in range(packets):
        handed = moved.run("pod_ingress", frame(pod, backend, syn() if _ == 0 else data())).packet
        moved.run("pod_egress", answer(handed, OTHER_MAC))
    moved.tables["endpoints"].delete([addr(pod)])
    reuse(moved, LOOPBACK, LOOPBACK, "02:00:00:00:00:01")
    assert moved.run("pod_ingress", frame(pod, backend, data())).reason is DropReason.DROP_SOURCE_ADDRESS
