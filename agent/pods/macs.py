"""Which interface of a pod has which MAC, so that no two have one: a link-local address follows from it.

Serves ADD, as ``host_ports`` does: taken before anything is made, given back when all is unmade.
"""

import threading

from agent.pods.errors import MacTaken


class Macs:
    """The MACs of one node's pods by who has them; safe to use from several threads."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}  # by the host device of who has it
        self._lock = threading.Lock()

    def adopt(self, owner: str, mac: str) -> None:
        """Take over what a loaded attachment has."""
        self._held[owner] = mac

    def reserve(self, owner: str, mac: str) -> None:
        """Have it.

        Raises:
            MacTaken: another interface has.
        """
        with self._lock:
            if any(held == mac and other != owner for other, held in self._held.items()):
                raise MacTaken(f"{mac} is of another interface of this node's pods; ask for another, or for none")
            self.adopt(owner, mac)

    def release(self, owner: str) -> None:
        """Give it back; who has none has given it back already."""
        with self._lock:
            self._held.pop(owner, None)
