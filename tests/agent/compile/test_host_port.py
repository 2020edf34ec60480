"""Host ports: where each is reached, who wins an address, and what a change costs."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from typing import Any

import pytest

from agent.compile.desired import desired
from agent.model.attachment import Attachment, HostPort
from agent.model.cluster import Cluster
from agent.model.local import Device, Local
from agent.model.service import Protocol
from tests.agent.compile.objects import FRESH, HTTP, SETTINGS, attachment, cluster, endpoint, piece, service, shown

UPLINK = Device(2, "eth0", (ip_address("192.0.2.1"), ip_address("2001:db8::1")), default_route=True)
WEB = HostPort("", 8080, Protocol.TCP, 80)


def node(*attachments: Attachment, objects: tuple[Any, ...] = ()) -> Cluster:
    return cluster(*objects, local=Local((UPLINK,), attachments, netns_cookie=1))


def pod(*ports: HostPort, **fields: Any) -> Attachment:
    return attachment(host_ports=ports, **fields)


def test_a_host_port_is_at_every_address_of_the_node_of_the_pods_families() -> None:
    both = pod(WEB, ipv6=IPv6Address("fd00:1::5"))
    assert shown(desired(node(both), SETTINGS, FRESH)) == {
        "192.0.2.1:8080/TCP in": "10.0.0.5:80*",
        "192.0.2.1:8080/TCP out": "10.0.0.5:80*",
        "127.0.0.1:8080/TCP in": "10.0.0.5:80*",
        "2001:db8::1:8080/TCP in": "fd00:1::5:80*",
        "2001:db8::1:8080/TCP out": "fd00:1::5:80*",
        "::1:8080/TCP in": "fd00:1::5:80*",
    }


@pytest.mark.parametrize(
    ("host_ip", "expected"),
    [
        pytest.param("192.0.2.1", {"192.0.2.1:8080/TCP in", "192.0.2.1:8080/TCP out"}, id="the one that is named"),
        pytest.param("198.51.100.7", set(), id="none at an address that is not the node's"),
        pytest.param("127.0.0.1", {"127.0.0.1:8080/TCP in"}, id="loopback is for the node alone"),
        pytest.param(
            "0.0.0.0",
            {"192.0.2.1:8080/TCP in", "192.0.2.1:8080/TCP out", "127.0.0.1:8080/TCP in"},
            id="the unspecified one is all of its family",
        ),
        pytest.param("2001:db8::1", set(), id="none in a family that the pod has no address of"),
    ],
)
def test_a_host_ip_says_where(host_ip: str, expected: set[str]) -> None:
    asking = pod(replace(WEB, host_ip=host_ip))
    assert shown(desired(node(asking), SETTINGS, FRESH)).keys() == expected


def test_pods_share_a_port_on_different_addresses_and_protocols() -> None:
    pods = (
        pod(HostPort("127.0.0.1", 54323, Protocol.TCP, 8080)),
        pod(HostPort("192.0.2.1", 54323, Protocol.TCP, 8080), ip="10.0.0.6", endpoint_id=8),
        pod(HostPort("192.0.2.1", 54323, Protocol.UDP, 8080), ip="10.0.0.7", endpoint_id=9),
    )
    found = shown(desired(node(*pods), SETTINGS, FRESH))
    assert found["127.0.0.1:54323/TCP in"] == "10.0.0.5:8080*"
    assert found["192.0.2.1:54323/TCP in"] == "10.0.0.6:8080*"
    assert found["192.0.2.1:54323/UDP in"] == "10.0.0.7:8080*"


def test_two_host_ports_of_one_container_port_share_a_set() -> None:
    records = desired(node(pod(WEB, replace(WEB, host_port=8081))), SETTINGS, FRESH).services.records
    (owner,) = records.values()
    assert list(owner.sets) == ["hostPort/7:80/TCP/IPv4/all"]


def test_a_service_keeps_its_address_from_a_pod_that_asks_for_every_one() -> None:
    # "kube-system" sorts behind "hostPort"
    mine = service("kube-system/web", external_ips=(ip_address("192.0.2.1"),), ports=())
    mine = replace(mine, ports=(service().ports[0],))
    given = (mine, piece("kube-system/web", endpoint("10.9.9.9")))
    wanted = desired(node(pod(replace(WEB, host_port=80)), objects=given), SETTINGS, FRESH)
    assert shown(wanted)["192.0.2.1:80/TCP out"] == "10.9.9.9:8080"
    assert ["has this address" in problem.text for problem in wanted.problems] == [True]


def test_a_node_port_keeps_the_nodes_addresses_from_a_pod_that_asks_for_its_number() -> None:
    mine = service("web", ports=(replace(HTTP, node_port=30080),))
    wanted = desired(node(pod(replace(WEB, host_port=30080)), objects=(mine,)), SETTINGS, FRESH)
    assert {where for where in shown(wanted) if ":30080/" in where} == {"0.0.0.0:30080/TCP in", "0.0.0.0:30080/TCP out"}
    assert {"has this address" in problem.text for problem in wanted.problems} == {True}


def test_a_health_check_node_port_keeps_the_nodes_addresses_from_a_pod_that_asks_for_its_number() -> None:
    balanced = service("web", health_check_port=30099)
    ports = (replace(WEB, host_port=30099), replace(WEB, host_port=30099, protocol=Protocol.UDP))
    wanted = desired(node(pod(*ports, ipv6=IPv6Address("fd00:1::5")), objects=(balanced,)), SETTINGS, FRESH)
    assert {where.partition("/")[2] for where in shown(wanted) if ":30099/" in where} == {"UDP in", "UDP out"}
    assert {"has this address" in problem.text for problem in wanted.problems} == {True}
    without = desired(node(pod(*ports), objects=(service("web"),)), SETTINGS, wanted)
    assert "192.0.2.1:30099/TCP out" in shown(without)


def test_a_node_port_is_served_where_another_service_has_the_number_for_its_health() -> None:
    mine = service("web", ports=(replace(HTTP, node_port=30099),))
    wanted = desired(node(objects=(service("a", "10.96.0.7", health_check_port=30099), mine)), SETTINGS, FRESH)
    assert {where for where in shown(wanted) if ":30099/" in where} == {"0.0.0.0:30099/TCP in", "0.0.0.0:30099/TCP out"}


def test_an_address_that_comes_later_gets_the_port_and_a_pod_that_leaves_takes_all_away() -> None:
    first = desired(node(pod(WEB)), SETTINGS, FRESH)
    later = Device(3, "eth1", (ip_address("203.0.113.1"),))
    local = Local((UPLINK, later), (pod(WEB),), netns_cookie=1)
    second = desired(replace(first.source, local=local), SETTINGS, first)
    assert shown(second).keys() - shown(first).keys() == {"203.0.113.1:8080/TCP in", "203.0.113.1:8080/TCP out"}
    third = desired(cluster(), SETTINGS, second)
    assert (shown(third), third.services.claimants, third.ids.sets) == ({}, {}, {})


def test_a_named_address_has_the_port_while_it_is_the_nodes() -> None:
    named = pod(replace(WEB, host_ip="203.0.113.1"))
    first = desired(node(named), SETTINGS, FRESH)
    assert shown(first) == {}, "the traffic of whoever has it would be the pod's"
    given = Local((UPLINK, Device(3, "eth1", (ip_address("203.0.113.1"),))), (named,), netns_cookie=1)
    second = desired(replace(first.source, local=given), SETTINGS, first)
    assert shown(second).keys() == {"203.0.113.1:8080/TCP in", "203.0.113.1:8080/TCP out"}
    assert shown(desired(first.source, SETTINGS, second)) == {}


def test_what_nothing_touched_is_the_identical_value() -> None:
    given = node(pod(WEB), objects=(service(), piece("web", endpoint("10.0.0.1"))))
    first = desired(given, SETTINGS, FRESH)
    second = desired(replace(given, local=replace(given.local, port_range=(1, 2))), SETTINGS, first)
    assert second.services.records is first.services.records
