"""What lies between nodes: who is behind the tunnel, by which routes, and where pods keep their own addresses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

import pytest

from agent.compile.ids import RemoteIds
from agent.compile.records import Owner, OwnerKind
from agent.compile.remote import RANGES, Remotes, remotes, update, vantage
from agent.compile.route import Route
from agent.compile.settings import NetworkSettings
from agent.compile.tunnel import DeviceKind, Tunnel, tunnel
from agent.model.address import mapped, unmapped
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.options.choices import Encapsulation
from agent.reconcile.plans import contents
from maps import abi
from tests.agent.compile.objects import HERE

IPS = (ip_address("192.0.2.1"), ip_address("fd00::1"))
NETWORKS = (ip_network("192.0.2.0/24"), ip_network("fd00::/64"))
LOCAL = Local((Device(2, "eth0", IPS, NETWORKS, 1500, default_route=True),))
VXLAN = NetworkSettings(Encapsulation.VXLAN)
CROSS = replace(VXLAN, cross_subnet=True)
IPIP, GENEVE = NetworkSettings(Encapsulation.IPIP), NetworkSettings(Encapsulation.GENEVE)


def node(name: str, ips: str, cidrs: str) -> Node:
    return Node(name, tuple(map(ip_address, ips.split())), tuple(map(ip_network, cidrs.split())))


OWN = node(HERE, "192.0.2.1 fd00::1", "10.1.0.0/24 fd00:1::/64")
NEAR = node("near", "192.0.2.2 fd00::2", "10.2.0.0/24 fd00:2::/64")
FAR = node("remote", "198.51.100.3 fd01::3", "10.3.0.0/24 fd00:3::/64")


def found_from(nodes: Mapping[str, Node], network: NetworkSettings, local: Local) -> Remotes:
    """What this node knows of Nodes."""
    seen = vantage(nodes.get(HERE, Node(HERE)), local, network)
    return remotes(nodes, seen, local.not_masqueraded, Remotes())


@dataclass(frozen=True)
class Found:
    """All owners' records together, and the routes."""

    remotes: Mapping[bytes, bytes]
    prefixes: Mapping[bytes, bytes]
    routes: tuple[Route, ...]


def records(*nodes: Node, network: NetworkSettings = VXLAN, local: Local = LOCAL) -> Found:
    known, made, _ = update(found_from({n.name: n for n in (OWN, *nodes)}, network, local), Remotes())
    every = contents(made.values())
    return Found(every.get("remotes", {}), every.get("prefixes", {}), tuple(known.routes.values()))


def behind(found: Found) -> dict[str, str]:
    """Each range that is behind a tunnel, and the outer address."""
    remotes = {int.from_bytes(k, "little"): str(unmapped(abi.Remote.unpack(v).addr)) for k, v in found.remotes.items()}
    prefixes = {shown(k): abi.Prefix.unpack(v).remote_id for k, v in found.prefixes.items()}
    return {text: remotes[number] for text, number in prefixes.items() if number}


def shown(key: bytes) -> str:
    prefix = abi.PrefixKey.unpack(key)
    address = unmapped(prefix.addr)
    assert prefix.family == address.version
    return f"{address}/{prefix.prefix_bits - 32 - (96 if prefix.family == 4 else 0)}"


def test_natively_another_nodes_pods_are_reached_by_its_address_of_their_family() -> None:
    lost = Node("lost", (), (ip_network("10.3.0.0/24"),))
    found = records(NEAR, lost, network=NetworkSettings())
    assert found.routes == (
        Route(NEAR.pod_cidrs[0], NEAR.internal_ips[0], ip_address("192.0.2.1")),
        Route(NEAR.pod_cidrs[1], NEAR.internal_ips[1], ip_address("fd00::1")),
    )
    assert behind(found) == {}


@pytest.mark.parametrize(
    ("network", "far"),
    [
        pytest.param(VXLAN, (NEAR, FAR), id="to every node"),
        pytest.param(CROSS, (FAR,), id="across subnets, only to nodes on none of ours"),
    ],
)
def test_pods_and_nodes_are_encapsulated(network: NetworkSettings, far: tuple[Node, ...]) -> None:
    found = records(NEAR, FAR, network=network)
    ranges = {str(r): str(n.internal_ips[0]) for n in far for r in (*n.pod_cidrs, *map(ip_network, n.internal_ips))}
    assert behind(found) == ranges
    into_tunnel = {route.destination for route in found.routes if route.gateway is None}
    assert into_tunnel == {cidr for n in far for cidr in n.pod_cidrs}


def test_the_nodes_own_packets_into_the_tunnel_carry_its_internal_ip() -> None:
    assert [route.source for route in records(FAR).routes] == list(IPS)


def test_a_source_that_is_on_no_device_is_left_to_the_kernel() -> None:
    assert [route.source for route in records(FAR, local=Local()).routes] == [None, None]


def test_the_outer_family_is_the_first_of_this_nodes_own_that_both_have() -> None:
    six = node("six", "fd01::4", "fd00:4::/64")
    assert behind(records(FAR, six))["fd00:3::/64"] == "198.51.100.3"
    assert behind(records(FAR, six))["fd00:4::/64"] == "fd01::4"


def test_pods_of_a_family_that_the_underlay_lacks_go_through_the_tunnel_across_subnets_too() -> None:
    only4 = node("only4", "192.0.2.9", "10.9.0.0/24 fd00:9::/64")
    assert behind(records(only4, network=CROSS)) == {"fd00:9::/64": "192.0.2.9"}


def test_all_pods_nodes_and_configured_ranges_meet_pods_unmasqueraded() -> None:
    local = replace(LOCAL, not_masqueraded=(ip_network("10.0.0.0/8"), ip_network("10.1.0.0/24")))
    found = records(NEAR, network=NetworkSettings(), local=local)
    assert {shown(k) for k in found.prefixes} == {
        "10.0.0.0/8",
        *(str(r) for n in (OWN, NEAR) for r in (*n.pod_cidrs, *map(ip_network, n.internal_ips))),
    }
    flags = {shown(key): abi.Prefix.unpack(value).flags for key, value in found.prefixes.items()}
    assert all(value & abi.PrefixFlag.PREFIX_NO_MASQUERADE for value in flags.values())
    nodes = {r for r, value in flags.items() if value & abi.PrefixFlag.PREFIX_NODE}
    assert nodes == {str(ip_network(a)) for n in (OWN, NEAR) for a in n.internal_ips}


SERVICES = (ip_network("10.96.0.0/12"), ip_network("fd00:10:96::/112"))
SERVED = replace(VXLAN, service_cidrs=SERVICES)


def kept_for_services(found: Found) -> set[str]:
    return {shown(k) for k, v in found.prefixes.items() if abi.Prefix.unpack(v).remote_id == abi.REMOTE_CLUSTER_IP}


def test_nobody_is_where_cluster_ips_are_taken_from() -> None:
    assert kept_for_services(records(NEAR, FAR, network=SERVED)) == set(map(str, SERVICES))


def test_a_range_that_is_not_masqueraded_is_the_services_where_it_is_within_theirs() -> None:
    ranges = tuple(map(ip_network, ("10.0.0.0/8", "10.96.0.0/12", "10.97.0.0/16")))
    found = records(network=SERVED, local=replace(LOCAL, not_masqueraded=ranges))
    assert kept_for_services(found) == {"10.97.0.0/16", *map(str, SERVICES)}
    assert "10.0.0.0/8" in map(shown, found.prefixes)


def test_ranges_of_services_do_not_wait_for_a_node() -> None:
    _, made, _ = update(remotes({}, vantage(Node(HERE), Local(), SERVED), (), Remotes()), Remotes())
    assert contents(made.values())["prefixes"]


def test_a_nodes_range_that_services_have_too_is_named_and_stays_its_own() -> None:
    over = node("over", "192.0.2.9", "10.96.0.0/12")
    known = found_from({HERE: OWN, "over": over}, SERVED, LOCAL)
    _, _, problems = update(known, Remotes())
    assert [p.field for found in problems.values() for p in found] == ["spec.podCIDRs[0]"]
    assert kept_for_services(records(over, network=SERVED)) == {"fd00:10:96::/112"}


def test_a_remote_keeps_its_id_while_others_come_and_go() -> None:
    a, b, c = (mapped(ip_address(f"192.0.2.{n}")).packed for n in (2, 3, 4))
    first = RemoteIds().of([a, b])
    second = first.of([b, c])
    assert (first.ids, second.ids) == ({a: 1, b: 2}, {b: 2, c: 3})
    assert second.of([c, b]) is second


def test_a_free_id_is_given_again_only_after_all_the_others() -> None:
    a, b = (mapped(ip_address(f"192.0.2.{n}")).packed for n in (2, 3))
    last = abi.REMOTE_EXTERNAL_IP - 1
    assert RemoteIds({a: 1}, last).of([a, b]).ids == {a: 1, b: last}
    assert RemoteIds({a: 1}, abi.REMOTE_EXTERNAL_IP).of([a, b]).ids == {a: 1, b: 2}
    assert RemoteIds({a: 1}, abi.REMOTE_SELF).of([a, b]).ids == {a: 1, b: 2}
    assert RemoteIds({a: 1}, 0x10000).of([a, b]).ids == {a: 1, b: 2}


@pytest.mark.parametrize(
    ("network", "own", "expected"),
    [
        pytest.param(NetworkSettings(), OWN, None, id="no device natively"),
        pytest.param(VXLAN, OWN, Tunnel(DeviceKind.VXLAN, 8472, 1450), id="over IPv4 50 bytes go"),
        pytest.param(
            VXLAN,
            Node(HERE, OWN.internal_ips[::-1]),
            Tunnel(DeviceKind.VXLAN, 8472, 1430),
            id="over IPv6 70",
        ),
        pytest.param(
            replace(VXLAN, port=4789, mtu=1400), OWN, Tunnel(DeviceKind.VXLAN, 4789, 1400), id="what is given counts"
        ),
        pytest.param(IPIP, OWN, Tunnel(DeviceKind.VETH, 0, 1480), id="IPIP over IPv4 20 bytes"),
        pytest.param(
            IPIP, Node(HERE, OWN.internal_ips[::-1]), Tunnel(DeviceKind.VETH, 0, 1460), id="IPIP over IPv6 40"
        ),
        pytest.param(GENEVE, OWN, Tunnel(DeviceKind.GENEVE, 6081, 1450), id="Geneve by its device"),
        pytest.param(
            replace(GENEVE, has_geneve=False),
            OWN,
            Tunnel(DeviceKind.VXLAN, 6081, 1450),
            id="Geneve by the VXLAN device",
        ),
        pytest.param(replace(IPIP, port=9), OWN, Tunnel(DeviceKind.VETH, 0, 1480), id="IPIP has no port"),
    ],
)
def test_the_tunnel_leaves_room_for_what_it_adds(network: NetworkSettings, own: Node, expected: Tunnel | None) -> None:
    found = found_from({HERE: own, "remote": FAR}, network, LOCAL)
    assert tunnel(network, found.overhead, LOCAL.devices) == expected


@pytest.mark.parametrize(
    ("network", "flags"),
    [
        pytest.param(VXLAN, abi.NodeFlag(0), id="nothing with VXLAN"),
        pytest.param(IPIP, abi.NodeFlag.NODE_IPIP, id="the header with IPIP"),
        pytest.param(GENEVE, abi.NodeFlag(0), id="nothing where the kernel has Geneve"),
        pytest.param(replace(GENEVE, has_geneve=False), abi.NodeFlag.NODE_GENEVE, id="the exchange where it has not"),
    ],
)
def test_the_programs_do_what_the_device_does_not(network: NetworkSettings, flags: abi.NodeFlag) -> None:
    assert network.flags == flags
    assert replace(network, masquerade=True).flags == flags | abi.NodeFlag.NODE_MASQUERADE
    assert replace(network, host_routing=True).flags == flags | abi.NodeFlag.NODE_HOST_ROUTING
    assert replace(network, masquerade_all=True).flags == flags | abi.NodeFlag.NODE_MASQUERADE_ALL


def test_a_change_of_one_node_concerns_that_node_alone() -> None:
    nodes = {n.name: n for n in (OWN, NEAR, FAR)}
    first, _, _ = update(found_from(nodes, VXLAN, LOCAL), Remotes())
    moved = {**nodes, "near": replace(NEAR, pod_cidrs=NEAR.pod_cidrs[:1])}
    _, made, _ = update(remotes(moved, first.vantage, (), first), first)
    assert {owner for owner in made if owner != RANGES} == {Owner(OwnerKind.REMOTE, "near")}


def test_a_range_that_two_nodes_have_stays_with_the_first_and_passes_on_when_that_goes() -> None:
    twin = replace(FAR, name="twin", internal_ips=(ip_address("198.51.100.9"),))
    nodes = {n.name: n for n in (OWN, FAR, twin)}
    first, _, problems = update(found_from(nodes, VXLAN, LOCAL), Remotes())
    assert {str(problem.name) for found in problems.values() for problem in found} == {"twin"}
    assert [problem.field for found in problems.values() for problem in found] == [
        "spec.podCIDRs[0]",
        "spec.podCIDRs[1]",
    ]
    _, made, later = update(remotes({HERE: OWN, "twin": twin}, first.vantage, (), first), first)
    assert "10.3.0.0/24" in {shown(key) for key in made[Owner(OwnerKind.REMOTE, "twin")].of_map("prefixes")}
    assert not any(later.values())
