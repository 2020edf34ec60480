"""Where the end fits, the way there is found, and no packet on it meets half of a service."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.reconcile.plans import contents
from agent.reconcile.round import Rounds
from maps.apply import read
from maps.errors import MapFull
from tests.agent.compile.objects import attachment, cluster, endpoint, piece, service
from tests.agent.compile.test_desired import clusters
from tests.agent.reconcile.kernels import MemoryKernel, Stopped, assert_no_packet_meets_a_gap, brought

NAMES = "abcde"
SERVICES = [service(name, f"10.96.0.{at}") for at, name in enumerate(NAMES, 1)]


def served_by(network: int, each: int = 4) -> Cluster:
    """Five services, all of whose endpoints are in one network."""
    ends = [piece(n, *(endpoint(f"10.{network}.{at}.{i}") for i in range(each))) for at, n in enumerate(NAMES)]
    return cluster(*SERVICES, *ends)


OF_SERVICES = ("services", "backend_sets", "maglevs", "backends")


def sizes(kernel: MemoryKernel) -> dict[str, int]:
    return {name: len(kernel.held(name)) for name in OF_SERVICES}


def least_room(*ends: Cluster) -> dict[str, int]:
    """The smallest maps in which each of the Clusters fits alone."""
    found = []
    for each in ends:
        kernel = MemoryKernel()
        brought(kernel, each)
        found.append(sizes(kernel))
    return {name: max(1, *(held[name] for held in found)) for name in OF_SERVICES}


def assert_holds(kernel: MemoryKernel, rounds: Rounds) -> None:
    found = {name: read(table) for name, table in kernel.tables.items() if name != "node"}
    assert contents(rounds.desired.owners.values()) == {name: packed for name, packed in found.items() if packed}


def test_with_room_for_one_beside_the_others_all_endpoints_are_replaced_and_every_service_stays() -> None:
    kernel = MemoryKernel(backends=5 * 4 + 4)
    rounds = brought(kernel, served_by(1))
    for _ in rounds.round(served_by(2)):
        assert_no_packet_meets_a_gap(kernel)
        assert len(kernel.held("services")) == len(NAMES)
    assert_holds(kernel, rounds)


def test_with_no_room_at_all_one_service_at_a_time_makes_it() -> None:
    kernel = MemoryKernel(backends=5 * 4)
    rounds = brought(kernel, served_by(1))
    fewest = len(NAMES)
    for _ in rounds.round(served_by(2)):
        assert_no_packet_meets_a_gap(kernel)
        fewest = min(fewest, len(kernel.held("services")))
    assert fewest == len(NAMES) - 1
    assert_holds(kernel, rounds)


def test_what_leaves_makes_room_for_what_comes() -> None:
    kernel = MemoryKernel(backends=8, services=2, maglevs=2, backend_sets=2)
    ends = [endpoint(f"10.0.0.{i}") for i in range(16)]
    rounds = brought(kernel, cluster(*SERVICES[:2], piece("a", *ends[:4]), piece("b", *ends[4:8])))
    brought(kernel, cluster(*SERVICES[2:4], piece("c", *ends[8:12]), piece("d", *ends[12:])), rounds)
    assert_holds(kernel, rounds)


def test_services_that_do_not_fit_in_the_end_keep_what_they_have_whole() -> None:
    kernel = MemoryKernel(backends=5 * 4 + 3)
    rounds = brought(kernel, served_by(1))
    kernel.fuse.writes.clear()
    with pytest.raises(MapFull, match="backends is full: 23 entries, 25 wanted; raise --max-backends"):
        brought(kernel, served_by(2, each=5), rounds)
    assert_no_packet_meets_a_gap(kernel)
    sets = [key.set_id for key in kernel.held("backends")]
    assert sorted(sets.count(set_id) for set_id in set(sets)) == [4, 4, 5, 5, 5]


@settings(max_examples=100, deadline=None)
@given(clusters(), clusters())
def test_any_step_fits_where_both_ends_fit(one: Cluster, two: Cluster) -> None:
    kernel = MemoryKernel(**least_room(one, two))
    rounds = brought(kernel, one)
    for _ in rounds.round(two):
        assert_no_packet_meets_a_gap(kernel)
    assert_holds(kernel, rounds)


@pytest.mark.parametrize("spare", [0, 4], ids=["no room", "room for one service"])
def test_an_agent_that_dies_in_a_turn_is_followed_by_one_that_ends_it(spare: int) -> None:
    for death in range(100):
        kernel = MemoryKernel(backends=5 * 4 + spare)
        rounds = brought(kernel, served_by(1))
        kernel.fuse.left = death
        try:
            brought(kernel, served_by(2), rounds)
        except Stopped:
            assert_no_packet_meets_a_gap(kernel)
            kernel.fuse.left = None
            assert_holds(kernel, brought(kernel, served_by(2)))
        else:
            assert death > len(NAMES)
            return
    pytest.fail("it never ends")


def test_frontends_that_are_handed_on_stay_whole_in_tight_maps() -> None:
    first = cluster(service("b"), piece("b", endpoint("10.0.0.1")), SERVICES[2], piece("c", endpoint("10.0.0.3")))
    then = cluster(service("a"), piece("a", endpoint("10.0.0.2")), SERVICES[2], piece("c", endpoint("10.0.0.4")))
    kernel = MemoryKernel(**least_room(first, then))
    rounds = brought(kernel, first)
    for _ in rounds.round(then):
        assert_no_packet_meets_a_gap(kernel)
    assert_holds(kernel, rounds)


def test_pods_that_leave_make_room_for_pods_that_come() -> None:
    kernel = MemoryKernel(endpoints=3, pod_netns=1)
    pods = [attachment("10.0.0.5"), replace(attachment("10.0.0.6", 8, 13), netns_cookie=4343, container_id="other")]
    rounds = brought(kernel, cluster(local=Local(attachments=(pods[0],), netns_cookie=1)))
    brought(kernel, cluster(local=Local(attachments=(pods[1],), netns_cookie=1)), rounds)
    assert {value.slot for value in kernel.held("endpoints").values() if value.slot} == {8}
    assert {value.ifindex for value in kernel.written("attachments").values()} == {13}
