"""The record of a VF that a pod has, with all that the VF was before."""

from pathlib import Path

import msgspec

from agent.kernel.device.pci import GroupFile
from agent.model.netdev import Netdev
from agent.model.vf import VfKind, VfSettings
from agent.pods.device.record import DeviceJournal, DeviceRecord

FOLDER = "vfs"  # in --state-dir


class VfBefore(msgspec.Struct, frozen=True):
    """A VF as it was found."""

    driver: str
    driver_override: str
    settings: VfSettings
    netdev: Netdev | None
    group: str = ""  # the IOMMU group's number
    group_file: GroupFile | None = None


class VfRecord(DeviceRecord, frozen=True, omit_defaults=True, kw_only=True):
    """A pod's VF, known by its PCI address."""

    kind: VfKind
    before: VfBefore
    device_info: str = ""  # the file that CNIDeviceInfoFile names; empty: nobody wants it
    kept: VfSettings = VfSettings()  # what the PF keeps of what was asked for

    @property
    def has_netdev(self) -> bool:
        """As the base's."""
        return self.kind is VfKind.NETDEV

    @property
    def own_mac(self) -> str:
        """As the base's. A trusted VF may choose, but where programs hold it to what it was given."""
        trust = self.before.settings.trust if self.kept.trust is None else self.kept.trust
        return "" if trust and not self.slot else self.mac


def vf_journal(state_dir: Path, boot: str) -> DeviceJournal[VfRecord]:
    """The files of the node's VFs."""
    return DeviceJournal(state_dir, FOLDER, VfRecord, boot)
