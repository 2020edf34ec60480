"""Whether a device of the node can serve what a definition asks for."""

from collections.abc import Iterator

from agent.model.nic import Nic, NicKind, NicSpec

LEAST_MTU = 68  # RFC 791, section 3.2: what each host must take
LEAST_MTU6 = 1280  # RFC 8200, section 5
NAMED_MOST = 3  # routes in one sentence


def key_of(spec: NicSpec) -> str:
    """The key of the definition that says which device it is."""
    if spec.kind is not NicKind.HOST_DEVICE:
        return "master"
    if spec.pci_address:
        return "pciBusID"
    if spec.device:
        return "device"
    return "hwaddr" if spec.hardware_address else "kernelpath"


def refusal(nic: Nic, spec: NicSpec, *, has_ipv6: bool = False) -> str:
    """Why it cannot, with the key; empty when it can. *has_ipv6*: the pod is given an address of that family."""
    key = key_of(spec)
    if nic.is_loopback:
        return f"{key}: {nic.netdev.name} is the loopback device"
    if spec.kind is NicKind.HOST_DEVICE:
        return in_use(nic, key) or _with_vfs(nic, key)
    return next(_refusals_above(nic, spec, key, has_ipv6=has_ipv6), "")


def _refusals_above(nic: Nic, spec: NicSpec, key: str, *, has_ipv6: bool) -> Iterator[str]:
    """Why there can be no such device above it."""
    name = nic.netdev.name
    if spec.is_alone:
        if why := in_use(nic, key):  # the pod hears all that the device is sent, and the node nothing
            yield why
        if spec.mac:
            yield f"mac: is not for the mode passthru, which has that of {name}"
    if not nic.netdev.is_up:
        yield f"{key}: {name} is down, and what is above it would be too; set it up on the node"
    least = LEAST_MTU6 if has_ipv6 else LEAST_MTU
    if spec.mtu is not None and not least <= spec.mtu <= nic.netdev.mtu:
        yield f"mtu: {spec.mtu} is not from {least} to {nic.netdev.mtu}, the MTU of {name}"
    if spec.kind is NicKind.IPVLAN and nic.ipvlan_mode not in {"", spec.ipvlan_mode}:
        yield other_mode(name, nic.ipvlan_mode, "the node")


def other_mode(device: str, mode: str, whose: str) -> str:
    """What is said where ipvlan devices above a device would be switched to another mode."""
    return f"mode: {device} has ipvlan devices of mode {mode}, {whose}'s; all above one device have the same"


def in_use(nic: Nic, key: str) -> str:
    """Why the node cannot do without the device, with the *key* that says it; empty: it can."""
    name = nic.netdev.shown
    if nic.made_as == "tun":
        return f"{key}: {name} is a process's (tun, tap), which would keep it"
    if nic.is_way_out:
        return f"{key}: a default route of the node leaves by {name}"
    if nic.node_addresses:
        return f"{key}: by {name} the node has {', '.join(nic.node_addresses)}"
    if nic.above:
        return f"{key}: {', '.join(nic.above)} of the node would lose {name}"
    if nic.routed:
        more = f" and {len(nic.routed) - NAMED_MOST} more" if nic.routed[NAMED_MOST:] else ""
        return f"{key}: by {name} the node has the route to {', '.join(nic.routed[:NAMED_MOST])}{more}"
    return ""


def _with_vfs(nic: Nic, key: str) -> str:
    """Why a device is not a pod's own: who has a PF sets addresses and VLANs of its VFs, which are other pods'."""
    if not nic.vfs:
        return ""
    return f"{key}: {nic.netdev.name} has {nic.vfs} VFs, which its pod could change; give one of them"
