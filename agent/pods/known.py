"""The attachments of this moment; memory alone, the ``journal`` is their record. Serves ``pods``."""

import threading
from collections.abc import Iterable

from agent.model.attachment import Attachment, AttachmentKey
from agent.pods.attachments import Saved


class KnownAttachments:
    """The attachments of one node, oldest first; safe to use from several threads."""

    def __init__(self) -> None:
        self._saved: dict[AttachmentKey, Saved] = {}
        self._sequence = 0
        self._lock = threading.Lock()

    def restore(self, those: Iterable[Saved]) -> tuple[Attachment, ...]:
        """Take over what an earlier agent left."""
        with self._lock:
            self._saved = {saved.attachment.key: saved for saved in those}
            self._sequence = max((saved.sequence for saved in self._saved.values()), default=0)
            return self._all()

    def next_number(self) -> int:
        """The number of a new attachment, by which their order is known."""
        with self._lock:
            self._sequence += 1
            return self._sequence

    def get(self, key: AttachmentKey) -> Attachment | None:
        """The attachment of this identity."""
        saved = self._saved.get(key)
        return saved.attachment if saved else None

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
            self._saved.pop(key, None)

    def _all(self) -> tuple[Attachment, ...]:
        return tuple(saved.attachment for saved in self._saved.values())
