"""What a pod's VF is, told in files: to the application that drives it without the kernel, and to a delegating plugin.

``<run-dir>/vf/<PCI address>/interface.json`` is for the application: nobody else tells it the addresses that it has.
Source of the other: NPWG device information specification 1.1.0.
"""

import shutil
from pathlib import Path
from typing import Any

import msgspec

from agent.model.vf import Vf, VfKind
from agent.pods.device_info import DeviceInfo
from agent.pods.files import place
from agent.pods.vf.record import VfRecord

FOLDER, FILE = "vf", "interface.json"


class VfFiles:
    """The files of one node."""

    def __init__(self, run_dir: Path, root: Path | None = None) -> None:
        """*root* is the node's, where that is not ours: plugins name their files as the node has them."""
        self._folder = run_dir / FOLDER
        self._info = DeviceInfo(root)

    def write(self, record: VfRecord, vf: Vf) -> None:
        """Tell of a VF; anybody may read it, as an application need not be root.

        Raises:
            OSError: the disk refuses.
        """
        folder = self._folder / record.address
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        told: dict[str, Any] = {
            "pciAddress": record.address,
            "interface": record.interface,
            "mac": record.mac,
            "mtu": record.mtu,
            "vlan": vf.settings.vlan or 0,
            "ips": [one.get("address") for one in record.given.get("ips") or ()],
            "gateways": [one["gateway"] for one in record.given.get("ips") or () if one.get("gateway")],
            "routes": record.given.get("routes") or [],
        }
        if record.kind is VfKind.DPDK and vf.group is not None:
            told["devices"] = ["/dev/vfio/vfio", f"/dev/vfio/{vf.group.number}"]
        _place(folder / FILE, told)
        if record.device_info:
            self._info.write_pci(Path(record.device_info), record.address, vf.pf)

    def remove(self, record: VfRecord) -> None:
        """Tell of it no more."""
        shutil.rmtree(self._folder / record.address, ignore_errors=True)
        if record.device_info:
            self._info.remove(Path(record.device_info))


def _place(path: Path, told: object) -> None:
    content = msgspec.json.format(msgspec.json.encode(told)) + b"\n"
    place(path, content, mode=0o644, outlives_boot=False)
