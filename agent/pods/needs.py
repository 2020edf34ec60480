"""What the CNI commands need of others, so that tests can give them less than a kernel."""

from typing import Protocol

from agent.model.attachment import Attachment
from agent.pods.veth import Wire
from agent.pods.veth_batch import Wish


class Attacher(Protocol):
    """The reconcile loop, as far as CNI needs it; both return when the kernel has it."""

    def attach(self, attachment: Attachment) -> None:
        """Carry the pod's packets from now on."""

    def detach(self, attachment: Attachment) -> None:
        """Know the pod no more; one that is unknown already is no error."""


class Wires(Protocol):
    """``pod_link.PodLinks``, or a test's."""

    def create(self, wish: Wish) -> Wire:
        """Make a pod's wire."""

    def remove(self, name: str) -> bool:
        """Remove it."""

    def ours(self) -> frozenset[str]:
        """Host ends on the node."""

    def is_alive(self, attachment: Attachment) -> bool:
        """Whether it is as ADD saw it."""

    def is_there(self, attachment: Attachment) -> bool:
        """Whether the node's end is there."""

    def faults(self, attachment: Attachment) -> tuple[str, ...]:
        """What is not as ADD left it."""
