"""Changes from any source, in any order, become one Cluster."""

import random
from dataclasses import replace
from ipaddress import ip_address
from itertools import count
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.address import Family, mapped_octets
from agent.model.cluster import Cluster
from agent.model.local import Local
from agent.model.name import ObjectName, Problem
from agent.model.node import Namespace, Node, Pod
from agent.model.policy import PeerPod
from agent.model.service import EndpointSlice, EndpointState, Service
from agent.watch.decode.endpoint_slice import ENDPOINT_SLICE
from agent.watch.decode.kind import Decoded, Kind, Value
from agent.watch.decode.namespace import NAMESPACE
from agent.watch.decode.node import NODE
from agent.watch.decode.peer_pod import PEER_POD
from agent.watch.decode.pod import POD
from agent.watch.decode.service import SERVICE
from agent.watch.mirror import Mirror


def name(text: str) -> ObjectName:
    return ObjectName("default", text)


def service(text: str, affinity_s: int = 0) -> Decoded:
    return Decoded(SERVICE, name(text), Service(name(text), affinity_s=affinity_s))


def piece(text: str, of: str, address: str = "10.1.0.2") -> Decoded:
    value = EndpointSlice(name(text), name(of), Family.IPV4, (), mapped_octets(ip_address(address)), (EndpointState(),))
    return Decoded(ENDPOINT_SLICE, name(text), value)


def peer(text: str) -> Decoded:
    return Decoded(PEER_POD, name(text), PeerPod(name(text)))


def gone(decoded: Decoded) -> Decoded:
    return Decoded(decoded.kind, decoded.name, None)


def mirror(*expected: Kind) -> tuple[Mirror, list[Cluster]]:
    seen: list[Cluster] = []
    return Mirror(seen.append, expected), seen


def test_slices_stand_under_their_service_by_name() -> None:
    found, _ = mirror()
    b, a, c = piece("b", "web"), piece("a", "web"), piece("c", "dns")
    found.change([b, a, c])
    assert found.cluster.slices == {name("web"): (a.value, b.value), name("dns"): (c.value,)}


def test_a_slice_that_changes_its_service_leaves_the_old_one() -> None:
    found, _ = mirror()
    found.change([piece("a", "web")])
    found.change([piece("a", "dns")])
    assert list(found.cluster.slices) == [name("dns")]


def test_what_is_not_listed_again_is_gone() -> None:
    found, _ = mirror()
    found.replace(SERVICE, [service("a"), service("b")])
    found.replace(SERVICE, [service("b"), service("c")])
    assert set(found.cluster.services) == {name("b"), name("c")}


def test_cluster_scoped_objects_stand_under_plain_names() -> None:
    found, _ = mirror()
    node, namespace = Node("n1"), Namespace("web")
    found.change([Decoded(NODE, ObjectName("", "n1"), node)])
    found.change([Decoded(NAMESPACE, ObjectName("", "web"), namespace)])
    assert (found.cluster.nodes, found.cluster.namespaces) == ({"n1": node}, {"web": namespace})


def test_what_says_nothing_new_makes_no_cluster() -> None:
    found, seen = mirror()
    found.replace(SERVICE, [service("a")])
    found.change([service("a")])
    found.change([gone(service("b"))])
    found.replace(SERVICE, [service("a")])
    assert len(seen) == 1


def test_what_did_not_change_is_the_identical_value() -> None:
    found, _ = mirror()
    found.change([service("a"), service("b"), piece("x", "a")])
    before = found.cluster
    found.replace(SERVICE, [service("a"), service("b", affinity_s=9)])
    after = found.cluster
    assert after.slices is before.slices
    assert after.services[name("a")] is before.services[name("a")]
    assert after.services[name("b")] != before.services[name("b")]


def test_a_cluster_once_given_never_changes() -> None:
    found, seen = mirror()
    found.change([service("a")])
    found.change([gone(service("a"))])
    assert [list(cluster.services) for cluster in seen] == [[name("a")], []]


def test_problems_come_and_go_with_their_object() -> None:
    found, seen = mirror()
    problem = Problem("Service", name("a"), "spec.ports", "holds no usable port")
    found.change([Decoded(SERVICE, name("a"), None, (problem,))])
    found.change([service("a")])
    assert [cluster.problems for cluster in seen] == [(problem,), ()]
    assert [list(cluster.services) for cluster in seen] == [[], [name("a")]]


def test_a_sources_own_problems_are_the_clusters() -> None:
    found, seen = mirror()
    problem = Problem("File", name("x.yaml"), "", "no YAML")
    found.report("manifests", (problem,))
    found.report("manifests", (problem,))
    assert [cluster.problems for cluster in seen] == [(problem,)]


def test_a_kind_is_listed_with_its_first_whole_list_until_it_is_forgotten() -> None:
    found, seen = mirror()
    found.change([peer("a")])
    assert found.cluster.listed == frozenset()
    found.replace(PEER_POD, [peer("a"), peer("b")])
    found.replace(NODE, [])
    found.forget(PEER_POD)
    assert [(set(cluster.listed), len(cluster.peers)) for cluster in seen] == [
        (set(), 1),
        ({"PeerPod"}, 2),
        ({"PeerPod", "Node"}, 2),
        ({"Node"}, 0),  # at once: peers that are watched no more are never taken for all there are
    ]


def test_two_kinds_that_read_the_same_objects_are_kept_apart() -> None:
    found, _ = mirror()
    found.change([Decoded(POD, name("a"), Pod(name("a"))), peer("a"), peer("b")])
    found.replace(POD, [])
    assert (dict(found.cluster.pods), set(found.cluster.peers)) == ({}, {name("a"), name("b")})


def test_a_problem_that_two_kinds_find_in_one_object_is_told_once_and_as_long_as_one_does() -> None:
    found, _ = mirror()
    problem = Problem("Pod", name("a"), "status.podIPs[0].ip", "is no address")
    found.change([Decoded(POD, name("a"), None, (problem,)), Decoded(PEER_POD, name("a"), None, (problem,))])
    assert found.cluster.problems == (problem,)
    found.forget(PEER_POD)
    assert found.cluster.problems == (problem,)
    found.forget(POD)
    assert not found.cluster.problems


def test_synced_means_that_every_first_list_and_the_node_itself_have_come() -> None:
    found, seen = mirror(SERVICE, NODE)
    found.replace(SERVICE, [])
    found.replace(NODE, [])
    assert not found.cluster.synced
    found.set_local(Local(netns_cookie=7))
    assert (found.cluster.synced, seen[-1].synced) == (True, True)


changes = st.lists(
    st.one_of(
        st.builds(service, st.sampled_from("abc"), st.integers(0, 2)),
        st.builds(piece, st.sampled_from("xyz"), st.sampled_from("ab"), st.sampled_from(["10.1.0.2", "10.1.0.3"])),
        st.builds(lambda text: gone(service(text)), st.sampled_from("abc")),
        st.builds(lambda text: gone(piece(text, "a")), st.sampled_from("xyz")),
    ),
    max_size=20,
)


@given(changes, st.randoms(use_true_random=False), st.lists(st.integers(1, 3), min_size=20, max_size=20))
def test_any_order_of_different_objects_and_any_doubling_gives_the_same_cluster(
    found: list[Decoded], order: random.Random, times: list[int]
) -> None:
    plain, _ = mirror()
    plain.change(found)
    queues: dict[tuple[Kind, ObjectName], list[Decoded]] = {}
    for decoded, repeat in zip(found, times, strict=False):
        queues.setdefault((decoded.kind, decoded.name), []).extend([decoded] * repeat)
    other, _ = mirror()
    while queues:
        key = order.choice(list(queues))
        other.change([queues[key].pop(0)])
        if not queues[key]:
            del queues[key]
    assert other.cluster == plain.cluster


@given(changes)
def test_a_list_is_worth_the_changes_that_led_to_it(found: list[Decoded]) -> None:
    followed, _ = mirror()
    followed.change(found)
    last: dict[tuple[Kind, ObjectName], Decoded] = {(d.kind, d.name): d for d in found}
    fresh, _ = mirror()
    fresh.change([service("a", 9), piece("x", "c")])
    for kind in (SERVICE, ENDPOINT_SLICE):
        fresh.replace(kind, [d for d in last.values() if d.kind is kind])
    assert replace(fresh.cluster, listed=frozenset()) == followed.cluster


@pytest.mark.parametrize("services", [10_000])
def test_one_slice_among_many_services_costs_a_fraction_of_them_all(services: int) -> None:
    found, _ = mirror()
    found.replace(SERVICE, [service(str(n)) for n in range(services)])
    every = [piece(str(n), str(n)) for n in range(services)]
    start = thread_time()
    found.replace(ENDPOINT_SLICE, every)
    of_all = thread_time() - start
    costs = []
    for n in count():
        change = piece("7", "7", f"10.1.1.{n}")
        start = thread_time()
        found.change([change])
        costs.append(thread_time() - start)
        if n == 50:
            break
    values: list[Value] = [value for group in found.cluster.slices.values() for value in group]
    assert len(values) == services
    assert min(costs) < of_all / 20
