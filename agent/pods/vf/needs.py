"""What ``vfs`` needs of others, so that tests can give it less than a card."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from agent.compile.vf import Change
from agent.kernel.device.netdev import PodAddresses
from agent.kernel.device.netdev_repair import Given
from agent.kernel.device.pci import GroupFile, HugePages
from agent.kernel.device.unreached import Unreached
from agent.model.netdev import Netdev
from agent.model.nic import Nic
from agent.model.vf import NodeOwner, Vf, VfSettings


class Card(Protocol):
    """``kernel.device.sriov.SriovCard``, or a test's; what each method raises stands there."""

    def look(self, address: str) -> Vf:
        """The VF as it is now."""

    def settings(self, addresses: Iterable[str]) -> Mapping[str, VfSettings]:
        """What the PFs keep for VFs, of those that they tell."""

    def nics(self, address: str) -> tuple[Nic, ...]:
        """Its network devices on the node."""

    def set(self, address: str, change: Change) -> None:
        """One attribute changed."""

    def netns_cookie(self, netns: str) -> int:
        """What tells a namespace from others."""

    def bind(self, address: str, driver: str, override: str) -> None:
        """A driver bound, or none."""

    def open_group(self, group: str, owner: NodeOwner | None) -> None:
        """The group's file opened to its owner."""

    def group_file(self, group: str) -> GroupFile | None:
        """Who may open the group's file."""

    def restore_group_file(self, group: str, was: GroupFile) -> None:
        """The same people as before."""

    def hugepages(self) -> dict[int, HugePages]:
        """The node's huge pages by size in KiB."""

    def set_mac(self, address: str, mac: str) -> None:
        """The device's address, on the node."""

    def hide(self, address: str) -> Unreached:
        """The device on the node, under a name for its way."""

    def to_pod(self, address: str, netns: str, cookie: int, name: str, mtu: int) -> None:
        """The device into a pod."""

    def configure(self, netns: str, cookie: int, address: str, given: PodAddresses) -> None:
        """Addresses and routes in the pod."""

    def in_pod(self, address: str, netns: str, cookie: int) -> Netdev | None:
        """The device in the pod."""

    def lost(self, address: str, netns: str, cookie: int, given: Given) -> tuple[str, ...]:
        """What it has no more of what it was given."""

    def repair(self, address: str, netns: str, cookie: int, given: Given) -> tuple[str, ...]:
        """That again."""

    def bring_home(self, address: str, netns: str, cookie: int, patience_s: float, /) -> Netdev:
        """The device back on the node."""

    def restore_netdev(self, address: str, was: Netdev) -> Netdev:
        """The device as it was."""

    def restore_names(self, address: str, was: Netdev, index: int) -> bool:
        """What others had of its names."""
