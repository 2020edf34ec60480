"""Whether a device of the node can serve what a definition asks for."""

from agent.model.nic import MacvlanMode, Nic, NicKind, NicSpec

LEAST_MTU = 68  # RFC 791, section 3.2: what each host must take
LEAST_MTU6 = 1280  # RFC 8200, section 5


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
    name, key = nic.netdev.name, key_of(spec)
    if nic.is_loopback:
        return f"{key}: {name} is the loopback device"
    if spec.kind is NicKind.HOST_DEVICE:
        return _in_use(nic, key)
    if not nic.netdev.is_up:
        return f"{key}: {name} is down, and what is above it would be too; set it up on the node"
    least = LEAST_MTU6 if has_ipv6 else LEAST_MTU
    if spec.mtu is not None and not least <= spec.mtu <= nic.netdev.mtu:
        return f"mtu: {spec.mtu} is not from {least} to {nic.netdev.mtu}, the MTU of {name}"
    if spec.kind is NicKind.MACVLAN and spec.macvlan_mode is MacvlanMode.PASSTHRU and spec.mac:
        return f"mac: is not for the mode passthru, which has that of {name}"
    return ""


def _in_use(nic: Nic, key: str) -> str:
    """Why the node cannot do without the device."""
    name = nic.netdev.name
    if nic.made_as == "tun":
        return f"{key}: {name} is a process's (tun, tap), which would keep it"
    if nic.is_way_out:
        return f"{key}: a default route of the node leaves by {name}"
    if nic.node_addresses:
        return f"{key}: by {name} the node has {', '.join(nic.node_addresses)}"
    if nic.above:
        return f"{key}: {', '.join(nic.above)} of the node would lose {name}"
    return ""
