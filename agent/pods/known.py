"""The attachments of this moment, and who hears of them; memory alone, the ``journal`` is their record.

Serves ``pods``. A change and its telling are one, so that nobody hears of an older state behind a newer one.
"""

import threading
from collections.abc import Callable, Iterable

from agent.model.attachment import Attachment, AttachmentKey
from agent.pods.attachments import Saved

Changed = Callable[[tuple[Attachment, ...]], None]


class KnownAttachments:
    """The attachments of one node, oldest first; safe to use from several threads."""

    def __init__(self, changed: Changed) -> None:
        """*changed* hears all of them after each change."""
        self._changed = changed
        self._saved: dict[AttachmentKey, Saved] = {}
        self._leaving: set[AttachmentKey] = set()  # known still, but told to nobody
        self._sequence = 0
        self._lock = threading.Lock()  # guards the three above, and the order in which `changed` hears

    def restore(self, those: Iterable[Saved]) -> tuple[Attachment, ...]:
        """Take over what an earlier agent left."""
        with self._lock:
            self._saved = {saved.attachment.key: saved for saved in those}
            self._sequence = max((saved.sequence for saved in self._saved.values()), default=0)
            self._tell()
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
            self._tell()

    def leave(self, key: AttachmentKey) -> None:
        """Tell of it no more: what goes of its veth from now on is no loss to repair."""
        with self._lock:
            self._leaving.add(key)
            self._tell()

    def forget(self, key: AttachmentKey) -> None:
        """Know it no more."""
        with self._lock:
            self._saved.pop(key, None)
            self._leaving.discard(key)

    def _tell(self) -> None:
        self._changed(tuple(one for one in self._all() if one.key not in self._leaving))

    def _all(self) -> tuple[Attachment, ...]:
        return tuple(saved.attachment for saved in self._saved.values())
