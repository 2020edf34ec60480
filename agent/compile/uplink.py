"""Which of the node's devices get the uplink programs: a pure choice, made again whenever a device comes or goes.

:func:`ways` has with them what else decides how pods' packets leave.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from agent.compile.settings import Settings
from agent.compile.tunnel import NAME, SEGMENTER, Tunnel, pod_mtu, tunnel
from agent.model.local import Device
from agent.model.node import Node

LOOPBACK = "lo"
_DEEPEST = 8  # devices on one another, as the kernel allows them (MAX_NEST_DEV)
_OVERLAYS = frozenset({"vxlan", "geneve"})
_NOT_NETWORKS = (LOOPBACK, NAME, SEGMENTER)


@dataclass(frozen=True, slots=True)
class Ways:
    """By what pods' packets leave this node."""

    uplinks: tuple[Device, ...]
    unserved: tuple[Device, ...]  # without Ethernet, and so without our programs
    tunnel: Tunnel | None
    pod_mtu: int  # 0: not known, or other plugins' business


def ways(
    settings: Settings, node: Node, devices: Sequence[Device], overhead: int, peered: Collection[str] = ()
) -> Ways:
    """The uplinks, the tunnel over them, and the MTU that leaves room for its *overhead*, in octets.

    *peered* is as with :func:`uplinks`.
    """
    found = uplinks(settings.devices, node, devices, with_overlays=settings.serves_over_others, peered=peered)
    unserved = without_ethernet(settings.devices, node, devices, peered)
    every = (*found, *unserved)
    wanted = tunnel(settings.network, overhead, every)
    return Ways(found, unserved, wanted, 0 if settings.is_chained else pod_mtu(settings.network, wanted, every))


def uplinks(
    chosen: Sequence[str],
    node: Node | None,
    devices: Sequence[Device],
    *,
    with_overlays: bool = False,
    peered: Collection[str] = (),
) -> tuple[Device, ...]:
    """The node's uplinks, by ifindex: those named by ``--devices``, else found; programs read Ethernet frames alone.

    *with_overlays*: also what another plugin encapsulates with, by which other nodes' pods answer. *peered* are the
    devices at which peers of BGP are, who send there what this node tells them of.
    """
    wanted = _wanted(chosen, node, devices, peered, with_overlays=with_overlays)
    return tuple(device for device in wanted if device.has_ethernet)


def without_ethernet(
    chosen: Sequence[str], node: Node | None, devices: Sequence[Device], peered: Collection[str] = ()
) -> tuple[Device, ...]:
    """The devices that would be uplinks but for what their frames are."""
    return tuple(device for device in _wanted(chosen, node, devices, peered) if not device.has_ethernet)


def _wanted(
    chosen: Sequence[str],
    node: Node | None,
    devices: Sequence[Device],
    peered: Collection[str],
    *,
    with_overlays: bool = False,
) -> tuple[Device, ...]:
    """The devices named, or found.

    Found are the devices that hold one of the Node's InternalIPs or a default route, and those with a subnet of their
    own: a storage network's, whose servers pods reach under this node's address there; and those at which peers of BGP
    are, which may have link-local addresses alone. Loopback is none, even where it holds an InternalIP (as with BGP to
    the host); then the others are what is left. Nor is a port of another uplink, named or found: each packet meets the
    programs once.
    """
    if chosen:
        found = [d for d in devices if d.name in chosen]
    else:
        internal = set(node.internal_ips) if node else set()
        found = [d for d in devices if d.default_route or internal.intersection(d.addresses) or _has_subnet(d)]
        found += [d for d in devices if d not in found and d.name in peered and d.name not in _NOT_NETWORKS]
        found += [d for d in devices if with_overlays and d not in found and _is_overlay(d)]
    chain = {device.ifindex: device.master for device in devices}
    above = {device.ifindex for device in found}
    left = (d for d in found if d.name != LOOPBACK and not _is_port(d, above, chain))
    return tuple(sorted(left, key=lambda device: device.ifindex))


def _is_port(device: Device, of: Collection[int], masters: Mapping[int, int]) -> bool:
    """Whether what comes in by the device comes in once more by one *of* those, whose port it is, or a port's port.

    A VLAN's device is no such one: tagged frames are its own, the others those of the device below.
    """
    master = device.master
    for _ in range(_DEEPEST):
        if master in of:
            return True
        master = masters.get(master, 0)
    return False


def _is_overlay(device: Device) -> bool:
    """Whether the device encapsulates for a network that has given it an address, as flannel's and Calico's VXLAN."""
    return device.kind in _OVERLAYS and device.is_up and device.name != NAME and bool(device.addresses)


def _has_subnet(device: Device) -> bool:
    """Whether others are on a subnet of the device's; a bridge's are most often containers of this node."""
    if device.is_bridge or not device.is_up or not device.has_ethernet or device.name in _NOT_NETWORKS:
        return False
    return any(n.prefixlen < n.max_prefixlen and not n.network_address.is_link_local for n in device.networks)
