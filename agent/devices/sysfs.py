"""The node's hardware from sysfs, as a value; *root* is the folder that has ``sys`` and ``proc``, ``/`` on a node.

A file that is not there, or goes while it is read, is an empty text: a device may leave at any moment.

Sources: Documentation/ABI/testing/sysfs-bus-pci, sysfs-class-net, sysfs-kernel-iommu_groups.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from agent.kernel.device.sysfs import names, netdevs, pci_base_class, target, text
from agent.model.device import NO_NODE, Hardware, Netdev, PciFunction, Subfunction

IFF_UP = 0x1  # linux/if.h
RTF_UP = 0x1  # linux/route.h
LINK_TYPES = {"1": "ether", "32": "infiniband"}  # linux/if_arp.h
BRIDGE = 0x06  # PCI's base class
LOWER, UPPER = "lower_", "upper_"  # begin the names of links to the devices below one, and above it
_VIRTFN = re.compile(r"virtfn(\d+)")


def read(root: Path, routed: Collection[str] | None = None) -> Hardware:
    """All PCI functions, subfunctions and network devices that are there now.

    *routed* are the devices of the node's default routes; None: those that proc tells, of a multipath route the first.
    """
    pci, auxiliary, net = (root / "sys" / part for part in ("bus/pci/devices", "bus/auxiliary/devices", "class/net"))
    routed = _with_lower(net, _default_routes(root) if routed is None else routed)
    found = {name: _netdev(net / name, has_default_route=name in routed) for name in names(net)}
    misc = root / "sys/class/misc"
    vfs = {name: _vfs(pci / name) for name in names(pci)}  # once a PF: it may have 256
    return Hardware(
        {name: _function(pci / name, vfs) for name in vfs},
        {name: _subfunction(auxiliary / name) for name in names(auxiliary)},
        {name: netdev for name, netdev in found.items() if netdev is not None},
        has_vhost_net=(misc / "vhost-net").exists(),
        has_tun=(misc / "tun").exists(),
    )


def _function(path: Path, vfs: Mapping[str, Mapping[int, str]]) -> PciFunction:
    """A function; *vfs* are those of each by their numbers."""
    pf = target(path / "physfn")
    group = path / "iommu_group"
    numa_node = _number(path / "numa_node")
    return PciFunction(
        address=path.name,
        vendor=text(path / "vendor").removeprefix("0x"),
        device=text(path / "device").removeprefix("0x"),
        base_class=pci_base_class(path),
        driver=target(path / "driver"),
        numa_node=NO_NODE if numa_node is None else numa_node,
        netdevs=netdevs(path),
        pf=pf,
        vf=next((number for number, address in vfs.get(pf, {}).items() if address == path.name), None),
        vfs=tuple(vfs[path.name].values()),
        total_vfs=_number(path / "sriov_totalvfs") or 0,
        iommu_group=target(group),
        group_members=_without_bridges(group / "devices"),
        is_noiommu=text(group / "name") == "vfio-noiommu",
        uio="".join(names(path / "uio")[:1]),
        acpi_index=text(path / "acpi_index"),
    )


def _without_bridges(folder: Path) -> tuple[str, ...]:
    return tuple(name for name in names(folder) if pci_base_class(folder / name) != BRIDGE)


def _subfunction(path: Path) -> Subfunction:
    kind = path.name.split(".")[1] if path.name.count(".") > 1 else ""
    return Subfunction(
        name=path.name,
        kind=kind,
        number=_number(path / "sfnum"),
        driver=target(path / "driver"),
        parent=path.resolve().parent.name,
        netdevs=names(path / "net"),
    )


def _netdev(path: Path, *, has_default_route: bool) -> Netdev | None:
    kind = text(path / "type")
    if not kind:  # bonding_masters is a file, and a device may be gone
        return None
    return Netdev(
        name=path.name,
        mac=text(path / "address"),
        link_type=LINK_TYPES.get(kind, kind),
        is_up=bool(int(text(path / "flags") or "0", 16) & IFF_UP),
        has_carrier=text(path / "carrier") == "1",  # of one that is down it cannot be read
        driver=target(path / "device/driver"),
        has_default_route=has_default_route,
        above=_linked(path, UPPER),
    )


def _vfs(path: Path) -> Mapping[int, str]:
    """A PF's VFs by their numbers."""
    found = ((match, name) for name in names(path) if (match := _VIRTFN.fullmatch(name)))
    return dict(sorted((int(match[1]), target(path / name)) for match, name in found))


def _default_routes(root: Path) -> frozenset[str]:
    """Devices by which the node reaches everybody: they are never a pod's.

    Sources: fib_route_seq_show() and rt6_info_route() of the kernel; addresses are hexadecimal.
    """
    found = set()
    for line in text(root / "proc/net/route").splitlines()[1:]:
        name, destination, _, flags, *_, mask, _, _, _ = line.split()
        if int(destination, 16) == int(mask, 16) == 0 and int(flags, 16) & RTF_UP:
            found.add(name)
    for line in text(root / "proc/net/ipv6_route").splitlines():
        destination, length, *_, name = line.split()
        if int(destination, 16) == int(length, 16) == 0:
            found.add(name)
    return frozenset(found - {"lo"})  # IPv6 has an unreachable one there


def _with_lower(net: Path, routed: Collection[str]) -> frozenset[str]:
    """These devices, and those that their packets leave by: a bond's, a bridge's, a VLAN's, in whatever order."""
    found: set[str] = set()
    left = [*routed]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _linked(net / name, LOWER)
    return frozenset(found)


def _linked(device: Path, which: str) -> tuple[str, ...]:
    """The names of the devices that are next to one, on that side; in its own namespace alone."""
    return tuple(one.removeprefix(which) for one in names(device) if one.startswith(which))


def _number(path: Path) -> int | None:
    try:
        return int(text(path))
    except ValueError:
        return None
