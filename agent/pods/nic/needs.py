"""What pods' interfaces need of those who know the node's devices."""

from contextlib import AbstractContextManager
from ipaddress import IPv6Address
from typing import Protocol

from agent.kernel.device.netdev import PodAddresses
from agent.kernel.device.netdev_repair import Given
from agent.kernel.device.nic import HostDevice
from agent.kernel.device.unreached import Unreached
from agent.model.netdev import Netdev
from agent.model.nic import Nic, NicKind, NicSpec
from agent.netlink.counted import CountedLink


class Devices(Protocol):
    """``kernel.device.nic.NodeNics``, or a test's; what each method raises stands there."""

    def look(self, spec: NicSpec) -> Nic:
        """The device of the node that a definition means."""

    def netns_cookie(self, netns: str) -> int:
        """What tells a namespace from others."""

    def make(self, spec: NicSpec, below: Nic, name: str) -> AbstractContextManager[Unreached]:
        """A device above it, where the pod cannot reach it; gone behind the block, unless it is in the pod."""

    def enter(self, out: Unreached, netns: str, cookie: int, index: int) -> None:
        """That one into the pod."""

    def hide(self, moved: HostDevice) -> Unreached:
        """The device itself, under a name for its way."""

    def to_pod(self, moved: HostDevice, netns: str, cookie: int, name: str) -> None:
        """That one into the pod."""

    def configure(  # noqa: PLR0913, PLR0917
        self, netns: str, cookie: int, index: int, name: str, given: PodAddresses, own: IPv6Address | None
    ) -> None:
        """Up, with addresses and routes."""

    def in_pod(self, netns: str, cookie: int, index: int) -> Netdev | None:
        """The device in the pod."""

    def lost(self, netns: str, cookie: int, index: int, given: Given) -> tuple[str, ...]:
        """What it has no more of what it was given."""

    def repair(self, netns: str, cookie: int, index: int, given: Given) -> tuple[str, ...]:
        """That again."""

    def counted(self, netns: str, cookie: int, index: int) -> CountedLink | None:
        """What the device in the pod has counted."""

    def remove(self, kind: NicKind, netns: str, cookie: int, index: int) -> None:
        """What was made, away."""

    def bring_home(self, moved: HostDevice, netns: str, cookie: int, patience_s: float) -> bool:
        """The device back on the node."""

    def restore(self, moved: HostDevice) -> None:
        """As it was."""

    def restore_names(self, moved: HostDevice, index: int) -> bool:
        """What others had of its names."""
