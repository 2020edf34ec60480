"""The attachments of this moment; memory alone, the ``journal`` is their record. Serves ``pods``."""

import threading
from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from agent.model.attachment import Attachment, AttachmentKey
from agent.pods.attachments import Saved


class KnownAttachments:
    """The attachments of one node, oldest first; safe to use from several threads."""

    def __init__(self) -> None:
        self._saved: dict[AttachmentKey, Saved] = {}
        self._sequence = 0
        self._slots: set[int] = set()  # those that are taken
        self._lock = threading.Lock()

    def restore(self, those: Iterable[Saved]) -> tuple[Attachment, ...]:
        """Take over what an earlier agent left."""
        with self._lock:
            self._slots.clear()
            self._saved = {saved.attachment.key: self._with_slot(saved) for saved in those}
            self._sequence = max((saved.sequence for saved in self._saved.values()), default=0)
            return self._all()

    def next_number(self) -> int:
        """The number of a new attachment, by which their order is known."""
        with self._lock:
            self._sequence += 1
            return self._sequence

    def take_slot(self) -> int:
        """The least slot that no attachment has, until :meth:`release_slot` or :meth:`forget`."""
        with self._lock:
            return self._free_slot()

    def take_place(self) -> tuple[int, int]:
        """The number and slot of an attachment of another kind, which others keep."""
        return self.next_number(), self.take_slot()

    def keep_place(self, number: int, slot: int) -> int:
        """The slot of an attachment of another kind, from before; another one where this is taken.

        Numbers go on behind its own.
        """
        with self._lock:
            self._sequence = max(self._sequence, number)
            if slot in self._slots:
                return self._free_slot()
            self._slots.add(slot)
            return slot

    def release_slot(self, slot: int) -> None:
        """Give back the slot of an attachment that is not made after all, or of another kind."""
        with self._lock:
            self._slots.discard(slot)

    def get(self, key: AttachmentKey) -> Attachment | None:
        """The attachment of this identity."""
        saved = self._saved.get(key)
        return saved.attachment if saved else None

    def network_of(self, key: AttachmentKey) -> str:
        """The name of the configuration that asked for it; empty where it is not known."""
        saved = self._saved.get(key)
        return saved.network if saved else ""

    def has_other_of(self, key: AttachmentKey) -> bool:
        """Whether the container has another interface from here."""
        with self._lock:
            return any(other[0] == key[0] and other != key for other in self._saved)

    def is_younger(self, key: AttachmentKey, than_ns: int) -> bool:
        """Whether it was asked for later, by CLOCK_BOOTTIME."""
        saved = self._saved.get(key)
        return saved is not None and saved.asked_at_ns > than_ns

    def all(self) -> tuple[Attachment, ...]:
        """The attachments of this moment, oldest first."""
        with self._lock:
            return self._all()

    def of_network(self, network: str) -> tuple[Attachment, ...]:
        """The attachments made by a configuration of this name."""
        with self._lock:
            return tuple(saved.attachment for saved in self._saved.values() if saved.network == network)

    def add(self, saved: Saved) -> None:
        """Know one more."""
        with self._lock:
            self._saved[saved.attachment.key] = saved

    def forget(self, key: AttachmentKey) -> None:
        """Know it no more."""
        with self._lock:
            saved = self._saved.pop(key, None)
            if saved is not None:
                self._slots.discard(saved.attachment.slot)

    def _with_slot(self, saved: Saved) -> Saved:
        """An attachment from before, with a slot where it has none that is its own."""
        if saved.attachment.slot and saved.attachment.slot not in self._slots:
            self._slots.add(saved.attachment.slot)
            return saved
        return replace(saved, attachment=replace(saved.attachment, slot=self._free_slot()))

    def _free_slot(self) -> int:
        slot = next(number for number in count(1) if number not in self._slots)
        self._slots.add(slot)
        return slot

    def _all(self) -> tuple[Attachment, ...]:
        return tuple(saved.attachment for saved in self._saved.values())
