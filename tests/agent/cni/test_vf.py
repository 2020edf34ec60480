"""Definitions of sriov-cni read as VF specs: each key, and what each of them refuses by its name."""

import json
from typing import Any

import pytest

from agent.cni import vf
from agent.cni.device_commands import added
from agent.cni.error import CniError, Code
from agent.cni.request import Request, parse
from agent.model.vf import LinkState, NodeOwner, VfKind, VfSettings, VlanProtocol
from agent.pods.device.record import DeviceStage
from agent.pods.vf.record import VfBefore, VfRecord

ADDRESS = "0000:03:02.0"
ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "net1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
}
RECORD = VfRecord(
    stage=DeviceStage.ADDED,
    address=ADDRESS,
    kind=VfKind.NETDEV,
    network="fast",
    container_id="c1",
    interface="net1",
    netns="/run/netns/c1",
    netns_cookie=1,
    before=VfBefore("x", "", VfSettings(), None),
    asked_at_ns=1,
    mac="02:00:00:00:00:0a",
    mtu=1500,
    given={"ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}], "routes": [{"dst": "10.8.0.0/16"}]},
)


def read(version: str = "1.1.0", **config: Any) -> Request:
    base = {"cniVersion": version, "name": "fast", "type": "sluiceway-cni", "kind": "sriov", "deviceID": ADDRESS}
    return parse(ENVIRONMENT, json.dumps({**base, **config}).encode())


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        pytest.param({}, VfSettings(), id="what is absent is not touched"),
        pytest.param({"vlan": 0}, VfSettings(vlan=0), id="VLAN 0 is asked for, and means untagged"),
        pytest.param(
            {"vlan": 100, "vlanQoS": 3, "vlanProto": "802.1AD"},
            VfSettings(vlan=100, vlan_qos=3, vlan_proto=VlanProtocol.S_TAG),
            id="a service VLAN",
        ),
        pytest.param({"mac": "02-00-00-00-00-0A"}, VfSettings(mac="02:00:00:00:00:0a"), id="a MAC in another spelling"),
        pytest.param(
            {"mac": "02:00:00:00:00:0a", "runtimeConfig": {"mac": "02:00:00:00:00:0b"}},
            VfSettings(mac="02:00:00:00:00:0b"),
            id="the pod's MAC goes before the definition's",
        ),
        pytest.param(
            {"spoofchk": "off", "trust": "on", "link_state": "enable", "min_tx_rate": 0, "max_tx_rate": 50},
            VfSettings(spoofchk=False, trust=True, link_state=LinkState.ENABLE, min_tx_rate=0, max_tx_rate=50),
            id="switches, link and rates",
        ),
    ],
)
def test_settings(config: dict[str, Any], settings: VfSettings) -> None:
    assert vf.asked(read(**config)).spec.settings == settings


def test_the_rest_of_a_definition() -> None:
    spec = vf.asked(read(kind="dpdk", mtu=9000, uid=1000, ipam={"type": "static"}))
    assert (spec.spec.kind, spec.spec.mtu, spec.spec.owner) == (VfKind.DPDK, 9000, NodeOwner(1000, 0))
    assert (spec.key, str(spec.pod), spec.config["ipam"]) == (("c1", "net1"), "default/web", {"type": "static"})


@pytest.mark.parametrize(
    ("config", "address"),
    [
        pytest.param({"runtimeConfig": {"deviceID": "0000:03:02.7"}}, "0000:03:02.7", id="the pod's device goes first"),
        pytest.param({"deviceID": "", "pciBusID": "0000:AF:02.1"}, "0000:af:02.1", id="Multus' other key"),
    ],
)
def test_the_device(config: dict[str, Any], address: str) -> None:
    assert vf.asked(read(**config)).address == address


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param({"deviceID": None}, "deviceID: is missing", id="no device"),
        pytest.param({"deviceID": "ens1v0"}, "deviceID: 'ens1v0' is no PCI address", id="a name"),
        pytest.param({"deviceID": "../../x"}, "deviceID: ", id="a path"),
        pytest.param({"deviceID": 5}, "deviceID: 5 is no string", id="a number"),
        pytest.param({"runtimeConfig": {"deviceID": "x"}}, "runtimeConfig.deviceID: ", id="the pod's device is named"),
        pytest.param({"kind": "srivo"}, "kind: 'srivo' is none of", id="a kind that is none"),
        pytest.param({"vlan": 4095}, "vlan: 4095 is not a number from 0 to 4094", id="a reserved VLAN"),
        pytest.param({"vlan": "100"}, "vlan: '100'", id="a VLAN as text"),
        pytest.param({"vlan": True}, "vlan: True", id="a VLAN that is no number"),
        pytest.param({"vlanQoS": 3}, "vlanQoS: means something with a vlan", id="a priority without a VLAN"),
        pytest.param({"vlan": 0, "vlanProto": "802.1ad"}, "vlanProto: means something", id="a protocol without a VLAN"),
        pytest.param({"vlan": 5, "vlanQoS": 8}, "vlanQoS: 8", id="a priority that is none"),
        pytest.param(
            {"vlan": 5, "vlanProto": "802.1x"}, "vlanProto: '802.1x' is none of 802.1q", id="a protocol that is none"
        ),
        pytest.param({"mac": "01:00:00:00:00:01"}, "mac: ", id="a group's MAC"),
        pytest.param({"mac": "00:00:00:00:00:00"}, "mac: ", id="no MAC"),
        pytest.param({"spoofchk": "yes"}, "spoofchk: 'yes' is none of on, off", id="a switch that is none"),
        pytest.param({"trust": True}, "trust: True is none of", id="a switch as JSON has them"),
        pytest.param(
            {"link_state": "up"}, "link_state: 'up' is none of auto, enable, disable", id="a state that is none"
        ),
        pytest.param(
            {"min_tx_rate": 9, "max_tx_rate": 5}, "min_tx_rate: 9 Mbit/s is more", id="rates the wrong way round"
        ),
        pytest.param({"max_tx_rate": -1}, "max_tx_rate: -1", id="a negative rate"),
        pytest.param({"mtu": "9000"}, "mtu: '9000' is not a number", id="an MTU as text"),
        pytest.param({"ipam": {"type": "../../bin/sh"}}, "ipam.type: ", id="a plugin's path"),
        pytest.param({"ipam": {"subnet": "10.0.0.0/8"}}, "ipam.type: ", id="no plugin's name"),
        pytest.param({"ipam": {"type": "dhcp"}}, "ipam.type: 'dhcp' is not for kinds of ours", id="DHCP"),
        pytest.param(
            {"ipam": {"type": "static", "routes": [{"dst": "x"}]}}, "ipam.routes[0].dst: 'x' is no", id="a route"
        ),
        pytest.param({"uid": -1}, "uid: -1", id="a user that is none"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_key(config: dict[str, Any], words: str) -> None:
    with pytest.raises(CniError) as failed:
        vf.asked(read(**config))
    assert failed.value.code is Code.CONFIG
    assert str(failed.value).startswith(words), str(failed.value)


def test_what_an_earlier_agent_gave_can_be_given_back() -> None:
    assert vf.vf_request(read(ipam={"type": "dhcp"})).address == ADDRESS
    assert vf.vf_request(read(ipam={"type": "static", "routes": 7})).address == ADDRESS


@pytest.mark.parametrize(
    ("version", "interface", "ip"),
    [
        pytest.param("1.1.0", {"mtu": 1500, "pciID": ADDRESS}, {}, id="1.1.0 tells MTU and PCI address"),
        pytest.param("1.0.0", {}, {}, id="1.0.0 has no such fields"),
        pytest.param("0.4.0", {}, {"version": "4"}, id="0.4.0 has an address's version"),
    ],
)
def test_the_answer(version: str, interface: dict[str, Any], ip: dict[str, Any]) -> None:
    assert json.loads(added(read(version), RECORD)) == {
        "cniVersion": version,
        "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:0a", "sandbox": "/run/netns/c1", **interface}],
        "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 0, **ip}],
        "routes": [{"dst": "10.8.0.0/16"}],
        "dns": {},
    }
