"""The record of a pod's interface that is made of a device of the node."""

from ipaddress import IPv6Address
from pathlib import Path
from typing import Self

import msgspec

from agent.compile.endpoint import link_local
from agent.model.netdev import Netdev
from agent.model.nic import IpvlanMode, Nic, NicKind
from agent.pods.attachments import digest, made_mac
from agent.pods.device.record import DeviceJournal, DeviceRecord

FOLDER = "nics"  # in --state-dir
PREFIX = "nic_"  # of what a device is known by; pins have the same name
HIDDEN_PREFIX = "swn"  # of the name that a device of the node has while it moves
DIGITS = 12  # of the attachment's digest, in both
_MACS = 3  # that are remembered
FIRST, NUMBERS = 1 << 16, 1 << 24  # of devices in pods: above those that the kernel gives


def address_of(container_id: str, interface: str) -> str:
    """What the device of an attachment is known by."""
    return PREFIX + digest(container_id, interface)[:DIGITS]


class NicRecord(DeviceRecord, frozen=True, omit_defaults=True, kw_only=True):
    """A pod's interface, and of which device of the node it is made."""

    kind: NicKind
    device: str  # the node's
    before: Netdev | None = None  # the node's device as it was, where the pod has it itself
    parent: str = ""  # of that one, as Nic's
    permanent_mac: str = ""
    made_as: str = ""
    below: int = 0
    master: int = 0  # the number of the node's device, whose name may change; 0: a record of a version that noted none
    mode: IpvlanMode | None = None  # of kind ipvlan; None also in a record of a version that noted none

    was: tuple[str, ...] = ()  # MACs that it had with its master, the last one first

    @property
    def has_masters_mac(self) -> bool:
        """Whether the kernel has it follow its master's MAC, which the pod itself cannot change by it.

        ``passthru`` follows too, but there it is the pod that may change its master's.
        """
        return self.kind in {NicKind.IPVLAN, NicKind.VLAN}

    def with_mac(self, mac: str) -> Self:
        """With its master's new one."""
        return msgspec.structs.replace(self, mac=mac, was=(self.mac, *self.was)[:_MACS])

    def is_above(self, nic: Nic) -> bool:
        """Whether the pod's device is above this one of the node."""
        if self.before is not None:
            return False
        return self.master == nic.netdev.index if self.master else self.device == nic.netdev.name

    @property
    def ifindex(self) -> int:
        """The device's number in the pod."""
        return FIRST + int(digest(self.container_id, self.interface)[:DIGITS], 16) % NUMBERS

    @property
    def link_local(self) -> IPv6Address:
        """As the base's; all of kind ipvlan above one device have its MAC, and each its own address."""
        if self.kind is NicKind.IPVLAN:
            return link_local(bytes.fromhex(made_mac(*self.key).replace(":", "")))
        return link_local(bytes.fromhex(self.mac.replace(":", "")))

    @property
    def link_locals(self) -> tuple[IPv6Address, ...]:
        """As the base's: the kernel has one of the MAC that there was when the device last came up."""
        if self.kind is NicKind.IPVLAN:
            return (self.link_local,)
        return tuple(link_local(bytes.fromhex(mac.replace(":", ""))) for mac in (self.mac, *self.was))

    @property
    def hidden(self) -> str:
        """The name that the node's device has while it moves."""
        return HIDDEN_PREFIX + digest(self.container_id, self.interface)[:DIGITS]


def nic_journal(state_dir: Path, boot: str) -> DeviceJournal[NicRecord]:
    """The files of one node."""
    return DeviceJournal(state_dir, FOLDER, NicRecord, boot)
