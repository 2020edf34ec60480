"""What ``pods`` needs of others, so that tests can give it less than a kernel."""

from collections.abc import Iterable
from typing import Protocol

from agent.model.address import Address
from agent.model.attachment import Attachment, Veth
from agent.pods.request import PodRequest
from agent.pods.veth_spec import MadeVeth, VethSpec


class Attacher(Protocol):
    """The reconcile loop, as far as pods need it; both return when the kernel has it."""

    def attach(self, attachment: Attachment) -> None:
        """Carry the pod's packets from now on."""

    def detach(self, attachment: Attachment) -> None:
        """Know the pod no more; one that is unknown already is no error."""


class Veths(Protocol):
    """``veth.PodVeths``, or a test's."""

    def create(self, spec: VethSpec) -> MadeVeth:
        """Make a pod's veth pair."""

    def remove(self, name: str) -> bool:
        """Remove the pair with this host end."""

    def leave(self, attachment: Attachment) -> None:
        """Remove an attachment's pair, and what a pod that goes on would keep of it."""

    def ours(self) -> frozenset[str]:
        """Host ends on the node."""

    def is_alive(self, attachment: Attachment) -> bool:
        """Whether it is as ADD saw it."""

    def is_there(self, attachment: Attachment) -> bool:
        """Whether the node's end is there."""

    def repair(self, attachment: Attachment) -> tuple[Address, ...]:
        """What the pod's end has lost set again; the addresses that it is of."""


class OthersVeths(Protocol):
    """``chained.ChainedVeths``, or a test's."""

    def find(self, request: PodRequest) -> MadeVeth:
        """The interface that another plugin made."""

    def guard(self, link: Veth) -> None:
        """Have our programs on the node's end."""

    def release(self, link: Veth) -> None:
        """Have none of our programs on it."""


class OthersDevices(Protocol):
    """``chained.ChainedVeths``, or a test's, as far as it tells of all devices."""

    def guarded_indexes(self) -> frozenset[int]:
        """The devices that have our programs, by ifindex."""

    def release_indexes(self, those: Iterable[int]) -> None:
        """Have none of our programs on these devices."""
