"""This node's own records: who has which address, and from where the node translates."""

from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network

import pytest

from agent.compile.context import node_context
from agent.compile.desired import desired
from agent.compile.endpoint import (
    Attachments,
    attachment_owner,
    attachment_records,
    node_addresses,
    node_endpoints,
)
from agent.compile.identity import identity
from agent.compile.node import kept_ports, nat_ports, node_owner, node_problems, node_records, source
from agent.compile.pod_policy import PodPolicy
from agent.compile.records import NOTHING, Owner, Records
from agent.compile.settings import NetworkSettings
from agent.compile.tunnel import TunnelLinks
from agent.model.address import mapped
from agent.model.attachment import Attachment, HostPort
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.model.ports import Ports
from agent.model.service import Protocol
from agent.options.choices import Encapsulation
from agent.reconcile.plans import contents
from maps import abi
from tests.agent.compile.objects import FRESH, HERE, SETTINGS, attachment, cluster

ITSELF = Node(HERE)
UPLINK = Device(2, "eth0", (ip_address("192.0.2.1"), ip_address("fe80::1"), ip_address("fd00::1")), default_route=True)
LOOPBACK = Device(1, "lo", (ip_address("127.0.0.1"), ip_address("::1"), ip_address("203.0.113.9")))


def test_every_address_of_the_node_is_the_nodes_but_loopback() -> None:
    assert {str(a) for a in node_addresses((UPLINK, LOOPBACK), ())} == {
        "192.0.2.1",
        "fe80::1",
        "fd00::1",
        "203.0.113.9",
    }


def changed_records(now: Attachments, before: Attachments) -> dict[Owner, Records]:
    """The records of those that differ, where policy says the same of each."""
    policies = {key: PodPolicy(revision=identity(one)) for key, one in (*before.items(), *now.items())}
    return attachment_records(now, before, {key: policies[key] for key in now}, {key: policies[key] for key in before})


def records(*attachments: Attachment) -> Records:
    """Everything of these attachments together."""
    made = changed_records({one.key: one for one in attachments}, {})
    return Records.of(contents(made.values()))


def test_a_pods_addresses_lead_to_its_device() -> None:
    pod = attachment(ipv6=IPv6Address("fd00:1::5"), netns_cookie=4711)
    held = records(pod).of_map("endpoints")
    assert {abi.ENDPOINTS.key.unpack(key) for key in held} == {
        IPv6Address("::ffff:10.0.0.5"),
        IPv6Address("fd00:1::5"),
        IPv6Address("fe80::ff:fe00:7"),  # its link-local one, by the MAC
    }
    (record,) = {abi.Endpoint.unpack(value) for value in held.values()}
    assert record == abi.Endpoint(7, abi.EndpointFlag(0))
    ((slot, place),) = records(pod).of_map("attachments").items()
    assert abi.ATTACHMENTS.key.unpack(slot) == record.slot
    assert abi.Attachment.unpack(place) == abi.Attachment(12, identity(pod), 7, bytes.fromhex("020000000007"), 0, 4711)


def test_who_has_a_slot_after_another_has_another_identity() -> None:
    first, second = attachment(), attachment(endpoint_id=8, slot=7)
    assert first.slot == second.slot
    assert 0 not in {identity(first), identity(second)}
    assert identity(first) != identity(second)


def test_a_pod_has_its_address_even_where_the_node_claims_it() -> None:
    claimed = ip_address("10.0.0.5")
    assert node_endpoints([claimed], [claimed], [UPLINK], [claimed]) == {}
    value = records(attachment()).of_map("endpoints")[mapped(claimed).packed]
    assert abi.Endpoint.unpack(value).slot == 7


def test_affinity_finds_a_pod_by_its_namespace() -> None:
    ((key, value),) = records(attachment()).of_map("pod_netns").items()
    assert int.from_bytes(key, "little") == 4242
    assert abi.PodAddresses.unpack(value) == abi.PodAddresses(IPv6Address("::ffff:10.0.0.5"), IPv6Address(0))


def test_of_two_interfaces_in_one_namespace_the_first_stands_for_the_pod_until_it_leaves() -> None:
    first = attachment()
    second = replace(attachment("10.0.0.6", 8, 13), interface="net1")
    both = {one.key: one for one in (first, second)}
    made = changed_records(both, {})
    assert [len(made[attachment_owner(one)].of_map("pod_netns")) for one in (first, second)] == [1, 0]
    left = changed_records({second.key: second}, both)
    assert left[attachment_owner(first)] == NOTHING
    assert [
        abi.PodAddresses.unpack(value).addr4.ipv4_mapped
        for value in left[attachment_owner(second)].of_map("pod_netns").values()
    ] == [second.ipv4]


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
    context = node_context(Node(HERE), local, {})
    (packed,) = node_records(context, local, SETTINGS, TunnelLinks()).of_map("node").values()
    record = abi.Node.unpack(packed)
    assert (record.nat_port_min, record.nat_port_max) == (12101, 24999)


def test_the_uplinks_are_told_to_the_programs() -> None:
    local = Local((UPLINK, LOOPBACK))
    context = node_context(Node(HERE), local, {})
    held = node_records(context, local, SETTINGS, TunnelLinks(), (UPLINK,)).of_map("uplinks")
    assert {abi.UPLINKS.key.unpack(key) for key in held} == {UPLINK.ifindex}


def test_a_device_that_becomes_an_uplink_is_told_to_the_programs() -> None:
    before = desired(cluster(local=Local((LOOPBACK,))), SETTINGS, FRESH)
    now = desired(cluster(local=Local((LOOPBACK, UPLINK))), SETTINGS, before)
    uplinks = [one.owners[node_owner(SETTINGS)].of_map("uplinks") for one in (before, now)]
    assert [len(held) for held in uplinks] == [0, 1]


@pytest.mark.parametrize(
    ("encapsulation", "port", "ports"),
    [
        pytest.param(Encapsulation.NATIVE, 0, (1024, 29999), id="no tunnel"),
        pytest.param(Encapsulation.VXLAN, 0, (8473, 29999), id="VXLAN's own port"),
        pytest.param(Encapsulation.GENEVE, 20000, (1024, 19999), id="a port of the option"),
        pytest.param(Encapsulation.IPIP, 0, (1024, 29999), id="IPIP, which has none"),
    ],
)
def test_nothing_is_translated_from_the_tunnels_port(
    encapsulation: Encapsulation, port: int, ports: tuple[int, int]
) -> None:
    local = Local((UPLINK,), port_range=(32768, 60999))
    settings = replace(SETTINGS, network=NetworkSettings(encapsulation, port=port))
    context = node_context(Node(HERE), local, {})
    (packed,) = node_records(context, local, settings, TunnelLinks()).of_map("node").values()
    record = abi.Node.unpack(packed)
    assert (record.nat_port_min, record.nat_port_max) == ports


def test_translation_comes_from_the_nodes_own_address_before_an_uplinks() -> None:
    node = Node(HERE, (ip_address("198.51.100.1"),))
    cluster = Device(3, "eth1", (ip_address("198.51.100.1"),))
    assert str(source(node, [UPLINK, cluster], 4)) == "198.51.100.1"
    assert str(source(node, [UPLINK, cluster], 6)) == "fd00::1"
    assert source(Node(HERE), [LOOPBACK], 4) is None


def test_translation_comes_from_an_address_that_a_device_has() -> None:
    moved = Node(HERE, (ip_address("198.51.100.1"),))  # as before the kubelet has told of another address
    assert str(source(moved, [UPLINK], 4)) == "192.0.2.1"
    assert str(source(moved, [LOOPBACK], 4)) == "198.51.100.1", "nothing better is known"


def node_maps(*devices: Device, node: Node = ITSELF) -> Records:
    """The node's records, with these devices."""
    local = Local(devices)
    return node_records(node_context(node, local, {}), local, SETTINGS, TunnelLinks(), devices[:1])


def test_an_uplink_says_under_which_address_packets_leave_by_it() -> None:
    fit = replace(
        UPLINK, addresses=(ip_address("192.0.2.1"), ip_address("192.0.2.9")), sources=(ip_address("192.0.2.9"),)
    )
    found = node_maps(fit, LOOPBACK).of_map("uplinks")
    assert {abi.UPLINKS.key.unpack(key): abi.Uplink.unpack(value) for key, value in found.items()} == {
        2: abi.Uplink(IPv6Address("::ffff:192.0.2.9"), IPv6Address(0))
    }


def test_the_programs_know_under_which_macs_the_node_is_sent_frames() -> None:
    uplink, above, others, without = (
        replace(UPLINK, ifindex=index, kind=kind, mac=bytes((2, 0, 0, 0, 0, index)) if index < 5 else b"")
        for index, kind in ((2, "veth"), (3, "macvlan"), (4, "veth"), (5, "wireguard"))
    )
    found = node_maps(uplink, above, others, without).of_map("own_macs")
    assert {abi.MacKey.unpack(key).mac[5]: abi.OwnMac.unpack(value).ifindex for key, value in found.items()} == {
        2: 2,
        3: 3,
    }


def test_the_programs_know_which_of_the_nodes_addresses_a_device_has() -> None:
    node, held = abi.EndpointFlag.ENDPOINT_NODE, abi.EndpointFlag.ENDPOINT_HELD
    claimed = ip_address("198.51.100.1")  # an InternalIP that a cloud translates, or one of before a lease ended
    found = node_maps(UPLINK, node=Node(HERE, (claimed,))).of_map("endpoints")
    flags = {abi.ENDPOINTS.key.unpack(key): abi.Endpoint.unpack(value).flags for key, value in found.items()}
    assert flags == {mapped(address): node | held for address in UPLINK.addresses} | {mapped(claimed): node}


DUAL = Node(HERE, pod_cidrs=(ip_network("10.0.0.0/24"), ip_network("fd00::/64")))
SINGLE = Node(HERE, pod_cidrs=DUAL.pod_cidrs[:1])
DEAF = replace(UPLINK, has_ipv6=False)


@pytest.mark.parametrize(
    ("node", "has_ipv6", "uplinks", "fields"),
    [
        pytest.param(DUAL, True, (UPLINK,), [], id="IPv6 everywhere"),
        pytest.param(DUAL, True, (UPLINK, DEAF), ["net.ipv6.conf.eth0.disable_ipv6"], id="an uplink without"),
        pytest.param(DUAL, False, (DEAF,), ["spec.podCIDRs"], id="a kernel without is one problem"),
        pytest.param(SINGLE, False, (DEAF,), [], id="a Node that has no IPv6 for pods misses none"),
    ],
)
def test_what_pods_lack_of_ipv6_is_a_problem_of_the_node(
    node: Node,
    has_ipv6: bool,  # noqa: FBT001
    uplinks: tuple[Device, ...],
    fields: list[str],
) -> None:
    found = node_problems(SETTINGS, Local(netns_cookie=1, has_ipv6=has_ipv6), node, uplinks, ())
    assert [(problem.kind, str(problem.name), problem.field) for problem in found] == [
        ("Node", HERE, field) for field in fields
    ]


def test_a_node_has_its_pods_addresses_too() -> None:
    pod = attachment()
    found = node_context(Node(HERE), Local((UPLINK,)), {pod.key: pod})
    assert found.has(ip_address("10.0.0.5"))
    assert found.has(ip_address("192.0.2.1"))


def test_a_way_out_that_the_programs_cannot_read_is_a_problem() -> None:
    tunnel = replace(UPLINK, name="wg0", has_ethernet=False)
    (problem,) = node_problems(SETTINGS, Local(netns_cookie=1), DUAL, (UPLINK,), (tunnel,))
    assert (problem.kind, problem.field) == ("Node", "device wg0")
    assert "--devices" in problem.text


@pytest.mark.parametrize(
    ("taken", "port", "is_kept"),
    [
        pytest.param([], 1, True, id="the first port"),
        pytest.param([], 0, False, id="no port"),
        pytest.param([], 65535, True, id="the last port"),
        pytest.param([(8472, 8472)], 8472, False, id="the tunnel's"),
        pytest.param([(8472, 8472)], 8471, True, id="one below it"),
        pytest.param([(8472, 8472)], 8473, True, id="one above it"),
        pytest.param([(30000, 32767), (32768, 60999)], 32767, False, id="the last of a range"),
        pytest.param([(30000, 32767), (32768, 60999)], 61000, True, id="one above all ranges"),
        pytest.param([(0, 0)], 5060, True, id="without a tunnel"),
    ],
)
def test_a_port_that_somebody_has_is_not_kept(taken: list[tuple[int, int]], port: int, *, is_kept: bool) -> None:
    words = memoryview(kept_ports(taken)).cast("I")
    assert bool(words[port // 32] >> port % 32 & 1) == is_kept
