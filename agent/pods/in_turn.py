"""One request at a time per container: a runtime that restarts may overlap itself. Other containers do not wait."""

from threading import Lock

from agent.model.attachment import AttachmentKey

_LOCKS = 256  # that all containers share: two seldom meet in one


class InTurn:
    """The turns of one node's containers."""

    def __init__(self) -> None:
        self._locks = tuple(Lock() for _ in range(_LOCKS))

    def of(self, key: AttachmentKey) -> Lock:
        """What a request holds while it is at the container."""
        return self._locks[hash(key[0]) % _LOCKS]
