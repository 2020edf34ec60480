"""sysfs read and written for one VF, in a folder that looks like it."""

import os
from pathlib import Path

import pytest

from agent.kernel.device import pci
from agent.kernel.device.pci import DeviceRefused, GroupFile, HugePages, PciBus, VfPlace
from agent.model.vf import IommuGroup, NodeOwner

PF, VF, OTHER, BRIDGE = "0000:03:00.0", "0000:03:02.0", "0000:03:02.1", "0000:00:1c.0"


class Machine:
    """A PF with two VFs in one group with a bridge; drivers take what is written to them as the kernel's do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.devices = root / "sys/bus/pci/devices"
        for address, base in ((PF, "020000"), (VF, "020000"), (OTHER, "020000"), (BRIDGE, "060400")):
            (self.devices / address).mkdir(parents=True)
            (self.devices / address / "class").write_text(f"0x{base}\n")
            (self.devices / address / "driver_override").write_text("(null)\n")
        (self.devices / PF / "net/ens1").mkdir(parents=True)
        group = root / "sys/kernel/iommu_groups/7/devices"
        group.mkdir(parents=True)
        for number, address in enumerate((VF, OTHER)):
            (self.devices / PF / f"virtfn{number}").symlink_to(f"../{address}")
            (self.devices / address / "physfn").symlink_to(f"../{PF}")
        for address in (VF, OTHER, BRIDGE):
            (self.devices / address / "iommu_group").symlink_to("../../../../kernel/iommu_groups/7")
            (group / address).symlink_to(f"../../../../bus/pci/devices/{address}")
        for address, driver in ((PF, "ice"), (VF, "iavf"), (OTHER, "iavf")):
            self.bound(address, driver)
        self.bus = PciBus(root)

    def bound(self, address: str, driver: str) -> None:
        """Have a driver bound, or none."""
        link = self.devices / address / "driver"
        link.unlink(missing_ok=True)
        if driver:
            folder = self.root / "sys/bus/pci/drivers" / driver
            folder.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"../../drivers/{driver}")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_vf_is_found_at_its_pf(machine: Machine) -> None:
    assert machine.bus.place(OTHER) == VfPlace(PF, "ens1", "ice", 1)
    assert (machine.bus.driver(VF), machine.bus.driver_override(VF)) == ("iavf", "")


def test_a_vfs_port_at_the_cards_switch_is_not_taken_for_its_pf(machine: Machine) -> None:
    for name, port in {"58609951635cbfa": "pf0vf0", "eth10": "pf0vf1"}.items():  # each before ens1
        (machine.devices / PF / "net" / name).mkdir()
        (machine.devices / PF / "net" / name / "phys_port_name").write_text(f"{port}\n")
    assert machine.bus.place(VF).pf_device == "ens1"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param("0000:77:00.0", "no PCI function 0000:77:00.0", id="no such function"),
        pytest.param(PF, "is no VF", id="a PF"),
    ],
)
def test_what_is_no_vf_is_refused(machine: Machine, address: str, words: str) -> None:
    with pytest.raises(DeviceRefused, match=words):
        machine.bus.place(address)


def test_a_pf_without_a_device_cannot_be_told(machine: Machine) -> None:
    (machine.devices / PF / "net/ens1").rmdir()
    with pytest.raises(DeviceRefused, match=f"PF {PF} of {VF} has no network device"):
        machine.bus.place(VF)


def test_a_group_has_all_but_bridges(machine: Machine) -> None:
    assert machine.bus.group(VF) == IommuGroup("7", {OTHER: "iavf"})
    machine.bound(OTHER, "")
    assert machine.bus.group(VF) == IommuGroup("7", {OTHER: ""})


def test_a_group_without_an_iommu_is_none(machine: Machine) -> None:
    (machine.root / "sys/kernel/iommu_groups/7/name").write_text("vfio-noiommu\n")
    assert machine.bus.group(VF) is None
    assert machine.bus.group(PF) is None


def test_a_driver_that_does_not_take_it_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pci, "BIND_S", 0.1)
    machine.bound(VF, "")
    with pytest.raises(DeviceRefused, match=f"vfio-pci does not take {VF} .*is vfio_pci loaded"):
        machine.bus.bind(VF, "vfio-pci", "vfio-pci")
    assert (machine.devices / VF / "driver_override").read_text() == "vfio-pci\n"
    assert (machine.root / "sys/bus/pci/drivers_probe").read_text() == VF


def test_an_override_is_left_as_it_is_wanted_behind_a_driver_that_is_bound_already(machine: Machine) -> None:
    (machine.devices / VF / "driver_override").write_text("iavf\n")
    machine.bus.bind(VF, "iavf", "")
    assert (machine.devices / VF / "driver_override").read_text() == "\n"


def test_a_groups_file_opens_to_its_owner_and_closes_again(machine: Machine) -> None:
    (machine.root / "dev/vfio").mkdir(parents=True)
    file = machine.root / "dev/vfio/7"
    file.touch(mode=0o600)
    was = machine.bus.group_file("7")
    assert was == GroupFile(os.getuid(), os.getgid(), 0o600)
    machine.bus.open_group("7", NodeOwner(os.getuid(), os.getgid()))
    assert machine.bus.group_file("7") == GroupFile(os.getuid(), os.getgid(), 0o660)
    machine.bus.restore_group_file("7", was)
    assert machine.bus.group_file("7") == was
    assert machine.bus.group_file("8") is None


def test_huge_pages_are_counted_by_size(machine: Machine) -> None:
    for size, pages in ((2048, 16), (1048576, 3)):
        folder = machine.root / f"sys/kernel/mm/hugepages/hugepages-{size}kB"
        folder.mkdir(parents=True)
        (folder / "nr_hugepages").write_text(f"{pages}\n")
        (folder / "free_hugepages").write_text(f"{pages - 3}\n")
    assert machine.bus.hugepages() == {2048: HugePages(16, 13), 1048576: HugePages(3, 0)}
