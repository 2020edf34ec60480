"""PCI functions as sysfs has them: which VF of which PF one is, its driver, its IOMMU group; and another driver bound.

*root* is the folder that has ``sys`` and ``dev``, ``/`` on a node.

Sources: Documentation/ABI/testing/sysfs-bus-pci, sysfs-kernel-iommu_groups; Documentation/driver-api/vfio.rst.
"""

import errno
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from agent.errors import AgentError
from agent.kernel.device import sysfs
from agent.model.vf import VFIO, IommuGroup, NodeOwner

BIND_S = 10.0  # for a driver to have taken a device, or let go of it: it may wait for the PF to answer
POLL_S = 0.02
BRIDGE = 0x06  # PCI's base class
_VIRTFN = re.compile(r"virtfn(\d+)")


class DeviceRefused(AgentError):  # noqa: N818  the name says what happened
    """A device is not there, is none that can be given to a pod, or does not do as it is told; the message says why."""


class DeviceGone(DeviceRefused):
    """There is no such function: what was set of it went with it."""


@dataclass(frozen=True, slots=True)
class VfPlace:
    """Where a VF is in the card."""

    pf: str  # PCI address
    pf_device: str  # the PF's network device
    pf_driver: str
    number: int


@dataclass(frozen=True, slots=True)
class GroupFile:
    """A VFIO group's file, and who may open it."""

    uid: int
    gid: int
    mode: int  # permissions


@dataclass(frozen=True, slots=True)
class HugePages:
    """The node's huge pages of one size."""

    total: int  # used or free
    free: int


class PciBus:
    """The PCI functions of one machine."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._devices = root / "sys/bus/pci/devices"
        self._drivers_probe = root / "sys/bus/pci/drivers_probe"
        self._vfio = root / "dev/vfio"
        self._hugepages = root / "sys/kernel/mm/hugepages"

    def place(self, address: str) -> VfPlace:
        """Which VF this is.

        Raises:
            DeviceGone: there is no such function.
            DeviceRefused: it is no VF of a network card whose PF the node has.
        """
        path = self._devices / address
        if not path.exists():
            raise DeviceGone(f"there is no PCI function {address} on this node")
        pf = sysfs.target(path / "physfn")
        if not pf:
            raise DeviceRefused(f"{address} is no VF: it has no PF on this node, which would have to be told of it")
        found = ((match, name) for name in sysfs.names(path / "physfn") if (match := _VIRTFN.fullmatch(name)))
        number = next((int(match[1]) for match, name in found if sysfs.target(path / "physfn" / name) == address), None)
        names = sysfs.netdevs(path / "physfn")
        if number is None or not names:
            raise DeviceRefused(f"the PF {pf} of {address} has no network device on the node; bind its driver")
        return VfPlace(pf, names[0], sysfs.target(path / "physfn/driver"), number)

    def driver(self, address: str) -> str:
        """The driver that has it; empty: none."""
        return sysfs.target(self._devices / address / "driver")

    def driver_override(self, address: str) -> str:
        """The only driver that may have it; empty: any."""
        found = sysfs.text(self._devices / address / "driver_override")
        return "" if found == "(null)" else found

    def group(self, address: str) -> IommuGroup | None:
        """Its IOMMU group; None when the kernel uses no IOMMU for it."""
        path = self._devices / address / "iommu_group"
        number = sysfs.target(path)
        if not number or sysfs.text(path / "name") == "vfio-noiommu":
            return None
        others = (name for name in sysfs.names(path / "devices") if name != address)
        return IommuGroup(number, {name: self.driver(name) for name in others if self._base_class(name) != BRIDGE})

    def bind(self, address: str, driver: str, override: str) -> None:
        """Have *driver* bound, or none where it is empty, and leave *override* behind.

        Raises:
            DeviceRefused: the driver is not loaded, or does not take it.
            OSError: the kernel refused.
        """
        path = self._devices / address
        present = self.driver(address)
        if present != driver:
            if present == VFIO:
                self._check_unused(address)
            if present:
                (path / "driver/unbind").write_text(address)
                self._await(address, "")
            if driver:
                (path / "driver_override").write_text(f"{driver}\n")
                self._drivers_probe.write_text(address)
                self._await(address, driver)
        if self.driver_override(address) != override:
            (path / "driver_override").write_text(f"{override}\n")

    def rebind(self, address: str) -> None:
        """Have its driver take it anew, so that it hears what the PF has for it.

        Raises:
            As :meth:`bind`.
        """
        driver, override = self.driver(address), self.driver_override(address)
        self.bind(address, "", override)
        self.bind(address, driver, override)

    def open_group(self, group: str, owner: NodeOwner | None) -> None:
        """Have *owner* use the group's file: runtimes give a container's node the owner and mode of the host's.

        Raises:
            DeviceRefused: VFIO has made none.
        """
        path = self._vfio / group
        deadline = time.monotonic() + BIND_S
        while not path.exists():  # devtmpfs makes it, or udev
            if time.monotonic() > deadline:
                raise DeviceRefused(f"there is no {path} although {VFIO} has all of the group; load vfio_iommu_type1")
            time.sleep(POLL_S)
        if owner is not None:
            os.chown(path, owner.uid, owner.gid)
            path.chmod(0o660)

    def group_file(self, group: str) -> GroupFile | None:
        """Who may open a group's file; None when there is none."""
        try:
            found = (self._vfio / group).stat()
        except OSError:
            return None
        return GroupFile(found.st_uid, found.st_gid, found.st_mode & 0o7777)

    def restore_group_file(self, group: str, was: GroupFile) -> None:
        """Have the same people open it as before; a file that is gone is the next one's business."""
        path = self._vfio / group
        if path.exists() and self.group_file(group) != was:
            os.chown(path, was.uid, was.gid)
            path.chmod(was.mode)

    def hugepages(self) -> dict[int, HugePages]:
        """The node's huge pages by their size in KiB."""
        sizes = ((re.fullmatch(r"hugepages-(\d+)kB", name), name) for name in sysfs.names(self._hugepages))
        return {int(match[1]): self._pages(self._hugepages / name) for match, name in sizes if match}

    @staticmethod
    def _pages(folder: Path) -> HugePages:
        total, free = (int(sysfs.text(folder / f"{which}_hugepages") or 0) for which in ("nr", "free"))
        return HugePages(total, free)

    def _check_unused(self, address: str) -> None:
        """VFIO lets go of a device that a process has open when that ends, and whoever unbinds it waits for that.

        Raises:
            DeviceRefused: a process has it.
        """
        try:
            os.close(
                os.open(self._vfio / sysfs.target(self._devices / address / "iommu_group"), os.O_RDWR | os.O_CLOEXEC)
            )
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise DeviceRefused(f"a process has {address} open by VFIO; it has to end first") from error

    def _await(self, address: str, driver: str) -> None:
        deadline = time.monotonic() + BIND_S
        while self.driver(address) != driver:
            if time.monotonic() > deadline:
                what = f"the driver {driver} does not take {address}" if driver else f"no driver lets go of {address}"
                loaded = f"; is {driver.replace('-', '_')} loaded? the kernel's log says more" if driver else ""
                raise DeviceRefused(f"{what} within {BIND_S:.0f} s{loaded}")
            time.sleep(POLL_S)

    def _base_class(self, address: str) -> int:
        return sysfs.pci_base_class(self._devices / address)
