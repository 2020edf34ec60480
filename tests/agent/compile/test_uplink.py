"""Which devices are the node's uplinks."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from agent.compile.uplink import uplinks, without_ethernet
from agent.model.local import Device
from agent.model.node import Node

NODE = Node("n1", internal_ips=(IPv4Address("10.0.0.1"), IPv6Address("fd00::1")))
LO = Device(1, "lo", (IPv4Address("127.0.0.1"),))
ETH0 = Device(2, "eth0", (IPv4Address("10.0.0.1"),))
ETH1 = Device(3, "eth1", (IPv4Address("192.0.2.9"),), default_route=True)
ETH2 = Device(4, "eth2", (IPv6Address("fd00::1"),))
WIREGUARD = Device(6, "wg0", (IPv4Address("10.0.0.1"),), has_ethernet=False)
STORAGE = Device(7, "storage", (IPv4Address("10.99.0.1"),), (IPv4Network("10.99.0.0/24"),))
ALONE = Device(8, "alone", (IPv4Address("10.98.0.1"),), (IPv4Network("10.98.0.1/32"), IPv6Network("fe80::/64")))
SPARE = Device(5, "spare", (IPv4Address("198.51.100.7"),))


@pytest.mark.parametrize(
    ("chosen", "node", "devices", "expected"),
    [
        pytest.param((), NODE, (ETH0, SPARE), ("eth0",), id="a device with the node's InternalIP is an uplink"),
        pytest.param((), NODE, (ETH1, SPARE), ("eth1",), id="so is one with a default route"),
        pytest.param((), NODE, (ETH2, ETH0), ("eth0", "eth2"), id="each family's InternalIP counts, by ifindex"),
        pytest.param((), None, (ETH0, ETH1), ("eth1",), id="before the Node is known, the default route decides"),
        pytest.param((), NODE, (ETH0, STORAGE), ("eth0", "storage"), id="so is one with a subnet of its own"),
        pytest.param((), NODE, (ETH0, ALONE), ("eth0",), id="an address alone is no subnet, nor is a link-local one"),
        pytest.param((), NODE, (ETH0, replace(STORAGE, is_up=False)), ("eth0",), id="a device that is down is none"),
        pytest.param((), NODE, (ETH0, replace(STORAGE, is_bridge=True)), ("eth0",), id="containers' bridge is none"),
        pytest.param((), NODE, (replace(ETH0, is_bridge=True),), ("eth0",), id="the node's own bridge is one"),
        pytest.param((), NODE, (replace(STORAGE, name="swtunnel"),), (), id="the tunnel's device is none"),
        pytest.param(("spare",), NODE, (ETH0, SPARE), ("spare",), id="--devices overrides what would be found"),
        pytest.param(("gone",), NODE, (ETH0,), (), id="a device of --devices that is not there yet is waited for"),
        pytest.param(
            (), Node("n1", (IPv4Address("127.0.0.1"),)), (LO, ETH1), ("eth1",), id="loopback is never an uplink"
        ),
    ],
)
def test_uplinks(chosen: Any, node: Any, devices: Any, expected: Any) -> None:
    assert tuple(d.name for d in uplinks(chosen, node, devices)) == expected


PEERED = Device(13, "p1", (IPv6Address("fe80::1"),), (IPv6Network("fe80::/64"),))


@pytest.mark.parametrize(
    ("chosen", "device", "expected"),
    [
        pytest.param((), PEERED, ("eth0", "p1"), id="one with a link-local address alone"),
        pytest.param((), replace(STORAGE, name="p1"), ("eth0", "p1"), id="once, where it is one by its subnet too"),
        pytest.param((), replace(PEERED, has_ethernet=False), ("eth0",), id="but not without Ethernet"),
        pytest.param(("eth0",), PEERED, ("eth0",), id="nor where --devices names others"),
    ],
)
def test_the_device_at_which_a_peer_of_bgp_is_is_an_uplink(chosen: Any, device: Device, expected: Any) -> None:
    assert tuple(d.name for d in uplinks(chosen, NODE, (ETH0, device), peered={"p1"})) == expected
    assert without_ethernet(chosen, NODE, (ETH0, device), {"p1"}) == (() if device.has_ethernet else (device,))


OVERLAY = Device(9, "flannel.1", (IPv4Address("10.244.0.0"),), (IPv4Network("10.244.0.0/32"),), kind="vxlan")


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        pytest.param(OVERLAY, ("eth0", "flannel.1"), id="what another plugin encapsulates with"),
        pytest.param(replace(OVERLAY, is_up=False), ("eth0",), id="but not while it is down"),
        pytest.param(replace(OVERLAY, addresses=()), ("eth0",), id="nor where nobody could be answered by it"),
        pytest.param(replace(OVERLAY, name="swtunnel"), ("eth0",), id="nor our own"),
    ],
)
def test_overlays_are_uplinks_where_services_are_served_over_them(overlay: Device, expected: Any) -> None:
    assert tuple(d.name for d in uplinks((), NODE, (ETH0, overlay), with_overlays=True)) == expected
    assert uplinks((), NODE, (ETH0, overlay)) == (ETH0,)


def test_a_device_without_ethernet_headers_is_no_uplink_and_is_told_of() -> None:
    assert uplinks((), NODE, (WIREGUARD, ETH1)) == (ETH1,)
    assert without_ethernet((), NODE, (WIREGUARD, ETH1)) == (WIREGUARD,)
    assert without_ethernet(("eth1",), NODE, (WIREGUARD, ETH1)) == ()
    assert without_ethernet((), None, (replace(STORAGE, has_ethernet=False),)) == ()


BRIDGE = Device(10, "br0", (IPv4Address("10.0.0.1"),), is_bridge=True)
BOND = Device(11, "bond0", master=10, default_route=True)
PORT = Device(12, "eth9", (IPv4Address("10.97.0.1"),), (IPv4Network("10.97.0.0/24"),), master=11)
QUIET = replace(BOND, default_route=False)


@pytest.mark.parametrize(
    ("chosen", "devices", "expected"),
    [
        pytest.param((), (BRIDGE, BOND), ("br0",), id="a port of an uplink is none"),
        pytest.param((), (BRIDGE, QUIET, PORT), ("br0",), id="nor is a port of what is a port of one"),
        pytest.param(("br0", "eth9"), (BRIDGE, QUIET, PORT), ("br0",), id="even if --devices names both"),
        pytest.param(("eth9",), (BRIDGE, QUIET, PORT), ("eth9",), id="a port alone is one, as --devices says"),
        pytest.param((), (QUIET, PORT), ("eth9",), id="so is one whose master has neither address nor route"),
        pytest.param((), (BRIDGE, replace(PORT, master=0)), ("br0", "eth9"), id="what is no port is one beside it"),
    ],
)
def test_of_a_device_and_its_ports_one_is_an_uplink(
    chosen: tuple[str, ...], devices: tuple[Device, ...], expected: tuple[str, ...]
) -> None:
    assert tuple(d.name for d in uplinks(chosen, NODE, devices)) == expected
