"""A node's sys and proc as files: what the device plugin reads, and a test can change."""

from dataclasses import dataclass
from pathlib import Path

NETWORK, ACCELERATOR, BRIDGE = 0x020000, 0x120000, 0x060400
PF, VF = "0000:03:00.0", "0000:03:02.{}"


@dataclass(frozen=True, slots=True)
class Tree:
    """The folder that has sys and proc."""

    root: Path

    def function(
        self,
        address: str,
        *,
        pci_class: int = NETWORK,
        vendor: str = "8086",
        device: str = "1572",
        driver: str = "",
        numa: int = -1,
        group: str = "",
    ) -> Path:
        """A PCI function; its folder."""
        folder = self.root / "sys/devices/pci0000:00" / address
        folder.mkdir(parents=True)
        for name, text in {"vendor": f"0x{vendor}", "device": f"0x{device}", "class": f"0x{pci_class:06x}"}.items():
            (folder / name).write_text(f"{text}\n")
        (folder / "numa_node").write_text(f"{numa}\n")
        self._link(self.root / "sys/bus/pci/devices" / address, folder)
        if driver:
            self.bind(address, driver)
        if group:
            self.group(address, group)
        return folder

    def group(self, address: str, group: str) -> None:
        """Have a function in an IOMMU group."""
        folder = self.root / "sys/kernel/iommu_groups" / group
        self._link(folder / "devices" / address, self.folder(address))
        self._link(self.folder(address) / "iommu_group", folder)

    def bind(self, address: str, driver: str) -> None:
        """Bind a driver in place of another; empty: none."""
        link = self.folder(address) / "driver"
        link.unlink(missing_ok=True)
        if driver:
            self._link(link, self.root / "sys/bus/pci/drivers" / driver)

    def netdev(
        self,
        name: str,
        address: str = "",
        *,
        is_up: bool = True,
        carrier: bool = True,
        kind: int = 1,
        virtio: str = "",
        port: str = "",
    ) -> None:
        """A network device, of a function or of the kernel's own; *virtio* is the device between, as virtio0.

        *port* is which of its switch's ports it is, as pf0vf1.
        """
        device = self.folder(address) / virtio if address else self.root / "sys/devices/virtual"
        folder = device / "net" / name
        folder.mkdir(parents=True)
        for file, text in {"type": str(kind), "address": "02:00:00:00:00:01"}.items():
            (folder / file).write_text(f"{text}\n")
        if port:
            (folder / "phys_port_name").write_text(f"{port}\n")
        if address:
            self._link(folder / "device", device)
        self._link(self.root / "sys/class/net" / name, folder)
        self.link(name, is_up=is_up, carrier=carrier)

    def link(self, name: str, *, is_up: bool = True, carrier: bool = True) -> None:
        """Set a network device up or down, with a carrier or without."""
        folder = self.root / "sys/class/net" / name
        (folder / "flags").write_text(f"0x{0x1002 | is_up:x}\n")
        (folder / "carrier").write_text(f"{int(is_up and carrier)}\n")

    def hide(self, name: str) -> None:
        """A network device goes to a pod: its own namespace's sysfs has it."""
        link = self.root / "sys/class/net" / name
        folder = link.resolve()
        link.unlink()
        folder.rename(self.root / f"hidden-{name}")

    def remove(self, address: str) -> None:
        """A function leaves the bus."""
        (self.root / "sys/bus/pci/devices" / address).unlink()

    def pf(self, name: str = "eth0", address: str = PF, vfs: int = 4, *, driver: str = "iavf", numa: int = 0) -> None:
        """A PF with VFs of a driver, each alone in its IOMMU group."""
        folder = self.function(address, driver="i40e", numa=numa)
        self.netdev(name, address)
        (folder / "sriov_totalvfs").write_text("64\n")
        for number in range(vfs):
            self.vf(address, number, driver=driver, numa=numa)

    def vf(self, pf: str, number: int = 0, *, driver: str = "iavf", numa: int = 0) -> None:
        """A VF of a PF, alone in its IOMMU group."""
        own, group = f"{pf.removesuffix('00.0')}02.{number}", str(int(pf[5:7], 16) * 10 + number)
        folder = self.function(own, device="154c", driver=driver, numa=numa, group=group)
        self._link(folder / "physfn", self.folder(pf))
        self._link(self.folder(pf) / f"virtfn{number}", folder)

    def folder(self, address: str) -> Path:
        """A function's."""
        return self.root / "sys/devices/pci0000:00" / address

    def stack(self, name: str, *below: str) -> None:
        """Have a network device on top of others, as a bond, a bridge or a VLAN is."""
        for each in below:
            self._link(self.root / "sys/class/net" / name / f"lower_{each}", self.root / "sys/class/net" / each)
            self._link(self.root / "sys/class/net" / each / f"upper_{name}", self.root / "sys/class/net" / name)

    def unstack(self, name: str, *below: str) -> None:
        """Have it on top of these no more."""
        for each in below:
            (self.root / "sys/class/net" / name / f"lower_{each}").unlink()
            (self.root / "sys/class/net" / each / f"upper_{name}").unlink()

    def default_route(self, name: str) -> None:
        """The node's default route leaves by a device."""
        path = self.root / "proc/net/route"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        path.write_text(f"{head}{name}\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")

    def misc(self, *names: str) -> None:
        """Modules that make a device node are loaded."""
        for name in names:
            (self.root / "sys/class/misc" / name).mkdir(parents=True)

    @staticmethod
    def _link(link: Path, target: Path) -> None:
        link.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
