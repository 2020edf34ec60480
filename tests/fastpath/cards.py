"""The guest's cards: VFs made as an operator makes them, and how they are, as iproute2 and sysfs tell, not we."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

DEVICES = Path("/sys/bus/pci/devices")
PATIENCE_S = 180.0
PINNED_MAC = "02:00:00:00:aa:00"  # of the first VF: its PF has set it before we come


@dataclass(frozen=True, slots=True)
class Pf:
    """A card."""

    address: str
    device: str
    vfs: tuple[str, ...]  # PCI addresses


def run(*command: str) -> str:
    """What a command says; it has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout


def wait_for(what: str, holds: Callable[[], object]) -> None:
    """Return when it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:.0f} s"
        time.sleep(0.05)


def set_up(vfs: int) -> tuple[Pf, ...]:
    """Every card with so many VFs, each with its driver, a name of its own, another name and an MTU."""
    found = sorted(path.name for path in Path("/sys/bus/pci/drivers/igb").glob("0000:*"))
    cards = []
    for letter, address in zip("ab", found, strict=True):
        (device,) = (path.name for path in (DEVICES / address / "net").iterdir())
        run("ip", "link", "set", device, "up")
        wait_for(f"{device} has a carrier", partial(_carrier, device))
        (DEVICES / address / "sriov_drivers_autoprobe").write_text("0")
        (DEVICES / address / "sriov_numvfs").write_text(str(vfs))
        functions = tuple((DEVICES / address / f"virtfn{n}").readlink().name for n in range(vfs))
        if letter == "a":
            run("ip", "link", "set", device, "vf", "0", "mac", PINNED_MAC)
        wait_for(f"{device} has a carrier again", partial(_carrier, device))
        (DEVICES / address / "sriov_drivers_autoprobe").write_text("1")
        for number, function in enumerate(functions):
            Path("/sys/bus/pci/drivers_probe").write_text(function)
            wait_for(f"{function} has a device", partial(devices_of, function))
            (name,) = devices_of(function)
            run("ip", "link", "set", name, "name", f"vf{letter}{number}", "mtu", "1400")
            run("ip", "link", "property", "add", "dev", f"vf{letter}{number}", "altname", f"card-{letter}-{number}")
        cards.append(Pf(address, device, functions))
    return tuple(cards)


def snapshot(pf: Pf) -> dict[str, Any]:
    """All that can be seen of a card's VFs, but for the numbers of devices."""
    (found,) = snapshots(pf)
    return found


def snapshots(*pfs: Pf) -> list[dict[str, Any]]:
    """The same of several cards, which one command tells: each takes its time in a guest."""
    links = {link["ifname"]: link for link in json.loads(run("ip", "-j", "-d", "link"))}
    return [_snapshot(pf, links) for pf in pfs]


def _snapshot(pf: Pf, links: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    told = links[pf.device]
    return {
        function: {
            "pf": {key: value for key, value in told["vfinfo_list"][number].items() if key != "stats"},
            "driver": driver(function),
            "override": (DEVICES / function / "driver_override").read_text().strip(),
            "devices": [_shown(links[name]) for name in devices_of(function)],
        }
        for number, function in enumerate(pf.vfs)
    }


def driver(function: str) -> str:
    """Its driver, or nothing."""
    link = DEVICES / function / "driver"
    return link.readlink().name if link.exists() else ""


def vf(pf: Pf, function: str) -> dict[str, Any]:
    """What the PF says of one VF."""
    told: dict[str, Any] = snapshot(pf)[function]["pf"]
    return told


def group(function: str) -> str:
    """The number of its IOMMU group."""
    return (DEVICES / function / "iommu_group").readlink().name


def devices_of(function: str) -> list[str]:
    """The names of a VF's devices on the node."""
    folder = DEVICES / function / "net"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _shown(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": told["ifname"],
        "mac": told["address"],
        "mtu": told["mtu"],
        "altnames": sorted(told.get("altnames", [])),
        "up": "UP" in told["flags"],
    }


def _carrier(device: str) -> bool:
    path = Path("/sys/class/net") / device / "carrier"
    try:
        return path.read_text().strip() == "1"
    except OSError:
        return False


def devices_in(pod: str) -> list[dict[str, Any]]:
    """A pod's devices but lo."""
    links = json.loads(run("ip", "-n", pod, "-j", "-d", "link"))
    return [_shown(link) for link in links if link["ifname"] != "lo"]


def address_in(pod: str, device: str) -> str:
    """The IPv4 address that a device of a pod has."""
    (told,) = json.loads(run("ip", "-n", pod, "-j", "-4", "address", "show", "dev", device))
    return str(told["addr_info"][0]["local"])


def bind(function: str, name: str) -> None:
    """Have another driver, as an operator does it."""
    (DEVICES / function / "driver/unbind").write_text(function)
    (DEVICES / function / "driver_override").write_text(f"{name}\n")
    Path("/sys/bus/pci/drivers_probe").write_text(function)
    wait_for(f"{function} is {name}'s", lambda: driver(function) == name)
    if name != "vfio-pci":
        wait_for(f"{function} has a device", lambda: devices_of(function))
        (DEVICES / function / "driver_override").write_text("\n")


def name(function: str, was: dict[str, Any]) -> None:
    """Have its new device be as its old one."""
    (new,) = devices_of(function)
    run("ip", "link", "set", new, "name", was["name"], "address", was["mac"], "mtu", str(was["mtu"]))
    for altname in was["altnames"]:
        run("ip", "link", "property", "add", "dev", was["name"], "altname", altname)


def shown(path: Path) -> dict[str, Any]:
    """A file of JSON."""
    told: dict[str, Any] = json.loads(path.read_text())
    return told
