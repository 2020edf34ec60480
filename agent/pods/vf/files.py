"""What a pod's VF is, told in files: to the application that drives it without the kernel, and to a delegating plugin.

``<run-dir>/vf/<PCI address>/interface.json`` is for the application: nobody else tells it the addresses that it has.
Source of the other: NPWG device information specification 1.1.0.
"""

import shutil
from pathlib import Path
from typing import Any

import msgspec

from agent.log import logger
from agent.model.vf import Vf, VfKind
from agent.pods.files import below, draft_of, place
from agent.pods.vf.record import VfRecord

log = logger(__name__)

FOLDER, FILE = "vf", "interface.json"


class VfFiles:
    """The files of one node."""

    def __init__(self, run_dir: Path, root: Path | None = None) -> None:
        """*root* is the node's, where that is not ours: plugins name their files as the node has them."""
        self._folder = run_dir / FOLDER
        self._root = root

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
            pci = {"pci-address": record.address, "pf-pci-address": vf.pf}
            path = self._seen(record.device_info)
            try:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                _place(path, {"type": "pci", "version": "1.1.0", "pci": pci})
            except OSError as error:
                log.warning("device information cannot be written", file=record.device_info, why=error)

    def remove(self, record: VfRecord) -> None:
        """Tell of it no more."""
        shutil.rmtree(self._folder / record.address, ignore_errors=True)
        if record.device_info:
            try:
                path = self._seen(record.device_info)
                draft_of(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("device information stays", file=record.device_info, why=error)

    def _seen(self, path: str) -> Path:
        """A file of the node's, as we see it."""
        return below(self._root, Path(path)) if self._root and Path(path).is_absolute() else Path(path)


def _place(path: Path, told: object) -> None:
    content = msgspec.json.format(msgspec.json.encode(told)) + b"\n"
    place(path, content, mode=0o644, outlives_boot=False)
