"""A packet that finds a copy of its flow goes as the table says, and what ends or changes a flow ends its copies."""

import os
import time
from collections.abc import Iterator

import pytest
from scapy.packet import Packet

from maps import abi, mapio
from maps.abi import DropReason, FlowFlag
from tests.bpf.clock import UNIT_NS, early_in_a_unit
from tests.bpf.cpus import CPUS, OTHER_CPU, OWN_CPU, before_others, on_cpu
from tests.bpf.datapath import (
    OTHER,
    OTHER6,
    OTHER_MAC,
    POD,
    POD6,
    REMOTE,
    VIP,
    VIP6,
    Datapath,
    data,
    datagram,
    frame,
    syn,
)
from tests.bpf.packets import FAMILIES, addresses, answer, ports

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _one_cpu(loaded: Datapath) -> Iterator[None]:  # noqa: ARG001  that takes its time before
    with on_cpu(OWN_CPU), before_others():
        early_in_a_unit()  # some copies hold until it ends
        yield


def established(node: Datapath, pod: str, vip: str, port: int = 40000) -> Packet:
    """Begin a connection, have it answered, and both directions copied; what the backend was handed first."""
    handed = node.run("pod_ingress", frame(pod, vip, syn(sport=port))).packet
    for _ in range(2):
        node.run("pod_egress", answer(handed, OTHER_MAC))
        node.run("pod_ingress", frame(pod, vip, data(sport=port)))
    return handed


def forget(node: Datapath) -> None:
    """Take the entries away behind the programs' back: only copies know the flows now."""
    table = node.tables["flows"]
    table.delete([key for key, _ in table.items()])


@pytest.mark.parametrize(("pod", "vip", "backend"), FAMILIES)
def test_a_copy_serves_both_directions(node: Datapath, pod: str, vip: str, backend: str) -> None:
    node.service(vip, 80, [(backend, 8080, True)])
    handed = established(node, pod, vip)
    forget(node)
    there = node.run("pod_ingress", frame(pod, vip, data()))
    assert (addresses(there.packet), ports(there.packet)) == ((pod, backend), (40000, 8080))
    back = node.run("pod_egress", answer(handed, OTHER_MAC))
    assert (addresses(back.packet), ports(back.packet)) == ((vip, pod), (80, 40000))
    assert node.tables["flows"].count() == 0


@pytest.mark.parametrize(("age", "is_asked"), [(1, True), (5, False), (200, False)])
def test_the_cache_is_asked_where_a_copy_was_made_of_late(node: Datapath, age: int, is_asked: bool) -> None:  # noqa: FBT001
    node.service(VIP6, 80, [(OTHER6, 8080, True)])
    size, possible = abi.MAPS["cache_filters"].value.SIZE, os.cpu_count() or 1
    begun = -1
    for port in range(40000, 40010):  # busy machines take longer than it is of late
        began_ns = time.monotonic_ns()
        established(node, POD6, VIP6, port)
        forget(node)
        # programs' clock is the coarse one: it may still be in the second before
        made_s = ((time.monotonic_ns() >> 30) - age) % 256
        mapio.update(node.objects["tc_pod"].map_fd("cache_filters"), bytes(4), bytes([made_s]) * size * possible, 1)
        node.run("pod_ingress", frame(POD6, VIP6, data(sport=port)))  # the table knows nothing of it: it begins a flow
        begun = node.tables["flows"].count()
        if time.monotonic_ns() - began_ns < UNIT_NS:
            break
        forget(node)
    assert begun == (0 if is_asked else 2)


@pytest.mark.parametrize("flags", ["S", "FA", "R"])
def test_what_begins_or_ends_a_connection_is_the_tables(node: Datapath, flags: str) -> None:
    node.service(VIP, 80, [(OTHER, 8080, True)])
    established(node, POD, VIP)
    forget(node)
    done = node.run("pod_ingress", frame(POD, VIP, data(flags=flags)))
    wanted = (0, DropReason.DROP_STRAY_SEGMENT) if flags == "R" else (2, DropReason.DROP_NONE)
    assert (node.tables["flows"].count(), done.reason) == wanted


def test_another_generation_voids_copies(node: Datapath) -> None:
    node.service(VIP, 53, [(OTHER, 8053, True)], protocol=17)
    for _ in range(3):
        handed = node.run("pod_ingress", frame(POD, VIP, datagram())).packet
        node.run("pod_egress", answer(handed, OTHER_MAC))
    node.service(VIP, 53, [(REMOTE, 8053, False)], protocol=17)
    node.tables["backends"].delete([abi.BackendKey(node.set_ids - 1, 0)])
    node.node(revision=2)
    assert addresses(node.run("pod_ingress", frame(POD, VIP, datagram())).packet) == (POD, REMOTE)


def test_a_reply_is_noted_though_a_copy_knows_the_flow(node: Datapath) -> None:
    for _ in range(3):
        node.run("pod_ingress", frame(POD, OTHER, datagram()))
    node.run("pod_egress", answer(frame(POD, OTHER, datagram()), OTHER_MAC))
    ((_, flow),) = node.tables["flows"].items()
    assert flow.flags & FlowFlag.FLOW_REPLIED


@pytest.mark.skipif(len(CPUS) < 2, reason="one CPU has no other's copies")
def test_a_flow_that_ends_on_one_cpu_ends_on_all(node: Datapath) -> None:
    set_id = node.service(VIP, 80, [(OTHER, 8080, True)])
    with on_cpu(OTHER_CPU):
        established(node, POD, VIP)
    with on_cpu(OWN_CPU):
        handed = established(node, POD, VIP)
        node.run("pod_egress", answer(handed, OTHER_MAC, "R"))
        node.backends(set_id, [(REMOTE, 8080, False)])
        assert addresses(node.run("pod_ingress", frame(POD, VIP, syn())).packet) == (POD, REMOTE)
    with on_cpu(OTHER_CPU):
        assert addresses(node.run("pod_ingress", frame(POD, VIP, data())).packet) == (POD, REMOTE)


def test_more_flows_than_copies_all_keep_their_own_way() -> None:
    node = Datapath.load(constants={"cache_span": 4})
    try:
        node.service(VIP, 80, [(OTHER, 8080, True)])
        node.service(VIP, 81, [(OTHER, 8081, True)])
        found = set()
        for turn in range(4):
            for port in range(40000, 40040):
                packet = syn(sport=port, dport=80 + port % 2) if not turn else data(sport=port, dport=80 + port % 2)
                handed = node.run("pod_ingress", frame(POD, VIP, packet)).packet
                found.add((port, ports(handed)))
                back = node.run("pod_egress", answer(handed, OTHER_MAC)).packet
                assert (addresses(back), ports(back)) == ((VIP, POD), (80 + port % 2, port))
        assert found == {(port, (port, 8080 + port % 2)) for port in range(40000, 40040)}
    finally:
        node.close()


@pytest.mark.skipif(len(CPUS) < 2, reason="the first CPU has room")
def test_a_cpu_without_room_for_copies_asks_the_table() -> None:
    node = Datapath.load(sizes={"flow_caches": 1, "cache_sets": 1, "shortcuts": 1}, constants={"cache_span": 2})
    try:
        node.service(VIP, 80, [(OTHER, 8080, True)])
        with on_cpu(CPUS[-1]):
            established(node, POD, VIP)
            done = node.run("pod_ingress", frame(POD, VIP, data()))
            assert addresses(done.packet) == (POD, OTHER)
            forget(node)
            node.run("pod_ingress", frame(POD, VIP, data()))
            assert node.tables["flows"].count() == 2
    finally:
        node.close()
