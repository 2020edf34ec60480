"""What an interface's device is, in a file for whoever asks: network-status, and programs of the node.

A device plugin may have told it of the device, and whoever makes the interface may tell more. Of a PCI function that
neither has told of its address is told.

Source: NPWG device information specification 1.1.0; network-attachment-definition-client 1.7, pkg/utils/cniutils.go.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from agent.json_text import NOT_JSON
from agent.kernel.device import sysfs
from agent.log import logger
from agent.pods.files import DRAFT, below, place
from agent.pods.network_record import InterfaceRecord, NetworkSet

log = logger(__name__)

FOLDER = Path("/var/run/k8s.cni.cncf.io/devinfo")
INTERFACES, DEVICES = "cni", "dp"  # the folders in it
PCI_DEVICES = Path("/sys/bus/pci/devices")


def info_file(owner: NetworkSet, one: InterfaceRecord) -> Path:
    """Where a plugin that wants it writes what the interface's device is."""
    return FOLDER / INTERFACES / f"{one.name}-{owner.container_id}_{one.interface}"


def device_file(resource: str, device: str) -> Path:
    """Where a device plugin writes what a device is."""
    return FOLDER / DEVICES / f"{resource}-{device}-device.json".replace("/", "-")


def pci_info(address: str, pf: str = "") -> dict[str, Any]:
    """What is told of a PCI function; *pf* is that of a VF."""
    pci = {"pci-address": address, **({"pf-pci-address": pf} if pf else {})}
    return {"type": "pci", "version": "1.1.0", "pci": pci}


class DeviceInfo:
    """The files of one node; *root* is its root, where that is not ours."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    def begin(self, owner: NetworkSet, one: InterfaceRecord) -> None:
        """Have told what is known of an interface's device, before whoever makes it may tell more."""
        told = self._of_device(one) if one.device else None
        if told is not None:
            self.write(info_file(owner, one), told)

    def read(self, owner: NetworkSet, one: InterfaceRecord) -> Any:
        """What is told of it; None: nothing."""
        return self._read(info_file(owner, one))

    def write_pci(self, path: Path, address: str, pf: str) -> None:
        """Tell of a VF, unless a device plugin has told more of it there."""
        there = self._read(path)
        pci = there.get("pci") if isinstance(there, dict) else None
        if not (isinstance(pci, dict) and pci.get("pci-address") == address):
            self.write(path, pci_info(address, pf))

    def write(self, path: Path, told: object) -> None:
        """Write a file of the node's; where that cannot be, nobody hears of it."""
        content = msgspec.json.format(msgspec.json.encode(told)) + b"\n"
        try:
            seen = self._seen(path)
            seen.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            place(seen, content, draft=_draft_of(seen), mode=0o644, outlives_boot=False)
        except OSError as error:
            log.warning("device information cannot be written", file=path, why=error)

    def remove(self, path: Path) -> None:
        """Take such a file away, and what one that died has left of it."""
        try:
            seen = self._seen(path)
            _draft_of(seen).unlink(missing_ok=True)
            seen.unlink(missing_ok=True)
        except OSError as error:
            log.warning("device information stays", file=path, why=error)

    def _of_device(self, one: InterfaceRecord) -> Any:
        with suppress(ValueError):  # a NUL, which no name has
            told = self._read(device_file(one.resource, one.device))
            if isinstance(told, dict):
                return told
            function = PCI_DEVICES / one.device
            if "/" not in one.device and function.is_dir():
                return pci_info(one.device, sysfs.target(function / "physfn"))
        return None

    def _read(self, path: Path) -> Any:
        try:
            return msgspec.json.decode(self._seen(path).read_bytes())
        except (OSError, *NOT_JSON):
            return None

    def _seen(self, path: Path) -> Path:
        """A file of the node's, as we see it."""
        return below(self._root, path) if self._root and path.is_absolute() else path


def _draft_of(path: Path) -> Path:
    """Not by another suffix, for names of networks have dots."""
    return path.with_name(f"{path.name}{DRAFT}")
