"""A pod routes for the ranges that its Namespace allows and nobody else has."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from agent.compile.desired import Desired, desired
from agent.compile.records import Owner, OwnerKind
from agent.compile.route import Route
from agent.model.address import unmapped
from agent.model.attachment import Attachment
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.name import ObjectName
from agent.model.node import Namespace, Node, Pod
from maps import abi
from tests.agent.compile.objects import FRESH, HERE, SETTINGS, attachment, cluster, name, service

EVERY = ("0.0.0.0/0", "::/0")
ROUTER = name("vpn/router")
OTHER = name("vpn/other")
UPLINK = Device(2, "eth0", (ip_address("192.0.2.1"),), (ip_network("192.0.2.0/24"), ip_network("fe80::/64")))
NODES = (
    Node(HERE, (ip_address("192.0.2.1"),), (ip_network("10.0.0.0/24"),)),
    Node("elsewhere", (ip_address("198.51.100.2"), ip_address("2001:db8::2")), (ip_network("10.0.1.0/24"),)),
)


def asking(pod: ObjectName, *ranges: str) -> Pod:
    return Pod(pod, "u-1", HERE, routed_ranges=tuple(map(ip_network, ranges)))


def attached(pod: ObjectName = ROUTER, endpoint_id: int = 7, **fields: Any) -> Attachment:
    ipv6 = fields.pop("ipv6", IPv6Address(f"fd00::{endpoint_id}"))
    return attachment(f"10.0.0.{endpoint_id}", endpoint_id, pod=pod, ipv6=ipv6, **fields)


def node(
    *pods: Pod, allowed: tuple[str, ...] = EVERY, there: tuple[Attachment, ...] = (attached(),), objects: Any = ()
) -> Cluster:
    local = Local((UPLINK,), there, netns_cookie=1)
    whole = cluster(*NODES, service("web", "10.96.0.10,fd00:96::10"), *objects, local=local)
    space = Namespace("vpn", (), tuple(map(ip_network, allowed)))
    return replace(whole, pods={pod.name: pod for pod in pods}, namespaces={"vpn": space})


def ranges(wanted: Desired) -> dict[str, int]:
    """The slots of routers, by their ranges."""
    found = {}
    for owner, records in wanted.owners.items():
        for key, value in records.of_map("routed_ranges").items():
            assert owner.kind is OwnerKind.ROUTER
            prefix = abi.PrefixKey.unpack(key)
            bits = prefix.prefix_bits - (128 if prefix.family == 4 else 32)
            found[f"{unmapped(prefix.addr)}/{bits}"] = abi.RoutedRange.unpack(value).slot
    return found


def compiled(now: Cluster, before: Desired = FRESH) -> Desired:
    return desired(now, SETTINGS, before)


def told(wanted: Desired) -> list[str]:
    return [problem.text for problem in wanted.problems if problem.kind == "Pod"]


def test_what_is_allowed_is_granted_and_the_kernel_has_a_route_by_the_pod() -> None:
    wanted = compiled(node(asking(ROUTER, "10.200.0.0/16", "fd00:200::/64")))
    assert ranges(wanted) == {"10.200.0.0/16": 7, "fd00:200::/64": 7}
    assert told(wanted) == []
    for network, by in (("10.200.0.0/16", "10.0.0.7"), ("fd00:200::/64", "fd00::7")):
        assert wanted.routes[ip_network(network)] == Route(ip_network(network), ip_address(by))
    assert ip_network("10.0.1.0/24") in wanted.routes, "another node's pods"


@pytest.mark.parametrize(
    ("network", "allowed", "begins"),
    [
        pytest.param("10.200.0.0/16", (), "10.200.0.0/16 is not allowed; whoever may change Namespace vpn", id="none"),
        pytest.param("10.200.0.0/16", ("10.200.0.0/17",), "10.200.0.0/16 is not allowed", id="more than is allowed"),
        pytest.param("10.200.0.0/16", ("::/0",), "10.200.0.0/16 is not allowed", id="the other family is allowed"),
        pytest.param("0.0.0.0/0", EVERY, "0.0.0.0/0 overlaps 0.0.0.0/8", id="all there is"),
        pytest.param("127.0.0.8/29", EVERY, "127.0.0.8/29 overlaps 127.0.0.0/8, loopback", id="loopback"),
        pytest.param("169.254.1.1/32", EVERY, "169.254.1.1/32 overlaps 169.254.0.0/16, link-local", id="link-local"),
        pytest.param("224.1.0.0/16", EVERY, "224.1.0.0/16 overlaps 224.0.0.0/3, multicast", id="multicast"),
        pytest.param("255.255.255.255/32", EVERY, "255.255.255.255/32 overlaps 224.0.0.0/3", id="broadcast"),
        pytest.param("::/0", EVERY, "::/0 overlaps ::/127", id="all of IPv6"),
        pytest.param("::1/128", EVERY, "::1/128 overlaps ::/127", id="loopback, IPv6"),
        pytest.param("::/64", EVERY, "::/64 overlaps ::/127", id="IPv4 within IPv6"),
        pytest.param("fe80::/64", EVERY, "fe80::/64 overlaps fe80::/10", id="link-local, IPv6"),
        pytest.param("ff0e::/16", EVERY, "ff0e::/16 overlaps ff00::/8", id="multicast, IPv6"),
        pytest.param("192.0.2.1/32", EVERY, "192.0.2.1/32 has addresses of Node here", id="this node's address"),
        pytest.param("192.0.2.254/32", EVERY, "192.0.2.254/32 has addresses of this node's device eth0", id="its link"),
        pytest.param("198.51.100.0/24", EVERY, "198.51.100.0/24 has addresses of Node elsewhere", id="another node's"),
        pytest.param("2001:db8::/32", EVERY, "2001:db8::/32 has addresses of Node elsewhere", id="of IPv6"),
        pytest.param("10.0.1.77/32", EVERY, "10.0.1.77/32 has addresses of Node elsewhere's pods", id="another's pods"),
        pytest.param("10.0.0.0/8", EVERY, "10.0.0.0/8 has addresses of Node", id="a range around pods"),
        pytest.param("fd00::/120", EVERY, "fd00::/120 has addresses of a pod of this node", id="a pod outside CIDRs"),
        pytest.param(
            "10.96.0.0/12", EVERY, "10.96.0.0/12 has the address 10.96.0.10 of Service default/web", id="a VIP"
        ),
        pytest.param("fd00:96::/64", EVERY, "fd00:96::/64 has the address fd00:96::10 of Service", id="a VIP of IPv6"),
    ],
)
def test_what_may_not_be_is_a_problem_and_the_rest_of_the_pod_works(
    network: str, allowed: tuple[str, ...], begins: str
) -> None:
    wanted = compiled(node(asking(ROUTER, network, "172.16.0.0/16"), allowed=(*allowed, "172.16.0.0/16")))
    assert ranges(wanted) == {"172.16.0.0/16": 7}
    (problem,) = [problem for problem in wanted.problems if problem.kind == "Pod"]
    assert (problem.name, problem.field) == (ROUTER, "metadata.annotations['sluiceway.io/routed-ranges']")
    assert problem.text.startswith(begins)


def test_a_namespace_that_is_not_known_allows_nothing() -> None:
    wanted = compiled(replace(node(asking(ROUTER, "10.200.0.0/16")), namespaces={}))
    assert (ranges(wanted), len(told(wanted))) == ({}, 1)


def test_a_pod_without_an_address_of_the_family_has_no_way_there() -> None:
    wanted = compiled(node(asking(ROUTER, "fd00:200::/64"), there=(attached(ipv6=None),)))
    assert ranges(wanted) == {}
    assert told(wanted) == ["fd00:200::/64 needs an IPv6 address of the pod, which has none; leave the range out"]


@pytest.mark.parametrize("second", ["10.200.0.0/16", "10.200.3.0/24", "10.0.0.0/8"])
def test_of_two_pods_the_earlier_has_what_both_ask_for(second: str) -> None:
    """Also where the later one's is longer, and would have the packets."""
    elsewhere = "11.0.0.0/16"
    there = (attached(OTHER, 9), attached(ROUTER, 7))
    pods = (asking(OTHER, second, elsewhere), asking(ROUTER, "10.200.0.0/16"))
    wanted = compiled(node(*pods, there=there))
    assert ranges(wanted) == {"10.200.0.0/16": 7, elsewhere: 9}
    assert len(told(wanted)) == 1
    gone = compiled(node(asking(OTHER, "10.200.0.0/16"), there=there[:1]), wanted)
    assert (ranges(gone), told(gone)) == ({"10.200.0.0/16": 9}, [])


def test_a_range_within_another_of_the_same_pod_is_no_conflict() -> None:
    wanted = compiled(node(asking(ROUTER, "10.200.0.0/16", "10.200.3.0/24")))
    assert (set(ranges(wanted)), told(wanted)) == ({"10.200.0.0/16", "10.200.3.0/24"}, [])


def test_of_a_pods_sandboxes_the_latest_has_the_range_by_its_first_interface() -> None:
    there = (attached(endpoint_id=7), attached(endpoint_id=9), attached(endpoint_id=11, is_first=False))
    assert ranges(compiled(node(asking(ROUTER, "10.200.0.0/16"), there=there))) == {"10.200.0.0/16": 9}


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(node(asking(ROUTER)), id="the annotation goes"),
        pytest.param(node(), id="the pod ends"),
        pytest.param(node(asking(ROUTER, "10.200.0.0/16"), there=()), id="its interface goes"),
        pytest.param(node(asking(ROUTER, "10.200.0.0/16"), allowed=()), id="it is not allowed any more"),
        pytest.param(
            node(asking(ROUTER, "10.200.0.0/16"), objects=(service("new", "10.200.9.9"),)), id="a service comes there"
        ),
        pytest.param(
            node(asking(ROUTER, "10.200.0.0/16"), objects=(Node("new", pod_cidrs=(ip_network("10.200.4.0/24"),)),)),
            id="a node's pods come there",
        ),
    ],
)
def test_a_range_is_withdrawn_while_the_pod_runs_and_comes_back(then: Cluster) -> None:
    first = node(asking(ROUTER, "10.200.0.0/16"))
    granted = compiled(first)
    gone = compiled(then, granted)
    assert (ranges(gone), ip_network("10.200.0.0/16") in gone.routes) == ({}, False)
    assert Owner(OwnerKind.ROUTER, ROUTER) in gone.changed
    again = compiled(first, gone)
    assert (ranges(again), told(again)) == ({"10.200.0.0/16": 7}, [])
    assert again.routes == granted.routes


def test_nothing_changes_where_nothing_changed() -> None:
    now = node(asking(ROUTER, "10.200.0.0/16", "10.0.0.0/8"))
    before = compiled(now)
    again = compiled(replace(now, pods=dict(now.pods), services=dict(now.services)), before)
    assert again.changed == frozenset()
    assert (again.owners, again.problems) == (before.owners, before.problems)
    assert again.routes is before.routes
    assert again.routed.granted is before.routed.granted


def test_before_the_first_sync_nothing_is_withdrawn() -> None:
    now = compiled(replace(node(), synced=False))
    assert not any(owner.kind is OwnerKind.ROUTER for owner in now.changed)
