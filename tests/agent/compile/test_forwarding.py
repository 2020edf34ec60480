"""Clients outside that keep their addresses: what services say of them, and the device that natively they need."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from agent.compile.desired import Desired, desired
from agent.compile.node import node_owner
from agent.compile.remote import node_number
from agent.compile.settings import NetworkSettings
from agent.compile.tunnel import NAME, SEGMENTER, DeviceKind, Tunnel
from agent.model.address import mapped, unmapped
from agent.model.local import Device, Local
from agent.model.node import Node
from agent.options.choices import Encapsulation, Forwarding
from agent.reconcile.plans import contents
from maps import abi
from tests.agent.compile.objects import HERE, HTTP, SETTINGS, Object, cluster, endpoint, piece, service

SNAT, TUNNEL, DSR = Forwarding.SNAT, Forwarding.TUNNEL, Forwarding.DSR
FLAGS = {SNAT: abi.ServiceFlag(0), TUNNEL: abi.ServiceFlag.SERVICE_TUNNEL}
FLAGS[DSR] = FLAGS[TUNNEL] | abi.ServiceFlag.SERVICE_DSR
UPLINK = Device(2, "eth0", (ip_address("192.0.2.1"),), (ip_network("192.0.2.0/24"),), 1500, default_route=True)
PAIR = (Device(8, NAME), Device(9, SEGMENTER))
OWN = Node(HERE, UPLINK.addresses, (ip_network("10.1.0.0/24"),))
NEAR = Node("near", (ip_address("192.0.2.2"),), (ip_network("10.2.0.0/24"),))
PORT = replace(HTTP, node_port=30080)


def asked(said: Forwarding | None, called: str = "web", ip: str = "10.96.0.1") -> Object:
    return service(called, ip, ports=(PORT,), external_ips=(ip_address("203.0.113.5"),), forwarding=said)


def wanted(
    *objects: Object, before: Desired | None = None, pair: bool = False, synced: bool = True, **said: Any
) -> Desired:
    """What a node with another one beside it is to have."""
    local = Local((UPLINK, *(PAIR if pair else ())), netns_cookie=1)
    found = cluster(OWN, NEAR, *objects, local=local, synced=synced)
    return desired(found, replace(SETTINGS, **said), before or Desired())


def node_of(found: Desired) -> abi.Node:
    (value,) = found.owners[node_owner(SETTINGS)].of_map("node").values()
    return abi.Node.unpack(value)


@pytest.mark.parametrize(
    ("option", "said", "holds"),
    [
        *(pytest.param(one, None, one, id=f"nothing said: the node's {one}") for one in Forwarding),
        *(pytest.param(SNAT, one, one, id=f"{one} goes before the node's") for one in (TUNNEL, DSR)),
        pytest.param(DSR, SNAT, SNAT, id="snat goes before the node's"),
    ],
)
def test_who_asks_from_outside_is_forwarded_as_the_service_says(
    option: Forwarding, said: Forwarding | None, holds: Forwarding
) -> None:
    found = wanted(asked(said), piece("web", endpoint("10.2.0.9")), forwarding=option)
    services = contents(found.owners.values())["services"]
    flags = {abi.ServiceKey.unpack(k).scope: set[abi.ServiceFlag]() for k in services}
    for key, value in services.items():
        flags[abi.ServiceKey.unpack(key).scope].add(abi.ServiceFlag(abi.Service.unpack(value).flags))
    assert flags == {abi.Scope.SCOPE_EXTERNAL: {FLAGS[holds]}, abi.Scope.SCOPE_INTERNAL: {abi.ServiceFlag(0)}}


@pytest.mark.parametrize(
    ("option", "said", "has"),
    [
        pytest.param(SNAT, None, False, id="nobody asks for it"),
        pytest.param(DSR, None, True, id="the option"),
        pytest.param(DSR, SNAT, True, id="the option, whatever services say: another node may go by it"),
        pytest.param(SNAT, TUNNEL, True, id="a service"),
    ],
)
def test_natively_a_device_of_ipip_is_there_for_what_is_forwarded(
    option: Forwarding,
    said: Forwarding | None,
    has: bool,  # noqa: FBT001
) -> None:
    found = wanted(asked(said), pair=True, forwarding=option)
    assert found.tunnel == (Tunnel(DeviceKind.VETH, 0, 1480) if has else None)
    assert found.pod_mtu == (1480 if has else 1500)
    node = node_of(found)
    assert (node.tunnel_ifindex, node.segmenter_ifindex) == ((8, 9) if has else (0, 0))
    assert bool(node.flags & abi.NodeFlag.NODE_IPIP) == has
    remotes = contents(found.owners.values()).get("remotes", {})
    assert [unmapped(abi.Remote.unpack(r).addr) for r in remotes.values()] == (list(NEAR.internal_ips) if has else [])
    prefixes = contents(found.owners.values())["prefixes"].values()
    theirs = [p for p in map(abi.Prefix.unpack, prefixes) if p.node_id == node_number("near")]
    assert {(p.remote_id, p.forward_id) for p in theirs} == {(0, 1 if has else 0)}
    assert {route.gateway for route in found.routes.values()} == {NEAR.internal_ips[0]}, "pods' own packets go as ever"


def test_the_device_comes_and_goes_with_the_services_that_ask_for_it() -> None:
    before = wanted(asked(None))
    for said, has in ((DSR, True), (SNAT, False)):
        before = wanted(asked(said), asked(None, "other", "10.96.0.2"), before=before)
        assert (before.tunnel is not None) == has
        again = desired(replace(before.source, slices={}), SETTINGS, before)
        assert again.tunnel == before.tunnel


def test_until_an_agent_has_heard_of_services_it_leaves_the_device_in_use_that_another_one_made() -> None:
    assert node_of(wanted(pair=True, synced=False)).tunnel_ifindex == PAIR[0].ifindex
    assert node_of(wanted(synced=False)).tunnel_ifindex == 0


def test_natively_what_the_option_says_of_the_mtu_is_pods_alone() -> None:
    for mtu, tunnel in ((1400, 1400), (1500, 1480)):
        found = wanted(forwarding=TUNNEL, network=NetworkSettings(mtu=mtu))
        assert found.tunnel is not None
        assert (found.tunnel.mtu, found.pod_mtu) == (tunnel, mtu)


@pytest.mark.parametrize("encapsulation", [Encapsulation.VXLAN, Encapsulation.GENEVE, Encapsulation.IPIP])
@pytest.mark.parametrize("cross_subnet", [False, True], ids=["to every node", "across subnets"])
def test_an_encapsulation_leads_to_every_node_while_something_is_forwarded(
    encapsulation: Encapsulation, *, cross_subnet: bool
) -> None:
    """Else no node is believed what it says of who is outside."""
    network = NetworkSettings(encapsulation, cross_subnet=cross_subnet)
    before = None
    for said, forward_id in ((None, 0), (DSR, 1), (SNAT, 0)):
        found = before = wanted(asked(said), before=before, network=network)
        prefixes = map(abi.Prefix.unpack, contents(found.owners.values())["prefixes"].values())
        theirs = {(p.remote_id, p.forward_id) for p in prefixes if p.node_id == node_number("near")}
        assert theirs == {(0 if cross_subnet else 1, forward_id)}
        remotes = contents(found.owners.values()).get("remotes", {}).values()
        assert list(remotes) == [abi.Remote(mapped(NEAR.internal_ips[0])).pack()] * (forward_id or not cross_subnet)
        assert found.tunnel == wanted(network=network).tunnel


def test_nothing_is_forwarded_on_a_network_that_other_plugins_make() -> None:
    found = wanted(asked(DSR), is_chained=True)
    assert (found.tunnel, node_of(found).flags & abi.NodeFlag.NODE_IPIP) == (None, abi.NodeFlag(0))
