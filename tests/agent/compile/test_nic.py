"""Definitions of the kinds macvlan, ipvlan, vlan and host-device: read, refused by key, and held against a device."""

import json
from dataclasses import replace
from typing import Any

import pytest

from agent.compile.network_config import plugin_list
from agent.compile.network_refused import NetworkRefused
from agent.compile.nic import refusal
from agent.compile.nic_config import nic_spec
from agent.model.netdev import Netdev
from agent.model.nic import IpvlanMode, MacvlanMode, Nic, NicKind, NicSpec

MAC = "02:00:00:00:00:01"
PASSTHRU = NicSpec(NicKind.MACVLAN, macvlan_mode=MacvlanMode.PASSTHRU)
NIC = Nic(Netdev("eth1", 7, MAC, 1500, is_up=True), "0000:04:00.0", MAC)


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        pytest.param("macvlan", {}, NicSpec(NicKind.MACVLAN), id="by default above the default route's, in a bridge"),
        pytest.param(
            "macvlan",
            {"master": "eth1", "mode": "vepa", "mtu": 1400, "mac": "02-00-00-00-00-0A", "bcqueuelen": 200},
            NicSpec(
                NicKind.MACVLAN,
                "eth1",
                macvlan_mode=MacvlanMode.VEPA,
                broadcast_queue=200,
                mtu=1400,
                mac="02:00:00:00:00:0a",
            ),
            id="macvlan with all that it has",
        ),
        pytest.param("macvlan", {"mtu": 0}, NicSpec(NicKind.MACVLAN), id="an MTU of 0 is the master's"),
        pytest.param("macvlan", {"bcqueuelen": 0}, NicSpec(NicKind.MACVLAN), id="a queue of 0 is the kernel's"),
        pytest.param(
            "ipvlan",
            {"master": "eth1", "mode": "l3"},
            NicSpec(NicKind.IPVLAN, "eth1", ipvlan_mode=IpvlanMode.L3),
            id="ipvlan, routed",
        ),
        pytest.param("ipvlan", {"linkInContainer": False}, NicSpec(NicKind.IPVLAN), id="ipvlan"),
        pytest.param(
            "vlan", {"master": "eth1", "vlanId": 5}, NicSpec(NicKind.VLAN, "eth1", vlan=5), id="vlan, by number"
        ),
        pytest.param("host-device", {"device": "eth1"}, NicSpec(NicKind.HOST_DEVICE, "eth1"), id="a device by name"),
        pytest.param(
            "host-device",
            {"hwaddr": "02:00:00:00:00:0A"},
            NicSpec(NicKind.HOST_DEVICE, hardware_address="02:00:00:00:00:0a"),
            id="by its MAC",
        ),
        pytest.param(
            "host-device",
            {"kernelpath": "/sys/devices/pci0000:00/0000:00:03.0"},
            NicSpec(NicKind.HOST_DEVICE, path="/sys/devices/pci0000:00/0000:00:03.0"),
            id="by its path",
        ),
        pytest.param(
            "host-device",
            {"pciBusID": "0000:04:00.0", "runtimeConfig": {"deviceID": "0000:04:00.1"}},
            NicSpec(NicKind.HOST_DEVICE, pci_address="0000:04:00.1"),
            id="what a device plugin gave goes first",
        ),
    ],
)
def test_a_definition_is_read(kind: str, config: dict[str, Any], expected: NicSpec) -> None:
    assert nic_spec(NicKind(kind), config) == expected


def test_what_a_pod_asks_for_goes_before_the_definition() -> None:
    assert nic_spec(NicKind.MACVLAN, {"mac": "02:00:00:00:00:0a"}, MAC).mac == MAC


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        pytest.param("macvlan", {"mode": "hub"}, "mode: 'hub' is none of bridge", id="no mode"),
        pytest.param("macvlan", {"mode": 4}, "mode: 4 is no string", id="a number for a mode"),
        pytest.param("macvlan", {"master": "a-device-of-16-ch"}, "master: .* is no name of a device", id="a long name"),
        pytest.param("macvlan", {"master": "../eth0"}, "master: .* is no name of a device", id="a path for a name"),
        pytest.param("macvlan", {"mtu": "1500"}, "mtu: '1500' is not a number", id="a text for an MTU"),
        pytest.param("macvlan", {"mac": "01:00:00:00:00:01"}, "mac: .* of a single device", id="a group's MAC"),
        pytest.param("macvlan", {"linkInContainer": True}, "linkInContainer: true is not", id="a master in the pod"),
        pytest.param("macvlan", {"ipam": {"type": "dhcp"}}, "ipam.type: 'dhcp' is not for kinds of ours", id="DHCP"),
        pytest.param("ipvlan", {"mode": "l3s"}, "mode: 'l3s' is not there", id="what passes no program"),
        pytest.param("ipvlan", {"mac": MAC}, "mac: is not for the kind ipvlan", id="a MAC of a shared one"),
        pytest.param("vlan", {"master": "eth1"}, "vlanId: is missing", id="no VLAN"),
        pytest.param("vlan", {"vlanId": 5}, "master: is missing", id="a VLAN of nothing"),
        pytest.param("vlan", {"master": "e", "vlanId": 0}, "vlanId: 0 is not a number from 1 to 4094", id="VLAN 0"),
        pytest.param("vlan", {"master": "e", "vlanId": 4095}, "vlanId: 4095 is not a number", id="VLAN 4095"),
        pytest.param("host-device", {"hwaddr": "x"}, "hwaddr: 'x' is no MAC", id="no MAC"),
        pytest.param("host-device", {}, "device: is missing; say it, hwaddr, kernelpath or pciBusID", id="no device"),
    ],
)
def test_a_key_that_cannot_be_is_named_as_soon_as_the_definition_is_there(
    kind: str, config: dict[str, Any], words: str
) -> None:
    whole = {"cniVersion": "1.0.0", "type": "sluiceway-cni", "kind": kind, **config}
    with pytest.raises(NetworkRefused, match=f"spec.config.{words}"):
        plugin_list(json.dumps(whole), "lan", may_be_given=False)


def test_a_device_may_be_one_of_a_resource_until_the_pod_is_there() -> None:
    whole = {"cniVersion": "1.0.0", "type": "sluiceway-cni", "kind": "host-device"}
    assert plugin_list(json.dumps(whole), "lan").own_kind == "host-device"
    with pytest.raises(NetworkRefused, match="device: is missing"):
        nic_spec(NicKind.HOST_DEVICE, {})


@pytest.mark.parametrize(
    ("spec", "nic", "words"),
    [
        pytest.param(NicSpec(NicKind.MACVLAN), NIC, "", id="a NIC that is up"),
        pytest.param(
            NicSpec(NicKind.MACVLAN), replace(NIC, netdev=replace(NIC.netdev, is_up=False)), "eth1 is down", id="down"
        ),
        pytest.param(NicSpec(NicKind.VLAN), replace(NIC, is_loopback=True), "is the loopback", id="the loopback"),
        pytest.param(NicSpec(NicKind.IPVLAN, mtu=1501), NIC, "mtu: 1501 is not from 68 to 1500", id="a large MTU"),
        pytest.param(
            NicSpec(NicKind.MACVLAN, macvlan_mode=MacvlanMode.PASSTHRU, mac=MAC), NIC, "mac: is not", id="MAC, passthru"
        ),
        pytest.param(
            NicSpec(NicKind.MACVLAN),
            replace(NIC, node_addresses=("192.0.2.1",), is_way_out=True, above=("eth1.7",)),
            "",
            id="what the node lives by may be shared",
        ),
        pytest.param(
            NicSpec(NicKind.HOST_DEVICE, "eth1"),
            replace(NIC, node_addresses=("192.0.2.1",)),
            "device: by eth1 the node has 192.0.2.1",
            id="and not taken away",
        ),
        pytest.param(
            NicSpec(NicKind.HOST_DEVICE, pci_address="0000:04:00.0"),
            replace(NIC, is_way_out=True),
            "pciBusID: a default route",
            id="nor the way out",
        ),
        pytest.param(
            NicSpec(NicKind.HOST_DEVICE, hardware_address=MAC),
            replace(NIC, above=("bond0",)),
            "hwaddr: bond0 of the node would lose eth1",
            id="nor a port of a bond",
        ),
        pytest.param(
            NicSpec(NicKind.HOST_DEVICE, "eth1"),
            replace(NIC, routed=("10.9.0.0/16",)),
            "device: by eth1 the node has the route to 10.9.0.0/16",
            id="nor one that routes lead out of, which would not be back",
        ),
        pytest.param(
            NicSpec(NicKind.HOST_DEVICE, "eth1"),
            replace(NIC, vfs=2),
            "device: eth1 has 2 VFs, which its pod could change",
            id="nor a PF that has VFs",
        ),
        pytest.param(NicSpec(NicKind.MACVLAN), replace(NIC, vfs=2), "", id="which may be shared"),
        pytest.param(PASSTHRU, replace(NIC, vfs=2), "", id="passthru above a NIC that nobody uses"),
        pytest.param(
            PASSTHRU, replace(NIC, is_way_out=True), "master: a default route", id="passthru of the node's way out"
        ),
        pytest.param(
            PASSTHRU,
            replace(NIC, node_addresses=("192.0.2.1",)),
            "master: by eth1 the node has 192.0.2.1",
            id="passthru above a device that the node has an address by",
        ),
        pytest.param(
            NicSpec(NicKind.IPVLAN), replace(NIC, ipvlan_mode="l2"), "", id="ipvlan beside the node's of the same mode"
        ),
        pytest.param(
            NicSpec(NicKind.IPVLAN),
            replace(NIC, ipvlan_mode="l3s"),
            "mode: eth1 has ipvlan devices of mode l3s, the node's",
            id="ipvlan would switch the node's to its mode",
        ),
        pytest.param(
            NicSpec(NicKind.HOST_DEVICE, "eth1"),
            replace(NIC, netdev=replace(NIC.netdev, is_up=False)),
            "",
            id="one that is down is spare",
        ),
    ],
)
def test_a_device_serves_or_the_key_says_why_not(spec: NicSpec, nic: Nic, words: str) -> None:
    why = refusal(nic, spec)
    assert (words in why, bool(why)) == (True, bool(words))
