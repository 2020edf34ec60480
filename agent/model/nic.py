"""An interface of a pod that is made of a network device of the node: above it, or the device itself.

The words are those of the reference plugins of containernetworking: macvlan, ipvlan, vlan, host-device.
"""

from dataclasses import dataclass
from enum import StrEnum

from agent.model.netdev import Netdev


class NicKind(StrEnum):
    """How a pod has its part of the node's device."""

    MACVLAN = "macvlan"  # a device above it with a MAC of its own
    IPVLAN = "ipvlan"  # a device above it with the same MAC, told by its addresses
    VLAN = "vlan"  # a device above it for the frames of one VLAN
    HOST_DEVICE = "host-device"  # the device itself


class MacvlanMode(StrEnum):
    """How devices above one device reach each other."""

    BRIDGE = "bridge"  # within the node
    VEPA = "vepa"  # by the switch, which sends frames back
    PRIVATE = "private"  # not at all
    PASSTHRU = "passthru"  # there is one alone, with the MAC of the device below


class IpvlanMode(StrEnum):
    """What is looked at to find out whose a packet is; l3s, whose packets pass no program in the pod, is not there.

    All above one device have one mode: who makes another one with another mode switches them all.
    """

    L2 = "l2"
    L3 = "l3"  # the pod asks for no neighbours, and hears no broadcasts


@dataclass(frozen=True, slots=True)
class NicSpec:
    """What a definition asks for.

    The node's device is named by *device*, or for the kind host-device by one of the others; where none of them is
    said, it is the one that the node's default route leaves by.
    """

    kind: NicKind
    device: str = ""
    hardware_address: str = ""  # MAC
    path: str = ""  # in sysfs, as /sys/devices/pci0000:00/0000:00:03.0
    pci_address: str = ""
    macvlan_mode: MacvlanMode = MacvlanMode.BRIDGE
    ipvlan_mode: IpvlanMode = IpvlanMode.L2
    broadcast_queue: int | None = None  # frames; None: as the kernel has it
    vlan: int = 0
    mtu: int | None = None  # None: as the node's device
    mac: str = ""  # empty: ours to choose, where the kind has one of its own

    @property
    def is_alone(self) -> bool:
        """Whether nobody else has the node's device then, the node itself neither."""
        is_passthru = self.kind is NicKind.MACVLAN and self.macvlan_mode is MacvlanMode.PASSTHRU
        return is_passthru or self.kind is NicKind.HOST_DEVICE


@dataclass(frozen=True, slots=True)
class Nic:
    """A device of the node as it is found."""

    netdev: Netdev
    parent: str = ""  # the device of hardware that it is of, as 0000:03:00.0 or virtio0; empty: it is software alone
    permanent_mac: str = ""  # that the hardware has of itself; empty: it is not told
    made_as: str = ""  # of one that is software alone: vlan, veth, bond
    below: int = 0  # the number of the device that it is above, or the other end of; 0: of none
    is_loopback: bool = False
    above: tuple[str, ...] = ()  # names of devices of the node above it, or that it is a port of
    node_addresses: tuple[str, ...] = ()  # that the node has on it, but for those of its link alone
    is_way_out: bool = False  # a default route of the node leaves by it
    routed: tuple[str, ...] = ()  # where routes lead that leave by it; looked at for who wants it alone
    vfs: int = 0  # that it has, as a PF
    ipvlan_mode: str = ""  # of the node's own ipvlan devices above it; empty: there are none
