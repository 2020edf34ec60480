"""What a container gets with its devices: nodes, mounts and environment, as values.

Names and forms are those of the SR-IOV network device plugin, so that what runs with it runs here. Slots for AF_XDP
have a folder each, where the agent puts what the pod's interface is reached by.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.devices.config import DeviceType, Resource
from agent.devices.health import VFIO, trouble
from agent.model.device import Hardware, PciFunction

UIO = frozenset({"uio_pci_generic", "igb_uio"})
VFIO_NODE, VHOST_NODE, TUN_NODE = "/dev/vfio/vfio", "/dev/vhost-net", "/dev/net/tun"
SLOTS = "afxdp"  # below the agent's folder for its sockets
_NO_SHELL_NAME = re.compile(r"[^A-Z0-9_]")


class Unavailable(Exception):  # noqa: N818  a sentence for the pod's Event
    """A device cannot be given: it is no device of the resource, or unhealthy."""


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A device node: where it is on the host, and in the container."""

    host: str
    container: str


@dataclass(frozen=True, slots=True, order=True)
class Mount:
    """A folder of the host's in the container."""

    host: str
    container: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """All that a container gets of one resource."""

    environment: Mapping[str, str]
    nodes: tuple[Node, ...]
    mounts: tuple[Mount, ...]


def allocate(resource: Resource, devices: Sequence[str], hardware: Hardware, run_dir: Path) -> Allocation:
    """What a container gets with these devices of a resource, as the hardware is now.

    Raises:
        Unavailable: one of them is not what it should be.
    """
    for device in devices:
        if why := unusable(resource, device, hardware):
            raise Unavailable(f"{resource.name}: {device}: {why}")
    nodes = dict.fromkeys(node for device in devices for node in device_nodes(resource, device, hardware))
    mounts = tuple(Mount(str(run_dir / SLOTS / device), str(run_dir / SLOTS / device)) for device in devices)
    return Allocation(
        _environment(resource, devices, hardware),
        tuple(nodes),
        mounts if resource.slots else (),
    )


def unusable(resource: Resource, device: str, hardware: Hardware) -> str:
    """Why a container would not work with it; a link that is down may come back, and is no reason."""
    if resource.needs_vhost_net and not (hardware.has_vhost_net and hardware.has_tun):
        return "this node has no /dev/vhost-net or no /dev/net/tun; load vhost_net and tun"
    found = hardware.functions.get(device)
    why = trouble(resource, device, hardware)
    return "" if found is not None and found.driver and why.endswith(("is down", "has no carrier")) else why


def device_nodes(resource: Resource, device: str, hardware: Hardware) -> Iterator[Node]:
    """The nodes that go with one device."""
    function = hardware.functions.get(device)
    if function is not None and function.driver == VFIO:
        yield Node(VFIO_NODE, VFIO_NODE)
        yield _group(function)
    if function is not None and function.driver in UIO and function.uio:
        yield Node(f"/dev/{function.uio}", f"/dev/{function.uio}")
    if resource.needs_vhost_net:
        yield Node(VHOST_NODE, VHOST_NODE)
        yield Node(TUN_NODE, TUN_NODE)


def _group(function: PciFunction) -> Node:
    prefix = "noiommu-" if function.is_noiommu else ""
    return Node(f"/dev/vfio/{prefix}{function.iommu_group}", f"/dev/vfio/{function.iommu_group}")


def _environment(resource: Resource, devices: Sequence[str], hardware: Hardware) -> Mapping[str, str]:
    listed = ",".join(devices)
    told = json.dumps({device: _info(resource, device, hardware) for device in devices})
    found: dict[str, str] = {}
    for stem in names(resource.name):
        found |= {f"PCIDEVICE_{stem}": listed, f"PCIDEVICE_{stem}_INFO": told}
    if resource.kind is DeviceType.AFXDP:
        pool = _NO_SHELL_NAME.sub("_", resource.name.partition("/")[2].upper())
        found[f"AFXDP_DEVICES_{pool}"] = " ".join(devices)
    return found


def names(resource: str) -> Iterable[str]:
    """A resource's name in the environment; twice where it has a hyphen, of which no shell could read the first."""
    plain = resource.upper().replace("/", "_").replace(".", "_")
    return dict.fromkeys((plain, _NO_SHELL_NAME.sub("_", plain)))


def _info(resource: Resource, device: str, hardware: Hardware) -> Mapping[str, Mapping[str, str]]:
    """What is told of one device."""
    function = hardware.functions.get(device)
    told: dict[str, Mapping[str, str]] = {"generic": {"deviceID": device}}
    if function is not None and function.driver == VFIO:
        told["vfio"] = {"dev-mount": _group(function).container, "mount": VFIO_NODE}
    if function is not None and function.driver in UIO and function.uio:
        told["uio"] = {"mount": f"/dev/{function.uio}"}
    if resource.needs_vhost_net:
        told["vhost"] = {"net-mount": VHOST_NODE, "tun-mount": TUN_NODE}
    extra = {**resource.info.get("*", {}), **resource.info.get(device, {})}
    return {**told, **({"extraInfo": extra} if extra else {})}
