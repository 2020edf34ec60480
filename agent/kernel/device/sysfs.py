"""A file of sysfs at a time, for who reads devices: what is not there reads as nothing."""

import os
import re
from pathlib import Path

# of a port at a card's switch whose other end is a VF, a subfunction, or another host's PF: net/devlink/port.c
_REPRESENTOR = re.compile(r"(c\d+)?pf\d+((vf|sf)\d+)?")


def names(folder: Path) -> tuple[str, ...]:
    """What a folder has, sorted; of one that is not there nothing."""
    try:
        return tuple(sorted(os.listdir(folder)))  # noqa: PTH208  a name is all that is wanted
    except OSError:
        return ()


def target(link: Path) -> str:
    """The last name of where a link leads; empty: there is none."""
    try:
        return link.readlink().name
    except OSError:
        return ""


def text(path: Path) -> str:
    """What a file says, without the end of its line; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def netdevs(function: Path) -> tuple[str, ...]:
    """The names of a PCI function's own network devices, sorted.

    With virtio a device of that bus stands between. A PF in switchdev mode has devices beside its own, for the ports of
    its switch that lead to VFs.
    """
    folders = (function / "net", *sorted(path / "net" for path in function.glob("virtio*")))
    found = ((folder, name) for folder in folders for name in names(folder))
    return tuple(sorted(name for folder, name in found if not _is_representor(folder / name)))


def _is_representor(netdev: Path) -> bool:
    return bool(_REPRESENTOR.fullmatch(text(netdev / "phys_port_name")))


def pci_base_class(function: Path) -> int:
    """PCI's base class of the function in a folder; 0: it says none."""
    return int(text(function / "class") or "0", 16) >> 16
