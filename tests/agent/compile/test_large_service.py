"""A change costs what it touches: endpoints are gone through once for all ports that share them, and no other Service.

The thread that works it out brings pods and policies to the maps as well: it would keep all others waiting.
"""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest

from agent.compile.backend_set import SLOTS, BackendSet
from agent.compile.desired import Desired, desired
from agent.compile.leaving import EXCLUDED
from agent.compile.records import Owner, OwnerKind, Records
from agent.compile.service import PORTS_APART
from agent.compile.settings import Settings
from agent.model.address import Family, mapped
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.model.service import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Protocol,
    Scheduler,
    ServicePort,
    endpoint_slice,
)
from agent.options.choices import L2Announce
from agent.reconcile.plans import Plan, Stages, contents, plan
from maps import abi, maglev
from tests.agent.compile.objects import FRESH, HERE, SETTINGS, Object, cluster, endpoint, name, piece, service
from tests.agent.compile.test_large_policy import lines_of

MANY = PORTS_APART + 1
WEB = Owner(OwnerKind.SERVICE, name("web"))
UPLINK = Device(2, "eth0", (ip_address("192.0.2.1"),), mac=b"\2\0\0\0\0\1")


def ports(count: int) -> tuple[ServicePort, ...]:
    return tuple(ServicePort(f"p{at}", Protocol.TCP, 1000 + at) for at in range(count))


def ends(count: int, first: int = 0, **fields: Any) -> list[Endpoint]:
    return [endpoint(str(IPv4Address(0x0A010000 + at)), **fields) for at in range(first, first + count)]


def part(which: range, given: list[Endpoint], suffix: str = "1", base: int = 8000) -> EndpointSlice:
    """A slice of "web" with the ports of these numbers."""
    found = tuple(EndpointPort(f"p{at}", Protocol.TCP, base + at) for at in which)
    return endpoint_slice(name(f"web-{suffix}"), name("web"), found, Family.IPV4, given)


def changed(before: Cluster, *slices: EndpointSlice) -> Cluster:
    return replace(before, slices={**before.slices, slices[0].service: slices})


def sets(found: Desired) -> Mapping[str, BackendSet]:
    return found.services.records[name("web")].sets


def filled(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The keys of the tables that are filled from now on."""
    found: list[bytes] = []

    def note(keys: bytes, slots: bytes, weights: bytes = b"") -> bytes:
        found.append(keys)
        return right(keys, slots, weights)

    right = maglev.filled
    monkeypatch.setattr(maglev, "filled", note)
    return found


@pytest.mark.parametrize("scheduler", [Scheduler.MAGLEV, Scheduler.RR, Scheduler.LC])
@pytest.mark.parametrize("mixed", [False, True], ids=["one number a port", "two numbers a port"])
@pytest.mark.parametrize("local", [False, True], ids=["all endpoints", "and those of this node"])
def test_endpoints_are_gone_through_once_for_all_ports_that_share_them(
    scheduler: Scheduler,
    mixed: bool,  # noqa: FBT001
    local: bool,  # noqa: FBT001
) -> None:
    """Ports differ in numbers alone: a slice of named ports' pods has its own."""

    def work(count: int, endpoints: int) -> int:
        web = service(
            ports=ports(count), scheduler=scheduler, external_ips=(ip_address("203.0.113.1"),), external_local=local
        )
        others = (part(range(count), ends(9, 5000, node=HERE), "2", 9000),) if mixed else ()
        before = desired(cluster(web, part(range(count), ends(endpoints, node=HERE)), *others), SETTINGS, FRESH)
        after = changed(before.source, part(range(count), ends(endpoints, 1, node=HERE)), *others)
        return lines_of(lambda: desired(after, SETTINGS, before))

    few, many = (work(4 * MANY, endpoints) - work(MANY, endpoints) for endpoints in (50, 400))
    assert many < 1.5 * few


def test_tables_are_filled_once_for_ports_that_share_their_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    found = filled(monkeypatch)
    web = service(ports=ports(MANY))
    made = desired(cluster(web, part(range(MANY), ends(30))), SETTINGS, FRESH)
    assert len(found) == 1
    assert len({id(one.records[-1][2]) for one in sets(made).values()}) == 1
    two = replace(web, ports=(*web.ports, ServicePort("other", Protocol.TCP, 80)))
    other = piece("web", *ends(30, 50), suffix="2", port_name="other")
    desired(cluster(two, part(range(MANY), ends(30)), other), SETTINGS, made)
    assert len(found) == 2, "what is as before is not filled again"


def test_ports_with_other_endpoints_have_other_tables() -> None:
    web = service(ports=ports(MANY))
    made = desired(cluster(web, part(range(3), ends(30)), part(range(3, MANY), ends(29), "2")), SETTINGS, FRESH)
    assert len({one.records[-1][2] for one in sets(made).values()}) == 2


@pytest.mark.parametrize("count", [1, PORTS_APART])
def test_who_serves_a_flow_of_a_service_of_few_ports_follows_from_address_and_port(count: int) -> None:
    """As on nodes of earlier releases, which may get the next packet of a flow from outside."""
    made = desired(cluster(service(ports=ports(count)), part(range(count), ends(30))), SETTINGS, FRESH)
    assert len(sets(made)) == count
    for at, one in enumerate(sets(made).values()):
        names = [(mapped(IPv4Address(0x0A010000 + end)), 8000 + at) for end in range(30)]
        assert one.records[-1][2] == b"".join(maglev.tables(names, range(30)))


def test_backends_of_one_address_are_told_apart_alike_on_every_node() -> None:
    """By its address alone one would be told from the other by its slot, which is each node's own."""
    web, slices = service(ports=ports(MANY)), [part(range(MANY), ends(3)), part(range(MANY), ends(3), "2", 9000)]
    made = desired(cluster(web, *slices), SETTINGS, FRESH)
    names = [(mapped(IPv4Address(0x0A010000 + end)), rank) for end in range(3) for rank in range(2)]
    expected = b"".join(maglev.tables(names, range(6)))
    assert {one.records[-1][2] for one in sets(made).values()} == {expected}
    # an endpoint that nobody is sent to: its port's number is the least
    unready = part(range(MANY), ends(1, 9, ready=False, serving=False), "3", 7000)
    after = changed(made.source, *slices, unready)
    tables = [[one.records[-1][2] for one in sets(desired(after, SETTINGS, old)).values()] for old in (made, FRESH)]
    assert tables[0] == tables[1]


def planned(before: Desired, after: Desired) -> Plan:
    old, new = {WEB: before.owners[WEB]}, {WEB: after.owners[WEB]}
    held = {map_name: len(packed) for map_name, packed in contents(old.values()).items()}
    (found,) = Stages(old, new, held, dict.fromkeys(abi.MAPS, 1 << 20))
    return found


def test_ports_whose_endpoints_stay_keep_their_records_as_they_are() -> None:
    web = service(ports=ports(6))
    stays = part(range(3), ends(200), "1")
    before = desired(cluster(web, stays, part(range(3, 6), ends(200), "2")), SETTINGS, FRESH)
    after = desired(changed(before.source, stays, part(range(3, 6), ends(200, 1), "2")), SETTINGS, before)
    kept = [
        before_set is after_set
        for before_set, after_set in zip(sets(before).values(), sets(after).values(), strict=True)
    ]
    assert kept == [True] * 3 + [False] * 3
    whole, found = plan(contents([before.owners[WEB]]), contents([after.owners[WEB]])), planned(before, after)
    assert found.keys() == whole.keys()
    for of, one in whole.items():
        assert replace(found[of], remove=()) == replace(one, remove=())
        assert {*found[of].remove} == {*one.remove}


def test_one_endpoint_of_very_many_has_few_others_compared() -> None:
    web = service(ports=ports(MANY))
    before = desired(cluster(web, part(range(MANY), ends(1000))), SETTINGS, FRESH)
    after = desired(changed(before.source, part(range(MANY), ends(1000, 1))), SETTINGS, before)
    found = planned(before, after)["backends"]
    assert (len(found.write), len(found.remove)) == (MANY, MANY)
    compared = after.owners[WEB].but(before.owners[WEB]).of_map("backends")
    assert len(compared) <= 2 * SLOTS * MANY


def small(count: int, **fields: Any) -> Cluster:
    objects: list[Object] = []
    for at in range(count):
        text = f"s{at}"
        address = (IPv4Address(0xCB007100 + at),)
        objects += [service(text, str(IPv4Address(0x0A600000 + at)), external_ips=address, **fields)]
        objects += [piece(text, *ends(2, 2 * at))]
    local = Local((UPLINK,), netns_cookie=1)
    return replace(cluster(*objects, local=local), announcers=frozenset({HERE, "elsewhere"}))


@pytest.mark.parametrize("local", [False, True], ids=["all endpoints", "those of each node"])
@pytest.mark.parametrize("told", L2Announce)
def test_an_endpoint_of_one_service_costs_the_same_beside_very_many_others(told: L2Announce, local: bool) -> None:  # noqa: FBT001
    settings = Settings(HERE, l2_announce=told)

    def work(count: int) -> int:
        before = desired(small(count, external_local=local), settings, FRESH)
        after = changed(before.source, piece("s7", *ends(2, 14, ready=False), *ends(1, 5000)))
        return lines_of(lambda: desired(after, settings, before))

    assert work(1600) < 1.1 * work(200)


def test_an_address_moves_with_the_endpoints_of_a_local_service() -> None:
    settings = Settings(HERE, l2_announce=L2Announce.EXTERNAL)
    before = desired(small(2, external_local=True), settings, FRESH)
    for node in (HERE, "elsewhere", HERE):
        after = desired(changed(before.source, piece("s0", *ends(1, node=node))), settings, before)
        found = {str(one.address) for one in after.announced}
        assert ("203.0.113.0" in found) is (node == HERE)
        before = after


def test_endpoints_of_a_node_that_is_left_out_say_nothing_of_where_an_address_is() -> None:
    settings = Settings(HERE, l2_announce=L2Announce.EXTERNAL)
    given, left_out = small(8, external_local=True), Node("elsewhere", labels=((EXCLUDED, ""),))
    before = desired(replace(given, nodes={**given.nodes, "elsewhere": left_out}), settings, FRESH)
    ending = endpoint("10.1.9.2", "third", ready=False, serving=True, terminating=True)
    announcers = frozenset({HERE, "elsewhere", "third"})
    before = desired(replace(before.source, announcers=announcers), settings, before)
    for ends_of_all in ([ending], [], [ending]):
        slices = {of: (piece(of.name, *ends(1), *ends_of_all),) for of in given.services}
        after = desired(replace(before.source, slices=slices), settings, before)
        assert after.announced == desired(after.source, settings, FRESH).announced
        assert bool(after.announced) is not bool(ends_of_all)
        before = after


def test_records_in_several_parts_are_those_in_one() -> None:
    keys = [abi.BackendKey(1, slot).pack() for slot in range(4)]
    values = [bytes([slot]) * abi.Backend.SIZE for slot in range(4)]
    whole = Records([("backends", b"".join(keys), b"".join(values))])
    parts = Records([("backends", key, value) for key, value in zip(keys, values, strict=True)])
    assert whole == parts
    assert hash(whole) == hash(parts)
    assert parts.raw("backends") == whole.raw("backends")
    assert [*parts.counts()] == [("backends", 4)]
    assert parts.of_map("backends") == whole.of_map("backends")
    other = Records([("backends", keys[0], values[0]), ("backends", keys[1], values[0])])
    assert [*parts.but(other).of_map("backends")] == keys[1:]
    assert whole != other
