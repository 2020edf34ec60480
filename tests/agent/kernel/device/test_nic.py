"""Which device of the node a definition means: by name, other name, MAC, PCI address, or path."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.kernel.device import nic
from agent.kernel.device.nic import NodeNics
from agent.kernel.device.pci import DeviceRefused
from agent.model.netdev import Netdev
from agent.model.nic import Nic, NicKind, NicSpec

MACS = tuple(f"02:00:00:00:00:0{number}" for number in range(4))
NODE = (
    Nic(Netdev("eth0", 1, MACS[0], 1500), "virtio2", is_way_out=True),
    Nic(Netdev("eth1", 2, MACS[1], 1500, ("lan",)), "0000:04:00.0"),
    Nic(Netdev("eth2", 3, MACS[2], 1500), "0000:05:00.0"),
    Nic(Netdev("eth3", 4, MACS[2], 1500), "0000:05:00.0"),
)


@pytest.fixture
def nics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeNics:
    @contextmanager
    def dump() -> Iterator[None]:
        yield None

    monkeypatch.setattr(nic, "Dump", dump)
    monkeypatch.setattr(nic, "nics", lambda _: NODE)
    monkeypatch.setattr(nic, "routes_out_of", lambda _, index: ("10.5.0.0/16",) if index == 2 else ())
    (tmp_path / "bus/pci/devices/0000:00:03.0/virtio2").mkdir(parents=True)
    return NodeNics(tmp_path)


def moved(**said: str) -> NicSpec:
    return NicSpec(NicKind.HOST_DEVICE, **said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        pytest.param(NicSpec(NicKind.MACVLAN), "eth0", id="nothing said: the default route's"),
        pytest.param(NicSpec(NicKind.MACVLAN, "eth1"), "eth1", id="by name"),
        pytest.param(NicSpec(NicKind.IPVLAN, "lan"), "eth1", id="by another name"),
        pytest.param(moved(hardware_address=MACS[1]), "eth1", id="by MAC"),
        pytest.param(moved(pci_address="0000:04:00.0"), "eth1", id="by PCI address"),
        pytest.param(moved(pci_address="0000:00:03.0"), "eth0", id="virtio's by PCI address"),
        pytest.param(moved(path="/sys/devices/pci0000:00/0000:00:03.0"), "eth0", id="virtio's by path"),
        pytest.param(moved(path="/sys/devices/pci0000:00/0000:00:03.0/virtio2"), "eth0", id="by its own path"),
    ],
)
def test_a_device_is_found(nics: NodeNics, spec: NicSpec, name: str) -> None:
    assert nics.look(spec).netdev.name == name


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param(NicSpec(NicKind.VLAN, "eth9", vlan=5), "master: this node has no device eth9", id="none"),
        pytest.param(moved(pci_address="0000:09:00.0"), "pciBusID: this node has no device 0000:09", id="no card"),
        pytest.param(moved(pci_address="0000:05:00.0"), "0000:05:00.0 means eth2, eth3; name one", id="a card of two"),
        pytest.param(moved(hardware_address=MACS[2]), f"hwaddr: {MACS[2]} means eth2, eth3", id="a MAC of two"),
    ],
)
def test_a_word_that_means_none_or_several_is_refused_by_its_key(nics: NodeNics, spec: NicSpec, words: str) -> None:
    with pytest.raises(DeviceRefused, match=words):
        nics.look(spec)


def test_the_vfs_of_a_pf_are_counted(nics: NodeNics, tmp_path: Path) -> None:
    (tmp_path / "bus/pci/devices/0000:04:00.0").mkdir()
    (tmp_path / "bus/pci/devices/0000:04:00.0/sriov_numvfs").write_text("2\n")
    assert [nics.look(moved(device=name)).vfs for name in ("eth0", "eth1")] == [0, 2]


def test_routes_are_looked_at_for_who_wants_a_device_alone(nics: NodeNics) -> None:
    assert nics.look(moved(device="eth1")).routed == ("10.5.0.0/16",)
    assert nics.look(NicSpec(NicKind.MACVLAN, "eth1")).routed == ()


def test_without_a_default_route_a_master_has_to_be_said(nics: NodeNics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nic, "nics", lambda _: NODE[1:])
    with pytest.raises(DeviceRefused, match="master: is not said, and the node has no default route"):
        nics.look(NicSpec(NicKind.MACVLAN))
