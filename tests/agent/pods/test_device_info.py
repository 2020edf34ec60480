"""What is told of an interface's device: by a plugin, by a device plugin, and by its PCI address."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.model.name import ObjectName
from agent.pods import device_info
from agent.pods.device_info import DeviceInfo, device_file, info_file
from agent.pods.network_record import InterfaceRecord, NetworkSet

VF, PF = "0000:03:02.0", "0000:03:00.0"
RESOURCE = "example.com/vf"
ONE = InterfaceRecord(ObjectName("default", "lan"), "net1", "lan.a", "1.0.0", (), device=VF, resource=RESOURCE)
OWNER = NetworkSet("c1", "eth0", "/run/netns/p", "cluster", "boot", (ONE,))
TOLD = {"type": "pci", "version": "1.1.0"}
BY_ADDRESS = {**TOLD, "pci": {"pci-address": VF, "pf-pci-address": PF}}
BY_PLUGIN = {**TOLD, "pci": {"pci-address": VF, "rdma-device": "mlx5_5"}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of such files, and a VF on the bus."""
    found, bus = tmp_path / "devinfo", tmp_path / "devices"
    (bus / VF).mkdir(parents=True)
    (bus / VF / "physfn").symlink_to(f"../{PF}")
    for name in (device_info.INTERFACES, device_info.DEVICES):
        (found / name).mkdir(parents=True)
    monkeypatch.setattr(device_info, "FOLDER", found)
    monkeypatch.setattr(device_info, "PCI_DEVICES", bus)
    return found


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(json.dumps(TOLD).encode(), TOLD, id="JSON"),
        pytest.param(b'{"type":', None, id="cut short"),
        pytest.param(b'{"type":"\xff"}', None, id="not UTF-8"),
        pytest.param(b"[" * 100_000, None, id="nested too deep"),
    ],
)
def test_what_cannot_be_read_is_not_told(content: bytes, told: object) -> None:
    info_file(OWNER, ONE).write_bytes(content)
    assert DeviceInfo(None).read(OWNER, ONE) == told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(json.dumps(BY_PLUGIN), BY_PLUGIN, id="by the device plugin"),
        pytest.param("[]", BY_ADDRESS, id="by its address, where that is none"),
        pytest.param("", BY_ADDRESS, id="by its address"),
    ],
)
def test_a_device_that_a_pod_was_given_is_told(folder: Path, said: str, told: Mapping[str, Any]) -> None:
    if said:
        (folder / "dp/example.com-vf-0000:03:02.0-device.json").write_text(said)
    info = DeviceInfo(None)
    info.begin(OWNER, ONE)
    device_file(RESOURCE, VF).unlink(missing_ok=True)  # as a device plugin that starts anew has it
    assert info.read(OWNER, ONE) == told
    info.remove(info_file(OWNER, ONE))
    assert (info.read(OWNER, ONE), [*folder.glob("cni/*")]) == (None, [])


@pytest.mark.parametrize("device", ["", "slot-1", "../devices", "a\0b"])
def test_of_what_is_no_pci_function_nothing_is_told(folder: Path, device: str) -> None:
    DeviceInfo(None).begin(OWNER, InterfaceRecord(ONE.network, "net1", "lan", "1.0.0", (), device=device))
    assert [*folder.glob("cni/*")] == []


def test_what_a_device_plugin_has_told_of_a_vf_stays() -> None:
    info, path = DeviceInfo(None), info_file(OWNER, ONE)
    for before, after in ((None, BY_ADDRESS), (BY_PLUGIN, BY_PLUGIN), ({**TOLD, "pci": {}}, BY_ADDRESS)):
        info.write(path, before)
        info.write_pci(path, VF, PF)
        assert info.read(OWNER, ONE) == after
