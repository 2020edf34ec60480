"""Whose an address is, and what policies and peers are in words, where the agent left it: `policy.json`, in no map.

All of it may be missing, or older than the maps; then numbers and addresses stand for themselves.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from agent.model.address import Address
from agent.serve.policy_report import PodName, PolicyReport, read
from agent.serve.policy_words import PortWords
from maps import abi


class Names:
    """The agent's names."""

    def __init__(self, report: PolicyReport | None = None) -> None:
        self.is_there = report is not None
        self.report = report or PolicyReport()

    @classmethod
    def of(cls, run_dir: Path, pin_root: Path) -> "Names":
        """Those that the agent with this pin root left.

        Raises:
            PermissionError: this user may not look.
        """
        report = read(run_dir)
        return cls(report if report and report.pin_root == str(pin_root) else None)

    def pod(self, name: str) -> PodName | None:
        """A pod by namespace/name, another interface of it by namespace/name/interface."""
        return self.report.pods.get(name)

    def owner(self, address: Address | str) -> str:
        """Whose an address is: namespace/name of a pod, or a node's name; empty where that is not known."""
        return self._owners.get(str(address), "")

    def at_slot(self, slot: int, attachment: abi.Attachment | None) -> str:
        """The pod at a slot, if it is the one that the agent knew there."""
        found = self._slots.get(slot)
        return found[0] if found and is_at_slot(found[1], attachment) else ""

    def atoms(self, class_digest: str) -> frozenset[int] | None:
        """The peers that a class is, by their indices; None: not known."""
        found = self.report.classes.get(class_digest)
        return None if found is None else frozenset(found)

    def peers(self, atoms: tuple[int, ...]) -> str:
        """Peers in words."""
        known = self.report.atoms
        return " and ".join(known[at].text for at in atoms if at < len(known))

    def named_ports(self, atoms: frozenset[int]) -> Iterator[PortWords]:
        """The named ports that pods of a class have."""
        known = self.report.atoms
        for at in atoms:
            port = known[at].port if at < len(known) else None
            if port is not None:
                yield port

    @cached_property
    def _owners(self) -> dict[str, str]:
        found = {address: name for name, addresses in self.report.nodes.items() for address in addresses}
        by_life = sorted(self.report.pods.items(), key=lambda one: not one[1].is_ending)
        return found | {address: name for name, pod in by_life if not pod.network for address in pod.addresses}

    @cached_property
    def _slots(self) -> dict[int, tuple[str, PodName]]:
        return {pod.slot: (name, pod) for name, pod in self.report.pods.items() if pod.slot}


def is_at_slot(pod: PodName, attachment: abi.Attachment | None) -> bool:
    """Whether who has a pod's slot is that pod, and not one that came after it."""
    return attachment is not None and attachment.endpoint_id == pod.endpoint_id
