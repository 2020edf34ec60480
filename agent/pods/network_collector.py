"""The thread that unmakes further interfaces of pods that are gone, and what a killed agent left half made.

It also has pods' ways out be as they are to be, and asks plugins how they are. These are executed here, so it is a
thread of its own: one that hangs keeps nobody but the next of its kind waiting.
"""

from agent.pods.networks import Networks
from agent.threads import Threads

LOOK_S = 60.0


class NetworkCollector:
    """Looks after the networks of one node's pods."""

    def __init__(self, networks: Networks, threads: Threads) -> None:
        self._networks = networks
        self._thread = threads.make("networks", self._run)

    def start(self) -> None:
        """Begin, when all that an earlier agent left is known."""
        self._thread.start()

    def stop(self, timeout_s: float = 0.1) -> None:
        """End it; a daemon, so that a plugin that hangs does not keep us."""
        self._thread.end()
        self._networks.wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._thread.is_ending:
            self._networks.wake.wait(LOOK_S)
            self._networks.wake.clear()
            if not self._thread.is_ending:
                self._networks.collect()
                self._networks.keep()
                self._networks.look()
