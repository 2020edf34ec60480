"""Who is given which address: laws for any pools and Services, and the rules one by one."""

import json
from dataclasses import replace
from ipaddress import ip_address
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.ipam.lb_pool import Allocation, View, allocate, may_share, total
from agent.model.address import Address, family
from agent.model.lb_pool import LbService, LoadBalancerPool
from agent.model.name import ObjectName
from agent.model.node import Namespace
from agent.watch.decode.lb_pool import LOAD_BALANCER_POOL
from agent.watch.decode.lb_service import LB_SERVICE
from tests.agent.ipam.lb_world import DECODER, Object, named, namespace, pool, service

KEY, IPS = "sluiceway.io/lb-sharing-key", "sluiceway.io/lb-ips"


def read_pool(found: Object) -> LoadBalancerPool:
    value = DECODER.decode(LOAD_BALANCER_POOL, json.dumps(found).encode()).value
    assert isinstance(value, LoadBalancerPool)
    return value


def read(found: Object) -> LbService:
    value = DECODER.decode(LB_SERVICE, json.dumps(found).encode()).value
    assert isinstance(value, LbService)
    return value


def view(pools: list[Object], services: list[Object], **more: Any) -> View:
    """Services are as old as their place in the list says."""
    made = [replace(read(one), created=f"{at:04d}") for at, one in enumerate(services)]
    read_pools = map(read_pool, pools)
    return View({one.name: one for one in read_pools}, {one.name: one for one in made}, **more)


def held(name: str, *addresses: str, is_ours: bool = True, **spec: Any) -> Object:
    found = service(name, **spec)
    found["status"] = {
        "loadBalancer": {"ingress": [{"ip": one} for one in addresses]},
        "conditions": [{"type": "sluiceway.io/LoadBalancerAddress", "status": "True"}] if is_ours else [],
    }
    return found


def given_to(found: Allocation) -> dict[str, list[str]]:
    return {name.name: [str(one) for one in addresses] for name, addresses in found.given.items()}


POOLS = [pool("a", "198.51.100.1-198.51.100.2"), pool("b", "2001:db8::1-2001:db8::2")]
SHARED: dict[str, Any] = {"annotations": {KEY: "k"}}


@pytest.mark.parametrize(
    ("pools", "services", "wanted"),
    [
        pytest.param(POOLS, [service("s")], {"s": ["198.51.100.1"]}, id="the lowest that is free"),
        pytest.param(
            POOLS,
            [service("s", ipFamilies=["IPv6", "IPv4"], ipFamilyPolicy="PreferDualStack")],
            {"s": ["2001:db8::1", "198.51.100.1"]},
            id="one of each family, in the Service's order",
        ),
        pytest.param(
            POOLS[:1],
            [service("s", ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="PreferDualStack")],
            {"s": ["198.51.100.1"]},
            id="one family, where the other is preferred and there is none",
        ),
        pytest.param(
            POOLS[:1],
            [service("s", ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack"), service("t")],
            {"s": [], "t": ["198.51.100.1"]},
            id="none, where both are required and one is not there",
        ),
        pytest.param(
            POOLS,
            [service("s"), held("t", "198.51.100.1")],
            {"s": ["198.51.100.2"], "t": ["198.51.100.1"]},
            id="what is held stays, also for one that is younger",
        ),
        pytest.param(
            POOLS,
            [held("s", "198.51.100.2"), held("t", "198.51.100.2")],
            {"s": ["198.51.100.2"], "t": ["198.51.100.1"]},
            id="what two hold stays with the older",
        ),
        pytest.param(
            POOLS,
            [held("s", "192.0.2.7")],
            {"s": ["192.0.2.7"]},
            id="what is held stays when its pool goes",
        ),
        pytest.param(POOLS, [held("s", "192.0.2.7", is_ours=False)], {}, id="another balancer's Service is its own"),
        pytest.param(
            POOLS,
            [held("s", "198.51.100.2", is_ours=False)],
            {"s": ["198.51.100.2"]},
            id="what an earlier allocator gave of the pool is adopted",
        ),
        pytest.param(
            POOLS,
            [held("s", "198.51.100.1", is_ours=False, loadBalancerClass="x.io/y"), service("t")],
            {"t": ["198.51.100.2"]},
            id="what another class's Service has is given to nobody",
        ),
        pytest.param(
            POOLS,
            [held("s", "198.51.100.1", type="ClusterIP"), service("t")],
            {"s": [], "t": ["198.51.100.2"]},
            id="what is to be given back is nobody else's before it is",
        ),
        pytest.param(
            POOLS,
            [service("s", externalIPs=["198.51.100.1"], type="ClusterIP"), service("t")],
            {"t": ["198.51.100.2"]},
            id="an external address is given to nobody",
        ),
        pytest.param(
            POOLS,
            [service("s", externalIPs=["198.51.100.1"], type="ClusterIP"), held("t", "198.51.100.1")],
            {"t": ["198.51.100.1"]},
            id="an external address takes nobody's away",
        ),
        pytest.param(
            POOLS,
            [service("s", annotations={IPS: "198.51.100.2, 2001:db8::2"}, ipFamilies=["IPv4", "IPv6"])],
            {"s": ["198.51.100.2", "2001:db8::2"]},
            id="what is asked for by annotation, of both families",
        ),
        pytest.param(
            POOLS,
            [service("s", annotations={IPS: "198.51.100.2"}, loadBalancerIP="198.51.100.1")],
            {"s": ["198.51.100.2"]},
            id="the annotation goes before the field",
        ),
        pytest.param(
            POOLS,
            [held("s", "198.51.100.1", loadBalancerIP="198.51.100.2"), service("t")],
            {"s": ["198.51.100.2"], "t": []},
            id="one that asks for another gives up what it has, which is nobody's before its status says so",
        ),
        pytest.param(
            POOLS,
            [held("s", "198.51.100.1", loadBalancerIP="192.0.2.9")],
            {"s": ["198.51.100.1"]},
            id="one that asks for what it cannot have keeps what it has",
        ),
        pytest.param(
            POOLS,
            [service("s", annotations={IPS: "198.51.100.2 or so"})],
            {"s": []},
            id="one that asks for what cannot be read gets nothing else",
        ),
        pytest.param(
            POOLS,
            [service("s", **SHARED), service("t", ports=[{"port": 443}], **SHARED)],
            {"s": ["198.51.100.1"], "t": ["198.51.100.1"]},
            id="two of a key whose ports differ share",
        ),
        pytest.param(
            POOLS,
            [service("s", **SHARED), service("t", ports=[{"port": 80, "protocol": "UDP"}], **SHARED)],
            {"s": ["198.51.100.1"], "t": ["198.51.100.1"]},
            id="the same port of two protocols is two",
        ),
        pytest.param(
            POOLS,
            [service("s", **SHARED), service("t", **SHARED)],
            {"s": ["198.51.100.1"], "t": ["198.51.100.2"]},
            id="two of a key with the same port do not share",
        ),
        pytest.param(
            POOLS,
            [service("s", **SHARED), service("t", "other", ports=[{"port": 443}], **SHARED)],
            {"s": ["198.51.100.1"], "t": ["198.51.100.2"]},
            id="nobody shares with another namespace",
        ),
        pytest.param(
            POOLS,
            [
                service("s", externalTrafficPolicy="Local", selector={"app": "x"}, **SHARED),
                service("t", externalTrafficPolicy="Local", selector={"app": "y"}, ports=[{"port": 443}], **SHARED),
            ],
            {"s": ["198.51.100.1"], "t": ["198.51.100.2"]},
            id="Local Services of other pods do not share, for no node may have both",
        ),
        pytest.param(
            POOLS,
            [service("s", loadBalancerIP="198.51.100.2"), service("t", loadBalancerIP="198.51.100.2", **SHARED)],
            {"s": ["198.51.100.2"], "t": []},
            id="who does not say that it shares is shared with by nobody",
        ),
        pytest.param(
            [pool("a", "198.51.100.1", disabled=True), pool("b", "198.51.100.9")],
            [service("s"), held("t", "198.51.100.1")],
            {"s": ["198.51.100.9"], "t": ["198.51.100.1"]},
            id="a disabled pool gives nothing, and takes nothing back",
        ),
        pytest.param(
            [pool("a", "198.51.100.1", serviceSelector={"matchLabels": {"tier": "edge"}}), pool("b", "198.51.100.9")],
            [service("s"), service("t", labels={"tier": "edge"})],
            {"s": ["198.51.100.9"], "t": ["198.51.100.1"]},
            id="a pool is for the Services that it selects",
        ),
        pytest.param(
            [pool("a", "198.51.100.1", serviceSelector={"matchLabels": {"tier": "edge"}})],
            [service("s", loadBalancerIP="198.51.100.1")],
            {"s": []},
            id="asking for an address does not pass its pool's selector by",
        ),
        pytest.param(
            [pool("a", "198.51.100.1", namespaceSelector={"matchLabels": {"team": "x"}})],
            [service("s"), service("t", "theirs")],
            {"s": [], "t": ["198.51.100.1"]},
            id="a pool is for the namespaces that it selects",
        ),
        pytest.param(
            [pool("a", "198.51.100.1", serviceSelector={"matchNames": ["x"]})],
            [service("s")],
            {"s": []},
            id="a selector that cannot be read selects nothing",
        ),
        pytest.param(
            [{"metadata": {"name": "a"}, "spec": {"cidrs": ["198.51.100.8/30", "2001:db8::/126"]}}],
            [*(service(f"s{at}") for at in range(3)), service("t", ipFamilies=["IPv6"])],
            {"s0": ["198.51.100.9"], "s1": ["198.51.100.10"], "s2": [], "t": ["2001:db8::1"]},
            id="a network's own address and its broadcast are left out",
        ),
        pytest.param(
            [{"metadata": {"name": "a"}, "spec": {"cidrs": ["198.51.100.8/32"]}}],
            [service("s")],
            {"s": ["198.51.100.8"]},
            id="a single address is one",
        ),
    ],
)
def test_services_are_given(pools: list[Object], services: list[Object], wanted: dict[str, list[str]]) -> None:
    namespaces = {**namespace("default"), **namespace("theirs", team="x"), **namespace("other")}
    assert given_to(allocate(view(pools, services, namespaces=namespaces))) == wanted


def test_a_namespace_that_is_not_known_is_selected_by_nothing_but_everything() -> None:
    negative = {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}
    found = view([pool("a", "198.51.100.1", namespaceSelector=negative)], [service("s")])
    assert given_to(allocate(found)) == {"s": []}


def test_an_address_of_a_node_is_given_to_nobody() -> None:
    taken = frozenset({ip_address("198.51.100.1")})
    assert given_to(allocate(view(POOLS, [service("s")], taken=taken))) == {"s": ["198.51.100.2"]}


def test_what_was_written_is_as_if_it_had_been_seen() -> None:
    written: dict[ObjectName, tuple[Address, ...]] = {named("t"): (ip_address("198.51.100.1"),)}
    found = allocate(view(POOLS, [service("s"), service("t")], written=written))
    assert given_to(found) == {"s": ["198.51.100.2"], "t": ["198.51.100.1"]}


def test_a_large_pool_costs_no_walk_for_each_service() -> None:
    services = [service(f"s{at:05d}") for at in range(3000)]
    found = allocate(view([pool("a", "10.0.0.0-10.255.255.255")], services))
    assert len(set(found.given.values())) == 3000


def test_ranges_that_overlap_count_once() -> None:
    found = read_pool({"metadata": {"name": "a"}, "spec": {"ranges": ["10.0.0.1-10.0.0.9", "10.0.0.5-10.0.0.12"]}})
    assert total(found) == 12


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"cidrs": ["10.0.0.0/33"]}, "spec.cidrs[0]"),
        ({"cidrs": ["10.0.0.0/24", "224.0.0.0/8"]}, "spec.cidrs[1]"),
        ({"ranges": ["10.0.0.9-10.0.0.1"]}, "spec.ranges[0]"),
        ({"ranges": ["10.0.0.9-fd00::1"]}, "spec.ranges[0]"),
        ({"ranges": ["::1-::2"]}, "spec.ranges[0]"),
        ({"ranges": ["ten"]}, "spec.ranges[0]"),
        ({"serviceSelector": {"matchExpressions": [{"key": "x", "operator": "Is"}]}}, "spec.serviceSelector"),
    ],
)
def test_a_mistake_in_a_pool_is_a_problem_and_makes_it_no_wider(spec: dict[str, Any], where: str) -> None:
    found = DECODER.decode(LOAD_BALANCER_POOL, json.dumps({"metadata": {"name": "a"}, "spec": spec}).encode())
    assert [problem.field for problem in found.problems if problem.field.startswith(where)]
    assert isinstance(found.value, LoadBalancerPool)
    assert sum(one.size for one in found.value.ranges) <= 254


def texts(values: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(values)


ADDRESSES = [f"198.51.100.{at}" for at in range(5)] + [f"2001:db8::{at}" for at in range(3)]


@st.composite
def services(draw: st.DrawFn) -> Object:
    spec: dict[str, Any] = {
        "type": draw(texts(["LoadBalancer", "LoadBalancer", "LoadBalancer", "ClusterIP"])),
        "ipFamilies": draw(st.lists(texts(["IPv4", "IPv6"]), min_size=1, max_size=2, unique=True)),
        "ipFamilyPolicy": draw(texts(["PreferDualStack", "RequireDualStack"])),
        "ports": [{"port": draw(st.sampled_from([80, 443]))}],
        "externalTrafficPolicy": draw(texts(["Cluster", "Local"])),
        "selector": {"app": draw(texts(["x", "y"]))},
        "loadBalancerClass": draw(st.sampled_from([None, None, "sluiceway.io/lb", "example.com/lb"])),
        "annotations": draw(st.sampled_from([{}, {KEY: "k"}, {IPS: draw(texts(ADDRESSES))}, {KEY: "", IPS: ""}])),
        "externalIPs": draw(st.lists(texts(ADDRESSES), max_size=1)),
    }
    found = draw(st.lists(texts(ADDRESSES), max_size=2, unique=True))
    made = held("s", *found, is_ours=draw(st.booleans()), **spec)
    made["metadata"]["namespace"] = draw(texts(["default", "other"]))
    return made


@st.composite
def views(draw: st.DrawFn) -> View:
    pools = [
        pool("a", "198.51.100.0-198.51.100.3", disabled=draw(st.booleans())),
        pool("b", "198.51.100.2-198.51.100.4", "2001:db8::1"),
    ]
    found = draw(st.lists(services(), max_size=7))
    for at, one in enumerate(found):
        one["metadata"]["name"] = f"s{at}"
    written = {
        ObjectName("default", f"s{at}"): (ip_address(draw(texts(ADDRESSES))),)
        for at in draw(st.sets(st.integers(0, 6), max_size=2))
    }
    spaces: dict[str, Namespace] = {**namespace("default"), **namespace("other")}
    return view(draw(st.permutations(pools)), found, namespaces=spaces, written=written)


@settings(max_examples=100, deadline=None)
@given(views())
def test_no_two_services_have_one_address_unless_they_may_share_it(found: View) -> None:
    given = allocate(found).given
    for one, other in combinations(given, 2):
        if set(given[one]) & set(given[other]):
            assert may_share(found.services[one], found.services[other])


@settings(max_examples=100, deadline=None)
@given(views())
def test_what_is_given_is_given_again_once_it_is_held(found: View) -> None:
    """A restart changes nothing: what status says is adopted, whole."""
    first = allocate(found).given
    after = {
        name: replace(one, held=first[name], is_ours=bool(first[name])) if name in first else one
        for name, one in found.services.items()
    }
    again = allocate(replace(found, services=after, written={}))
    for name, addresses in first.items():
        asked = after[name].requested  # what it asks for may have become free
        assert all(one in again.given[name] or family(one) in map(family, asked) for one in addresses)


@settings(max_examples=100, deadline=None)
@given(views())
def test_what_is_new_comes_from_a_pool_and_was_nobodys(found: View) -> None:
    for name, addresses in allocate(found).given.items():
        for address in set(addresses) - set(found.services[name].held) - set(found.written.get(name, ())):
            assert any(one.contains(address) for each in found.pools.values() for one in each.ranges)
            for other, its in found.services.items():
                if other != name and address in (*its.held, *found.written.get(other, ())):
                    assert may_share(found.services[name], its) or allocate(found).given.get(other) is not None
                    assert may_share(found.services[name], its)
            assert all(address not in one.external_ips for one in found.services.values())
