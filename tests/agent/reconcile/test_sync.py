"""The maps follow the Cluster, whatever happens on the way."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings

from agent.model.attachment import Limit
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.reconcile.order import WRITES, contents
from agent.reconcile.sync import Settings, Sync
from maps import abi
from maps.apply import read
from maps.errors import MapFull
from tests.agent.compile.objects import HERE, HTTP, attachment, cluster, endpoint, name, piece, service
from tests.agent.compile.test_desired import clusters
from tests.agent.reconcile.kernels import MemoryKernel, Stopped, assert_no_packet_meets_a_gap, brought

ONE, TWO, THREE = (endpoint(f"10.0.0.{i}") for i in (1, 2, 3))
NODE_PORT = replace(HTTP, node_port=30080)
OLD = cluster(service("a"), piece("a", ONE, TWO), service("b", "10.96.0.2"), piece("b", ONE), service("e", "10.96.0.5"))
NEW = cluster(
    service("a", ports=(NODE_PORT,)),
    piece("a", TWO, THREE),
    service("c", "10.96.0.2"),
    piece("c", THREE),
    service("d", "10.96.0.4"),
    piece("d", *(endpoint(f"10.9.{i >> 8}.{i & 255}") for i in range(600))),
    service("e", "10.96.0.5"),
    piece("e", ONE),
)


def entries(kernel: MemoryKernel) -> dict[str, dict[Any, Any]]:
    return {name: kernel.held(name) for name in ("services", "backend_sets", "maglevs", "backends", "endpoints")}


def asked(kernel: MemoryKernel) -> dict[abi.ServiceKey, object]:
    """What clients see, without ids."""
    backends = kernel.held("backends")
    ends: dict[int, set[object]] = {}
    for key, backend in backends.items():
        ends.setdefault(key.set_id, set()).add((backend.addr, backend.port, backend.flags))
    return {
        key: (service.backends, service.flags, ends.get(service.set_id))
        for key, service in kernel.held("services").items()
    }


def test_a_second_round_writes_nothing() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, OLD)
    kernel.fuse.writes.clear()
    brought(kernel, OLD, sync)
    assert kernel.fuse.writes == []


def test_what_is_referred_to_is_written_before_what_refers_to_it_and_removed_after() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, OLD)
    kernel.fuse.writes.clear()
    brought(kernel, cluster(service("a"), piece("a", TWO, THREE)), sync)
    assert kernel.fuse.writes == [
        ("backends", "write"),
        ("maglevs", "write"),
        ("services", "remove"),
        ("maglevs", "remove"),
        ("backends", "remove"),
        ("backend_sets", "remove"),
        ("node", "write"),
    ]


def deaths(first: Cluster, then: Cluster) -> int:
    """How many writes the step takes, so that an agent can die after each."""
    kernel = MemoryKernel()
    sync = brought(kernel, first)
    kernel.fuse.writes.clear()
    brought(kernel, then, sync)
    return len(kernel.fuse.writes)


@pytest.mark.parametrize(("first", "then"), [(OLD, NEW), (NEW, OLD)], ids=["growing", "shrinking"])
@pytest.mark.parametrize("restarted", [False, True], ids=["the same agent goes on", "a new agent goes on"])
def test_no_packet_meets_a_gap_whatever_write_is_the_last(first: Cluster, then: Cluster, *, restarted: bool) -> None:
    for death in range(deaths(first, then)):
        kernel = MemoryKernel()
        sync = brought(kernel, first)
        kernel.fuse.left = death
        with pytest.raises(Stopped):
            brought(kernel, then, sync)
        assert_no_packet_meets_a_gap(kernel)
        kernel.fuse.left = None
        brought(kernel, then, None if restarted else sync)
        assert_no_packet_meets_a_gap(kernel)
        fresh = MemoryKernel()
        brought(fresh, then)
        assert asked(kernel) == asked(fresh)
        assert {name: len(held) for name, held in entries(kernel).items()} == {
            name: len(held) for name, held in entries(fresh).items()
        }


@settings(max_examples=60, deadline=None)
@given(clusters(), clusters(), clusters())
def test_any_way_leaves_what_a_fresh_start_would(one: Cluster, two: Cluster, three: Cluster) -> None:
    kernel, fresh = MemoryKernel(), MemoryKernel()
    sync = brought(kernel, one)
    for step in (two, three):
        brought(kernel, step, sync)
        assert_no_packet_meets_a_gap(kernel)
    brought(fresh, three)
    assert asked(kernel) == asked(fresh)
    assert sync.compiled is not None
    assert contents(sync.compiled.services) == {name: read(getattr(kernel.tables, name)) for name in WRITES}


def test_before_every_source_has_synced_nothing_is_pruned() -> None:
    kernel = MemoryKernel()
    brought(kernel, OLD)
    before = entries(kernel)
    brought(kernel, cluster(synced=False))
    assert entries(kernel) == before


def test_a_restart_adopts_ids_and_writes_only_the_generation() -> None:
    kernel = MemoryKernel()
    brought(kernel, OLD)
    kernel.fuse.writes.clear()
    brought(kernel, OLD)
    assert kernel.fuse.writes == [("node", "write")]


def test_the_generation_rises_when_a_backend_leaves_and_not_when_one_comes() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, cluster(service(), piece("web", ONE)))
    first = kernel.node.generation
    brought(kernel, cluster(service(), piece("web", ONE, TWO)), sync)
    assert kernel.node.generation == first
    brought(kernel, cluster(service(), piece("web", TWO)), sync)
    assert kernel.node.generation == first + 1


def test_the_generation_rises_when_a_pod_comes_or_goes() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, cluster())
    first = kernel.node.generation
    brought(kernel, cluster(local=Local(attachments=(attachment(),), netns_cookie=1)), sync)
    assert (kernel.node.generation, kernel.pods) == (first + 1, {12: "swp0123456789"})
    brought(kernel, cluster(), sync)
    assert kernel.node.generation == first + 2


def test_pods_are_settled_one_by_one_and_what_they_left_is_forgotten() -> None:
    kernel = MemoryKernel()
    pods = attachment(), attachment("10.0.0.6", 8, 13, netns_cookie=4343)
    sync = brought(kernel, cluster(local=Local(attachments=pods, netns_cookie=1)))
    seen = []
    while sync.is_unsettled:
        sync.settle()
        seen.append(list(kernel.settled))
    assert (seen, kernel.forgotten) == ([[12], [12, 13]], 0)
    brought(kernel, cluster(local=Local(attachments=pods[:1], netns_cookie=1)), sync)
    assert sync.is_unsettled
    sync.settle()
    assert (sync.is_unsettled, kernel.settled, kernel.forgotten) == (False, [12, 13], 1)


def test_a_pod_that_add_has_guarded_is_not_looked_at_again_before_the_sweep() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, cluster())
    sync.attach(attachment())
    sync.pods()
    assert kernel.pods == {}
    assert sum(sync.sweep()) == 0
    sync.pods()
    assert kernel.pods == {12: "swp0123456789"}


def test_a_pod_attached_while_a_backend_leaves_does_not_take_its_generation() -> None:
    kernel = MemoryKernel()
    many = [endpoint(f"10.9.{i >> 8}.{i & 255}") for i in range(1200)]
    sync = brought(kernel, cluster(service(), piece("web", *many)))
    sync.offer(cluster(service(), piece("web", ONE)))
    generations = []
    for turn, _ in enumerate(sync.services()):
        sync.overlay.attach(attachment(f"10.0.1.{turn}", 100 + turn))
        sync.here()
        generations.append(kernel.node.generation)
    sync.here()
    assert kernel.node.generation == generations[-1] + 1


def test_a_full_map_is_refused_before_the_first_write_with_its_flag() -> None:
    kernel = MemoryKernel(backends=2)
    with pytest.raises(MapFull, match="backends is full: 2 entries, 3 wanted; raise --max-backends"):
        brought(kernel, cluster(service(), piece("web", ONE, TWO, THREE)))
    assert kernel.fuse.writes == []


def test_after_a_refusal_what_fits_is_written() -> None:
    kernel = MemoryKernel(backends=2)
    sync = Sync(kernel, Settings(HERE))
    with pytest.raises(MapFull):
        brought(kernel, cluster(service(), piece("web", ONE, TWO, THREE)), sync)
    brought(kernel, cluster(service(), piece("web", ONE, TWO)), sync)
    assert len(kernel.held("backends")) == 2


def test_the_count_of_entries_stays_right_as_a_frontend_passes_on() -> None:
    kernel = MemoryKernel(services=2)
    sync = brought(kernel, cluster(service("b"), service("c", "10.96.0.3")))
    for _ in range(5):
        brought(kernel, cluster(service("a"), service("c", "10.96.0.3")), sync)
        brought(kernel, cluster(service("b"), service("c", "10.96.0.3")), sync)
    assert len(kernel.held("services")) == 2


def test_a_sweep_puts_right_what_someone_else_changed_and_counts_it() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, cluster(service(), piece("web", ONE), local=Local(attachments=(attachment(),))))
    before = entries(kernel)
    kernel.tables.backends.delete(list(kernel.held("backends")))
    kernel.tables.services.update([(abi.ServiceKey(IPv6Address(5), 1, 6, 0), abi.Service(9, 0, 1, 1, 0))])
    kernel.tables.endpoints.delete(list(kernel.held("endpoints"))[:1])
    assert sum(sync.sweep()) == 4  # the third raises the generation
    assert entries(kernel) == before


def test_a_sweep_of_untouched_maps_counts_nothing() -> None:
    kernel = MemoryKernel()
    sync = brought(kernel, OLD)
    assert sum(sync.sweep()) == 0


def test_what_the_programs_count_is_no_drift_and_is_kept() -> None:
    kernel = MemoryKernel()
    slow = replace(attachment(), ingress_limit=Limit(8000, 8000))
    sync = brought(kernel, cluster(local=Local(attachments=(slow,), netns_cookie=1)))
    ((ifindex, record),) = kernel.held("limits").items()
    counted = replace(record, ingress=replace(record.ingress, at_ns=4711))
    kernel.tables.limits.update([(ifindex, counted)])
    assert sum(sync.sweep()) == 0
    brought(kernel, sync.cluster, Sync(kernel, Settings(HERE)))  # another agent
    assert kernel.held("limits") == {slow.link.ifindex: counted}
    kernel.tables.limits.update([(ifindex, replace(counted, ingress=abi.Limit(1, 1, 1)))])
    assert sum(sync.sweep()) == 1
    assert kernel.held("limits") == {slow.link.ifindex: record}


def test_a_limit_is_there_before_its_pods_addresses_and_goes_with_the_pod() -> None:
    kernel = MemoryKernel()
    slow = replace(attachment(), egress_limit=Limit(8000, 8000))
    sync = brought(kernel, cluster(local=Local(netns_cookie=1)))
    kernel.fuse.writes.clear()
    sync.overlay.attach(slow)
    sync.here()
    assert [name for name, _ in kernel.fuse.writes] == ["limits", "endpoints", "pod_netns", "node"]
    assert kernel.node.flags & abi.NodeFlag.NODE_LIMITS
    sync.overlay.detach(slow)
    sync.here()
    assert kernel.held("limits") == {}
    assert not kernel.node.flags & abi.NodeFlag.NODE_LIMITS


def test_before_the_sync_a_detached_pod_goes_and_others_stay() -> None:
    kernel = MemoryKernel()
    pods = attachment(), attachment("10.0.0.6", 8, 13, netns_cookie=4343)
    brought(kernel, cluster(local=Local(attachments=pods, netns_cookie=1)))
    sync = Sync(kernel, Settings(HERE))
    sync.offer(cluster(synced=False, local=Local(attachments=pods, netns_cookie=1)))
    sync.overlay.detach(pods[0])
    sync.here()
    assert {str(address.ipv4_mapped) for address in kernel.held("endpoints")} == {"10.0.0.6", "192.0.2.1"}
    assert len(kernel.held("pod_netns")) == 1


def test_before_the_node_is_known_its_record_stays() -> None:
    kernel = MemoryKernel()
    brought(kernel, cluster())
    sync = Sync(kernel, Settings(HERE))
    sync.offer(replace(cluster(synced=False), nodes={}))
    sync.here()
    assert str(kernel.node.addr4.ipv4_mapped) == "192.0.2.1"


def test_hooks_and_routes_follow() -> None:
    kernel = MemoryKernel()
    far = Node("far", (ip_address("192.0.2.2"),), (ip_network("10.2.0.0/24"),))
    uplink = Device(2, "eth0", (ip_address("192.0.2.1"),))
    brought(kernel, cluster(far, local=Local((uplink, Device(1, "lo")), netns_cookie=1)))
    assert kernel.uplinks == (uplink,)
    assert [str(route.gateway) for route in kernel.routes] == ["192.0.2.2"]


def test_ids_of_services_that_left_while_no_agent_ran_are_dropped() -> None:
    kernel = MemoryKernel()
    brought(kernel, OLD)
    sync = brought(kernel, cluster(service("a"), piece("a", ONE, TWO)))
    assert sync.compiled is not None
    assert sync.compiled.ids.sets.keys() == {"default/a:http/TCP/IPv4/all"}
    assert sync.compiled.services.keys() == {name("a")}
