"""Laws of compile: what is untouched is identical, and the way to a Cluster does not matter."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.compile import desired as desired_module
from agent.compile import services as services_module
from agent.compile.bgp.bgp import Bgp
from agent.compile.bgp.settings import BgpSettings
from agent.compile.changes import changed
from agent.compile.desired import Desired, desired
from agent.compile.node import node_owner
from agent.compile.records import Owner, OwnerKind
from agent.compile.service import Inputs, ServiceRecords, service_records
from agent.model.address import unmapped
from agent.model.bgp import BgpPeer
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.model.policy import Operator, Requirement, Selector
from agent.model.service import ServicePort
from maps import abi
from tests.agent.compile.objects import (
    FRESH,
    HERE,
    HTTP,
    SETTINGS,
    Object,
    attachment,
    cluster,
    compiled,
    endpoint,
    name,
    piece,
    service,
    shown,
)

NAMES = ("a", "b", "c")
endpoints = st.builds(
    endpoint,
    st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "192.0.2.9"]),
    st.sampled_from([HERE, "elsewhere", ""]),
    ready=st.booleans(),
    terminating=st.booleans(),
)
services = st.builds(
    service,
    st.just("a"),
    st.sampled_from(["10.96.0.1", "10.96.0.2", "10.96.0.1,fd00::1"]),
    ports=st.sampled_from([(HTTP,), (replace(HTTP, node_port=30080),), (HTTP, ServicePort("dns", HTTP.protocol, 53))]),
    internal_local=st.booleans(),
    external_local=st.booleans(),
)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    objects: list[Object] = []
    for text in draw(st.sets(st.sampled_from(NAMES))):
        objects.append(replace(draw(services), name=name(text)))
        if draw(st.booleans()):
            objects.append(piece(text, *draw(st.lists(endpoints, max_size=4))))
    devices = draw(st.sampled_from([(), (Device(2, "eth0", (ip_address("192.0.2.9"),)),)]))
    return cluster(*objects, local=Local(devices, netns_cookie=1), zone=draw(st.sampled_from(["", "z"])))


def walked(way: list[Cluster]) -> Desired:
    now = Desired()
    for step in way:
        now = desired(step, SETTINGS, now)
    return now


@settings(max_examples=150, deadline=None)
@given(st.lists(clusters(), min_size=1, max_size=6))
def test_the_way_to_a_cluster_does_not_matter(way: list[Cluster]) -> None:
    by_steps, at_once = walked(way), desired(way[-1], SETTINGS, FRESH)
    assert shown(by_steps) == shown(at_once)
    assert sorted(by_steps.problems) == sorted(at_once.problems)
    assert by_steps.services.claimants == at_once.services.claimants
    assert by_steps.owners.keys() == at_once.owners.keys()
    assert by_steps.ids.sets.keys() == at_once.ids.sets.keys()


@settings(deadline=None)
@given(st.lists(clusters(), min_size=1, max_size=4))
def test_the_same_cluster_again_gives_the_identical_services(way: list[Cluster]) -> None:
    once = walked(way)
    again = desired(way[-1], SETTINGS, once)
    assert again.services.records is once.services.records
    assert again.owners is once.owners
    assert (again.ids, again.changed) == (once.ids, frozenset())


@settings(deadline=None)
@given(st.lists(clusters(), min_size=1, max_size=6))
def test_no_two_sets_share_an_id_and_every_claim_is_written(way: list[Cluster]) -> None:
    wanted = walked(way)
    every = [one.records for one in wanted.services.records.values()]
    ids = [key for records in every for key in records.of_map("backend_sets")]
    keys = [key for records in every for name in ("services", "service_addrs") for key in records.of_map(name)]
    assert len(ids) == len(set(ids))
    assert len(keys) == len(set(keys))
    assert set(keys) == wanted.services.claimants.keys()


def test_one_services_change_leaves_the_others_identical() -> None:
    objects = [service(text, f"10.96.0.{i}") for i, text in enumerate(NAMES)]
    now = cluster(*objects, piece("a", endpoint("10.0.0.1")), piece("b", endpoint("10.0.0.2")))
    before = desired(now, SETTINGS, FRESH)
    moved = replace(now, slices={**now.slices, name("a"): (piece("a", endpoint("10.0.0.9")),)})
    after = desired(moved, SETTINGS, before)
    assert changed(before.owners, after.owners) == (Owner(OwnerKind.SERVICE, name("a")),)


def test_an_endpoint_without_a_node_is_local_by_its_address() -> None:
    objects = (
        service("a"),
        service("b", "10.96.0.2"),
        piece("a", endpoint("192.0.2.9", "")),
        piece("b", endpoint("10.0.0.1")),
    )
    before = desired(cluster(*objects), SETTINGS, FRESH)
    own = Local((Device(2, "eth0", (ip_address("192.0.2.9"),)),))
    after = desired(replace(before.source, local=own), SETTINGS, before)
    assert shown(before)["10.96.0.1:80/TCP in"] == "192.0.2.9:8080"
    assert shown(after)["10.96.0.1:80/TCP in"] == "192.0.2.9:8080*"
    assert changed(before.services.records, after.services.records) == (name("a"),)


def addresses(wanted: Desired) -> dict[str, list[str]]:
    """The addresses that services' records have, as people read them, by service."""
    found = {}
    for called, one in wanted.services.records.items():
        keys = map(abi.ServiceAddrKey.unpack, one.records.of_map("service_addrs"))
        found[called.name] = sorted(f"{unmapped(key.addr)} {('in', 'out')[key.scope]}" for key in keys)
    return found


def test_every_address_of_a_service_is_known_by_who_may_ask_there() -> None:
    public = {"external_ips": (ip_address("203.0.113.5"),), "load_balancer": (ip_address("fd00:5::5"),)}
    both = service("both", "10.96.0.1,fd00::1", source_ranges=(ip_network("192.0.2.0/24"),), **public)
    headless = service("headless", "", external_ips=public["external_ips"])
    assert addresses(compiled(both, headless)) == {
        "both": ["10.96.0.1 in", "203.0.113.5 out", "fd00:5::5 out", "fd00::1 in"],
        "headless": [],
    }


def test_an_address_that_services_share_is_known_until_the_last_of_them_goes() -> None:
    shared = {"external_ips": (ip_address("203.0.113.5"),)}
    one = service("a", "10.96.0.1", **shared)
    two = service("b", "10.96.0.2", ports=(replace(HTTP, port=81),), **shared)
    now = compiled(one, two)
    assert addresses(now) == {"a": ["10.96.0.1 in", "203.0.113.5 out"], "b": ["10.96.0.2 in"]}
    assert now.problems == ()
    after = desired(replace(now.source, services={two.name: two}), SETTINGS, now)
    assert addresses(after) == {"b": ["10.96.0.2 in", "203.0.113.5 out"]}
    assert addresses(desired(replace(now.source, services={}), SETTINGS, after)) == {}


def test_a_frontend_passes_to_the_next_when_its_service_goes() -> None:
    before = compiled(service("a"), service("b"), piece("b", endpoint("10.0.0.1")))
    after = desired(replace(before.source, services={name("b"): before.source.services[name("b")]}), SETTINGS, before)
    assert shown(after) == {"10.96.0.1:80/TCP in": "10.0.0.1:8080"}
    assert after.problems == ()


def test_a_moved_endpoint_leaves_the_slots_of_the_others() -> None:
    before = compiled(service("a"), piece("a", endpoint("10.0.0.1"), endpoint("10.0.0.2")))
    moved = replace(before.source, slices={name("a"): (piece("a", endpoint("10.0.0.2"), endpoint("10.0.0.3")),)})
    after = desired(moved, SETTINGS, before)
    old, new = (wanted.services.records[name("a")].records.of_map("backends") for wanted in (before, after))
    kept = old.items() & new.items()
    assert [str(abi.Backend.unpack(value).addr.ipv4_mapped) for _, value in kept] == ["10.0.0.2"]
    assert {abi.BackendKey.unpack(key).slot for key in new} == {1, 2}


def test_a_node_without_a_port_to_translate_from_is_told_so_until_it_has_one() -> None:
    taken = compiled(local=Local(netns_cookie=1, port_range=(1024, 65535)))
    (problem,) = taken.problems
    assert (problem.kind, str(problem.name), problem.field) == ("Node", HERE, "net.ipv4.ip_local_port_range")
    assert "leaves no port" in problem.text
    freed = cluster(local=Local(netns_cookie=1, port_range=(32768, 60999)))
    assert desired(freed, SETTINGS, taken).problems == ()


def test_a_node_that_has_not_been_looked_at_yet_is_told_nothing() -> None:
    assert compiled(local=Local(port_range=(1024, 65535))).problems == ()


def test_the_owners_that_changed_are_named() -> None:
    before = compiled(service("a"), service("b", "10.96.0.2"))
    after = desired(replace(before.source, services={name("b"): before.source.services[name("b")]}), SETTINGS, before)
    assert after.changed == {Owner(OwnerKind.SERVICE, name("a"))}
    assert after.owners.keys() == before.owners.keys() - after.changed


@pytest.mark.parametrize("is_on", [False, True], ids=["without policy", "with policy"])
def test_a_pod_that_comes_leaves_the_others_identical(*, is_on: bool) -> None:
    listed = frozenset({"NetworkPolicy", "ClusterNetworkPolicy", "PeerPod"})
    there = tuple(attachment(f"10.0.0.{i}", i, i, netns_cookie=i) for i in range(1, 4))
    now = replace(cluster(local=Local(attachments=there[:2], netns_cookie=1)), listed=listed)
    chosen = replace(SETTINGS, network_policy=is_on)
    before = desired(now, chosen, FRESH)
    after = desired(replace(now, local=Local(attachments=there, netns_cookie=1)), chosen, before)
    came = Owner(OwnerKind.ATTACHMENT, there[2].key)
    assert after.changed == {came}
    assert changed(before.owners, after.owners) == (came,)


def test_a_service_that_cannot_be_compiled_keeps_what_it_had_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = compiled(service("a"), piece("a", endpoint("10.0.0.1")), service("b", "10.96.0.2"))

    def refusing(inputs: Inputs, *rest: Any) -> ServiceRecords:
        if inputs.service.name == name("a"):
            raise ValueError("no way to say this")
        return service_records(inputs, *rest)

    monkeypatch.setattr(services_module, "service_records", refusing)
    both = (piece("a", endpoint("10.0.0.9")), piece("b", endpoint("10.0.0.2")))
    now = replace(before.source, slices={one.service: (one,) for one in both})
    after = desired(now, SETTINGS, before)
    assert shown(after) == {"10.96.0.1:80/TCP in": "10.0.0.1:8080", "10.96.0.2:80/TCP in": "10.0.0.2:8080"}
    assert [str(problem.name) for problem in after.problems] == ["default/a"]
    monkeypatch.undo()
    moved = replace(now, slices={**now.slices, name("a"): (piece("a", endpoint("10.0.0.8")),)})
    assert shown(desired(moved, SETTINGS, after))["10.96.0.1:80/TCP in"] == "10.0.0.8:8080"
    assert desired(moved, SETTINGS, after).problems == ()


def test_services_follow_where_bgp_cannot_be_made_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    speaking = replace(SETTINGS, bgp=BgpSettings(cluster_ips=True))
    given = cluster(service("a"), piece("a", endpoint("10.0.0.1")))
    before = desired(given, speaking, FRESH)

    def refusing(*_: object) -> Bgp:
        raise KeyError(6)

    monkeypatch.setattr(desired_module, "bgp", refusing)
    moved = replace(given, slices={name("a"): (piece("a", endpoint("10.0.0.2")),)})
    after = desired(moved, speaking, before)
    assert shown(after)["10.96.0.1:80/TCP in"] == "10.0.0.2:8080"
    assert after.bgp.router is before.bgp.router
    assert [(one.kind, one.field) for one in after.problems] == [("Node", "--router")]
    assert desired(moved, speaking, after).problems == after.problems
    monkeypatch.undo()
    again = desired(replace(moved, slices={}), speaking, after)
    assert again.problems == ()
    assert again.bgp.router is not None
    assert again.bgp.router.services == ()


def test_a_node_whose_object_is_deleted_keeps_its_ways_to_others() -> None:
    far = Node("far", (ip_address("192.0.2.2"),), (ip_network("10.2.0.0/24"),))
    before = compiled(far)
    after = desired(replace(before.source, nodes={"far": before.source.nodes["far"]}), SETTINGS, before)
    assert after.routes == before.routes
    assert after.context.node == before.context.node


def test_a_cluster_ip_that_the_node_has_itself_is_marked_for_as_long_as_it_has_it() -> None:
    def held(wanted: Desired) -> set[str]:
        packed = (one.records.of_map("services") for one in wanted.services.records.values())
        found = ((abi.ServiceKey.unpack(k), abi.Service.unpack(v)) for map_ in packed for k, v in map_.items())
        return {str(unmapped(key.addr)) for key, one in found if one.flags & abi.ServiceFlag.SERVICE_HELD}

    before = compiled(service("a"), service("b", "10.96.0.2", external_ips=(ip_address("192.0.2.80"),)))
    assert held(before) == set()
    addresses = (ip_address("10.96.0.2"), ip_address("192.0.2.80"))
    local = Local((Device(3, "nodelocaldns", addresses=addresses),), netns_cookie=1)
    now = desired(replace(before.source, local=local), SETTINGS, before)
    assert held(now) == {"10.96.0.2"}
    assert Owner(OwnerKind.SERVICE, name("b")) in now.changed
    assert Owner(OwnerKind.SERVICE, name("a")) not in now.changed
    assert held(desired(before.source, SETTINGS, now)) == set()


def test_a_device_at_which_a_peer_of_bgp_is_has_the_programs_that_serve_what_it_is_told() -> None:
    link = Device(5, "p1", (ip_address("fe80::1"),), (ip_network("fe80::/64"),))
    at_p1 = BgpPeer("right", asn=64600, interface="p1")
    given = replace(cluster(local=Local((link,), netns_cookie=1)), bgp_peers={"right": at_p1})
    assert desired(given, SETTINGS, FRESH).uplinks == ()
    found = desired(given, replace(SETTINGS, bgp=BgpSettings()), FRESH)
    assert found.uplinks == (link,)
    assert abi.UPLINKS.key.pack(5) in found.owners[node_owner(SETTINGS)].of_map("uplinks")
    elsewhere = replace(at_p1, nodes=Selector((Requirement("rack", Operator.IN, frozenset({"r1"})),)))
    after = desired(replace(given, bgp_peers={"right": elsewhere}), replace(SETTINGS, bgp=BgpSettings()), found)
    assert after.uplinks == ()
