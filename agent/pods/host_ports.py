"""Which pod has which port of the node, so that no two have one.

Serves ADD, as ``ipam`` does for addresses: taken before anything is made, given back when all is unmade.
"""

import threading

from agent.model.attachment import HostPort
from agent.pods.errors import HostPortTaken


class HostPorts:
    """The node's host ports by who has them; safe to use from several threads."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[HostPort, ...]] = {}  # by the pod's host device
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def adopt(self, owner: str, name: str, ports: tuple[HostPort, ...]) -> None:
        """Take over what a loaded attachment has."""
        if ports:
            self._held[owner], self._names[owner] = ports, name

    def reserve(self, owner: str, name: str, ports: tuple[HostPort, ...]) -> None:
        """Have all of them or none; *name* is what others are told.

        Raises:
            HostPortTaken: one is another pod's.
        """
        with self._lock:
            for other, theirs in self._held.items():
                clash = next(((port, held) for port in ports for held in theirs if held.clashes(port)), None)
                if clash and other != owner:
                    raise HostPortTaken(f"host port {clash[0]}: {self._names[other]} has {clash[1]}")
            self.adopt(owner, name, ports)

    def release(self, owner: str) -> None:
        """Give them back; one who has none has given them back already."""
        with self._lock:
            self._held.pop(owner, None)
            self._names.pop(owner, None)
