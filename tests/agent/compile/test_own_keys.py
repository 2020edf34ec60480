"""Keys of definitions that nobody would hear of, because they are nearly ours."""

from collections.abc import Mapping

import msgspec
import pytest

from agent.compile import own_keys
from agent.compile.network_config import plugin_list
from agent.compile.network_refused import NetworkRefused
from agent.model.network import OUR_KINDS

NEEDED: Mapping[str, Mapping[str, object]] = {
    "vlan": {"master": "eth1", "vlanId": 5},
    "host-device": {"device": "eth1"},
}


def listed(kind: str, **more: object) -> None:
    config = {"cniVersion": "1.0.0", "type": "sluiceway-cni", "kind": kind, **NEEDED.get(kind, {}), **more}
    plugin_list(msgspec.json.encode(config).decode(), "n")


@pytest.mark.parametrize(
    ("kind", "key", "meant"),
    [
        pytest.param("sriov", "VLAN", "vlan", id="in another case, which sriov-cni takes"),
        pytest.param("sriov", "vlanid", "vlan", id="another plugin's word"),
        pytest.param("dpdk", "spoofcheck", "spoofchk", id="a letter more"),
        pytest.param("sriov", "max_rx_rate", "max_tx_rate", id="a letter else"),
        pytest.param("sriov", "vlanQos", "vlanQoS", id="a letter's case"),
        pytest.param("macvlan", "masterr", "master", id="of a device's name"),
        pytest.param("vlan", "vlanID", "vlanId", id="beside the right one"),
        pytest.param("host-device", "pciBusId", "pciBusID", id="of an address"),
        pytest.param("veth", "af_xdp", "afxdp", id="of a veth"),
        pytest.param("veth", "IPAM", "ipam", id="of every kind"),
    ],
)
def test_a_key_that_is_nearly_ours_is_told_with_the_one_that_is_meant(kind: str, key: str, meant: str) -> None:
    with pytest.raises(NetworkRefused, match=rf"{key}: is not known to the kind {kind}; write {meant}, or leave it"):
        listed(kind, **{key: 5})


def test_of_very_many_keys_no_more_are_compared_than_somebody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    monkeypatch.setattr("difflib.get_close_matches", lambda key, *_: compared.append(key))
    listed("sriov", **{f"other{number}": number for number in range(10_000)})
    assert len(compared) == own_keys.MOST


@pytest.mark.parametrize("kind", OUR_KINDS)
def test_others_keys_are_let_be(kind: str) -> None:
    listed(kind, logLevel="debug", logFile="/var/log/sriov.log", promiscMode=True, isGateway=True, x=1)
