"""This node's own records: who has which address, and from where the node translates."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address

import pytest

from agent.compile.endpoint import endpoints, node_addresses, pods
from agent.compile.local import local_records
from agent.compile.node import Ports, nat_ports, node_record, source
from agent.compile.tunnel import Between
from agent.model.attachment import HostPort
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.model.service import Protocol
from maps import abi
from tests.agent.compile.objects import HERE, attachment

UPLINK = Device(2, "eth0", (ip_address("192.0.2.1"), ip_address("fe80::1"), ip_address("fd00::1")), default_route=True)
LOOPBACK = Device(1, "lo", (ip_address("127.0.0.1"), ip_address("::1"), ip_address("203.0.113.9")))


def test_every_address_of_the_node_is_the_nodes_but_loopback() -> None:
    assert {str(a) for a in node_addresses((UPLINK, LOOPBACK), ())} == {
        "192.0.2.1",
        "fe80::1",
        "fd00::1",
        "203.0.113.9",
    }


def test_a_pods_addresses_lead_to_its_device() -> None:
    pod = attachment(ipv6=IPv6Address("fd00:1::5"))
    (four, six) = (abi.Endpoint.unpack(value) for value in endpoints([pod], ()).values())
    assert four == six == abi.Endpoint(7, 12, bytes.fromhex("020000000005"), abi.EndpointFlag(0))


def test_a_pod_has_its_address_even_where_the_node_claims_it() -> None:
    (value,) = endpoints([attachment()], [ip_address("10.0.0.5")]).values()
    assert abi.Endpoint.unpack(value).endpoint_id == 7


def test_affinity_finds_a_pod_by_its_namespace() -> None:
    ((key, value),) = pods([attachment()]).items()
    assert int.from_bytes(key, "little") == 4242
    assert abi.PodAddresses.unpack(value) == abi.PodAddresses(IPv6Address("::ffff:10.0.0.5"), IPv6Address(0))


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        pytest.param([(32768, 60999), (30000, 32767)], (1024, 29999), id="below the node ports by default"),
        pytest.param([(1024, 60999), (30000, 32767)], (61000, 65535), id="above, when the local range takes the rest"),
        pytest.param(
            [(32768, 60999), (30000, 32767), (9000, 9000)], (9001, 29999), id="a reserved port splits a range"
        ),
        pytest.param([(1, 65535)], (0, 0), id="no range when everything is taken"),
        pytest.param([], (1024, 65535), id="never a privileged port"),
    ],
)
def test_translation_takes_the_widest_range_left(taken: list[Ports], expected: Ports) -> None:
    assert nat_ports(taken) == expected


def test_translation_leaves_out_the_ports_of_local_sockets_services_pods_and_the_reserved() -> None:
    ports = (HostPort("", 9000, Protocol.TCP, 80), HostPort("127.0.0.1", 25000, Protocol.UDP, 53))
    pods = (attachment(), replace(attachment(), host_ports=ports))
    local = Local((UPLINK,), pods, port_range=(32768, 60999), reserved_ports=((1024, 8000), (12000, 12100)))
    record = node_record(None, local, (30000, 32767), Between())
    assert record.nat_ports == (12101, 24999)


def test_translation_comes_from_the_nodes_own_address_before_an_uplinks() -> None:
    node = Node(HERE, (ip_address("198.51.100.1"),))
    assert str(source(node, [UPLINK], 4)) == "198.51.100.1"
    assert str(source(node, [UPLINK], 6)) == "fd00::1"
    assert source(None, [LOOPBACK], 4) is None


def test_records_of_a_node_hold_its_pods_addresses_too() -> None:
    found = local_records(Local((UPLINK,), (attachment(),)), None)
    assert ip_address("10.0.0.5") in found.addresses
