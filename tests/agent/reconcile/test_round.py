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
from agent.model.service import Scheduler, WeightOf, Weights
from agent.reconcile.plans import contents
from maps import abi
from maps.apply import read
from maps.errors import MapFull
from tests.agent.compile.objects import HTTP, attachment, cluster, endpoint, name, piece, service
from tests.agent.compile.test_desired import clusters
from tests.agent.reconcile.kernels import MemoryKernel, Stopped, assert_no_packet_meets_a_gap, brought, started

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


def held(kernel: MemoryKernel) -> dict[str, dict[bytes, bytes]]:
    """Every map of owners that holds something, packed."""
    found = {name: read(table) for name, table in kernel.tables.items() if name != "node"}
    return {name: packed for name, packed in found.items() if packed}


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
    rounds = brought(kernel, OLD)
    kernel.fuse.writes.clear()
    brought(kernel, OLD, rounds)
    assert kernel.fuse.writes == []


def test_what_is_referred_to_is_written_before_what_refers_to_it_and_removed_after() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, OLD)
    kernel.fuse.writes.clear()
    brought(kernel, cluster(service("a"), piece("a", TWO, THREE)), rounds)
    assert kernel.fuse.writes == [
        ("backends", "write"),
        ("maglevs", "write"),
        ("service_addrs", "remove"),
        ("services", "remove"),
        ("backend_sets", "remove"),
        ("maglevs", "remove"),
        ("backends", "remove"),
        ("set_revisions", "write"),
        ("node", "write"),
    ]


def deaths(first: Cluster, then: Cluster) -> int:
    """How many writes the step takes, so that an agent can die after each."""
    kernel = MemoryKernel()
    rounds = brought(kernel, first)
    kernel.fuse.writes.clear()
    brought(kernel, then, rounds)
    return len(kernel.fuse.writes)


@pytest.mark.parametrize(("first", "then"), [(OLD, NEW), (NEW, OLD)], ids=["growing", "shrinking"])
@pytest.mark.parametrize("restarted", [False, True], ids=["the same agent goes on", "a new agent goes on"])
def test_no_packet_meets_a_gap_whatever_write_is_the_last(first: Cluster, then: Cluster, *, restarted: bool) -> None:
    for death in range(deaths(first, then)):
        kernel = MemoryKernel()
        rounds = brought(kernel, first)
        kernel.fuse.left = death
        with pytest.raises(Stopped):
            brought(kernel, then, rounds)
        assert_no_packet_meets_a_gap(kernel)
        kernel.fuse.left = None
        brought(kernel, then, None if restarted else rounds)
        assert_no_packet_meets_a_gap(kernel)
        fresh = MemoryKernel()
        brought(fresh, then)
        assert asked(kernel) == asked(fresh)
        assert {name: len(held) for name, held in entries(kernel).items()} == {
            name: len(held) for name, held in entries(fresh).items()
        }


HEAVY = Weights({(WeightOf.NODE, "elsewhere"): 7})
SCHEDULED = {
    "maglev": cluster(service("a"), piece("a", ONE, TWO, THREE)),
    "weighted": cluster(service("a", weights=HEAVY), piece("a", ONE, TWO, THREE)),
    "in turn": cluster(service("a", scheduler=Scheduler.RR), piece("a", ONE, TWO, THREE)),
    "in turn, others": cluster(service("a", scheduler=Scheduler.RR, weights=HEAVY), piece("a", TWO, THREE)),
    "in turn, many": cluster(
        service("a", scheduler=Scheduler.RR), piece("a", *(endpoint(f"10.7.{n >> 8}.{n & 255}") for n in range(600)))
    ),
    "least": cluster(service("a", scheduler=Scheduler.LC), piece("a", ONE, TWO)),
}


@pytest.mark.parametrize("first", SCHEDULED)
@pytest.mark.parametrize("then", SCHEDULED)
def test_a_change_of_scheduler_is_whole_whatever_write_is_the_last(first: str, then: str) -> None:
    for death in range(deaths(SCHEDULED[first], SCHEDULED[then])):
        kernel = MemoryKernel()
        rounds = brought(kernel, SCHEDULED[first])
        kernel.fuse.left = death
        with pytest.raises(Stopped):
            brought(kernel, SCHEDULED[then], rounds)
        assert_no_packet_meets_a_gap(kernel)


@settings(max_examples=60, deadline=None)
@given(clusters(), clusters(), clusters())
def test_any_way_leaves_what_a_fresh_start_would(one: Cluster, two: Cluster, three: Cluster) -> None:
    kernel, fresh = MemoryKernel(), MemoryKernel()
    rounds = brought(kernel, one)
    for step in (two, three):
        brought(kernel, step, rounds)
        assert_no_packet_meets_a_gap(kernel)
    brought(fresh, three)
    assert asked(kernel) == asked(fresh)
    assert contents(rounds.desired.owners.values()) == held(kernel)


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


def test_a_full_map_is_refused_before_the_first_write_with_its_flag() -> None:
    kernel = MemoryKernel(backends=2)
    with pytest.raises(MapFull, match="backends is full: 2 entries, 3 wanted; raise --max-backends"):
        brought(kernel, cluster(service(), piece("web", ONE, TWO, THREE)))
    assert kernel.fuse.writes == [(name, "write") for name in ("endpoints", "prefixes", "kept_ports", "node")]


def test_a_service_that_does_not_fit_keeps_what_it_had_and_stops_no_other() -> None:
    kernel = MemoryKernel(backends=2)
    rounds = brought(kernel, cluster(service("a"), piece("a", ONE), service("b", "10.96.0.2")))
    wanted = cluster(service("a"), piece("a", ONE, TWO, THREE), service("b", "10.96.0.2"), piece("b", TWO))
    with pytest.raises(MapFull, match="backends is full: 2 entries, 4 wanted"):
        brought(kernel, wanted, rounds)
    assert {str(b.addr.ipv4_mapped) for b in kernel.held("backends").values()} == {"10.0.0.1", "10.0.0.2"}
    assert_no_packet_meets_a_gap(kernel)
    brought(kernel, cluster(service("b", "10.96.0.2"), piece("b", ONE, TWO)), rounds)
    assert len(kernel.held("backends")) == 2


def test_after_a_refusal_what_fits_is_written() -> None:
    kernel = MemoryKernel(backends=2)
    rounds = started(kernel)
    with pytest.raises(MapFull):
        brought(kernel, cluster(service(), piece("web", ONE, TWO, THREE)), rounds)
    brought(kernel, cluster(service(), piece("web", ONE, TWO)), rounds)
    assert len(kernel.held("backends")) == 2


def test_the_count_of_entries_stays_right_as_a_frontend_passes_on() -> None:
    kernel = MemoryKernel(services=2)
    rounds = brought(kernel, cluster(service("b"), service("c", "10.96.0.3")))
    for _ in range(5):
        brought(kernel, cluster(service("a"), service("c", "10.96.0.3")), rounds)
        brought(kernel, cluster(service("b"), service("c", "10.96.0.3")), rounds)
    assert len(kernel.held("services")) == 2


def test_a_resync_repairs_what_somebody_else_changed_and_counts_it() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster(service(), piece("web", ONE), local=Local(attachments=(attachment(),))))
    before = entries(kernel)
    kernel.tables["backends"].delete(list(kernel.held("backends")))
    kernel.tables["services"].update([(abi.ServiceKey(IPv6Address(5), 1, 6, 0), abi.Service(9, 0, 1, 1, 0, 0, 0))])
    kernel.tables["endpoints"].delete(list(kernel.held("endpoints"))[:1])
    assert sum(rounds.resync()) == 4  # the third raises the revision
    assert entries(kernel) == before


def test_a_resync_of_untouched_maps_counts_nothing() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, OLD)
    assert sum(rounds.resync()) == 0


def test_what_the_programs_count_is_no_drift_and_is_kept() -> None:
    kernel = MemoryKernel()
    slow = replace(attachment(), ingress_limit=Limit(8000, 8000))
    rounds = brought(kernel, cluster(local=Local(attachments=(slow,), netns_cookie=1)))
    ((slot, record),) = kernel.written("limits").items()
    counted = replace(record, ingress=replace(record.ingress, at_ns=4711))
    kernel.tables["limits"].update([(slot, counted)])
    assert sum(rounds.resync()) == 0
    brought(kernel, cluster(local=Local(attachments=(slow,), netns_cookie=1)))  # another agent
    assert kernel.written("limits") == {slow.slot: counted}
    kernel.tables["limits"].update([(slot, replace(counted, ingress=abi.Limit(1, 1, 1)))])
    assert sum(rounds.resync()) == 1
    assert kernel.written("limits") == {slow.slot: record}


def test_a_limit_is_there_before_its_pods_addresses_and_goes_with_the_pod() -> None:
    kernel = MemoryKernel()
    slow = replace(attachment(), egress_limit=Limit(8000, 8000))
    rounds = brought(kernel, cluster(local=Local(netns_cookie=1)))
    kernel.fuse.writes.clear()
    rounds.attach(slow)
    rounds.serve([slow.key])
    assert [name for name, _ in kernel.fuse.writes] == [
        "pod_classes",
        "limits",
        "pod_policies",
        "attachments",
        "endpoints",
        "pod_netns",
        "node",
    ]
    assert kernel.node.flags & abi.NodeFlag.NODE_LIMITS
    rounds.detach(slow)
    rounds.serve([slow.key])
    assert kernel.written("limits") == {}
    assert not kernel.node.flags & abi.NodeFlag.NODE_LIMITS


def test_before_the_sync_a_detached_pod_goes_and_others_stay() -> None:
    kernel = MemoryKernel()
    pods = attachment(), attachment("10.0.0.6", 8, 13, netns_cookie=4343)
    brought(kernel, cluster(local=Local(attachments=pods, netns_cookie=1)))
    rounds = started(kernel, attachments=pods)
    rounds.detach(pods[0])
    rounds.serve([pods[0].key])
    for _ in rounds.round(cluster(synced=False)):
        pass
    here = {str(address.ipv4_mapped) for address in kernel.held("endpoints") if not address.is_link_local}
    assert here == {"10.0.0.6", "192.0.2.1"}
    assert len(kernel.held("pod_netns")) == 1


def test_before_the_node_is_known_its_record_stays() -> None:
    kernel = MemoryKernel()
    brought(kernel, cluster())
    brought(kernel, replace(cluster(synced=False), nodes={}))
    assert str(kernel.node.addr4.ipv4_mapped) == "192.0.2.1"


def test_hooks_and_routes_follow() -> None:
    kernel = MemoryKernel()
    far = Node("far", (ip_address("192.0.2.2"),), (ip_network("10.2.0.0/24"),))
    uplink = Device(2, "eth0", (ip_address("192.0.2.1"),))
    brought(kernel, cluster(far, local=Local((uplink, Device(1, "lo")), netns_cookie=1)))
    assert kernel.uplinks.last == (uplink,)
    assert [str(route.gateway) for route in kernel.routes.last] == ["192.0.2.2"]


def test_a_part_that_is_as_wanted_is_left_alone_until_a_resync() -> None:
    kernel = MemoryKernel()
    rounds = brought(kernel, cluster())
    brought(kernel, cluster(), rounds)
    assert len(kernel.uplinks.applied) == 1
    rounds.parts.resync()
    brought(kernel, cluster(), rounds)
    assert (len(kernel.uplinks.applied), kernel.uplinks.resyncs) == (2, 1)


def test_a_part_that_waits_after_a_failure_looks_again_at_once_when_something_of_it_went() -> None:
    kernel = MemoryKernel()
    kernel.routes.refusal = Stopped("one is out of reach")
    rounds, same = started(kernel), cluster()
    tries = []
    for is_taken in (False, False, True, False):
        if is_taken:
            rounds.parts.resync(watched=True)
        for _ in rounds.round(same):
            pass
        (routes,) = (one for one in rounds.parts.status if one.name == "routes")
        tries.append(routes.failures)
    assert tries == [1, 1, 2, 2], "its back-off is over with what somebody took, and not before"


def test_a_part_that_fails_stops_no_other_and_is_named() -> None:
    kernel = MemoryKernel()
    kernel.pods.refusal = Stopped("no programs")
    rounds = started(kernel)
    for _ in rounds.round(cluster(service())):
        pass
    assert len(kernel.held("services")) == 1
    assert kernel.routes.applied
    assert [(one.name, one.error, one.failures) for one in rounds.parts.status if one.error] == [
        ("pod programs", "no programs", 1)
    ]
    assert [str(error) for error in rounds.parts.errors(vital=True)] == ["no programs"]


def test_ids_of_services_that_left_while_no_agent_ran_are_dropped() -> None:
    kernel = MemoryKernel()
    brought(kernel, OLD)
    rounds = brought(kernel, cluster(service("a"), piece("a", ONE, TWO)))
    assert rounds.desired.ids.sets.keys() == {"default/a:http/TCP/IPv4/all"}
    assert rounds.desired.services.records.keys() == {name("a")}
