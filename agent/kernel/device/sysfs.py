"""A file of sysfs at a time, for who reads devices: what is not there reads as nothing."""

import os
from pathlib import Path


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
    """The names of a PCI function's network devices, sorted; with virtio a device of that bus stands between."""
    folders = (function / "net", *sorted(path / "net" for path in function.glob("virtio*")))
    return tuple(sorted(name for folder in folders for name in names(folder)))


def pci_base_class(function: Path) -> int:
    """PCI's base class of the function in a folder; 0: it says none."""
    return int(text(function / "class") or "0", 16) >> 16
