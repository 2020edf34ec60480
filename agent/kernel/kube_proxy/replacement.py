"""`--replace-kube-proxy`: once the agent serves Services, what kube-proxy left on the node is taken away.

Not as long as kube-proxy runs, which would write it anew: that is a problem of the Node, and so is what comes back
although nothing tells of kube-proxy. Such things are taken away again every ten minutes, not at once.
"""

import time
from collections.abc import Callable, Iterator

from agent.kernel.kube_proxy import alive, leftovers
from agent.kernel.kube_proxy.leftovers import Leftovers
from agent.log import logger
from agent.model.name import ObjectName, Problem
from agent.netlink.nftables import Chain
from agent.threads import Threads, Worker

log = logger(__name__)

LOOK_S = 5.0  # between looks
WAIT_S = 0.2  # between questions whether the agent serves
AGAIN_S = 600.0  # between two removals
OPTION = "--replace-kube-proxy"


class Replacement:
    """One thread, in the network namespace of the caller of :meth:`start`."""

    def __init__(
        self,
        node_name: str,
        node_ports: tuple[int, int],
        serves: Callable[[], bool],
        threads: Threads,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*serves* tells whether everything that asks for Services is answered by the agent's programs."""
        self._node_name = node_name
        self._node_ports = node_ports
        self._serves = serves
        self._clock = clock
        self._removed_at: float | None = None
        self._kept: tuple[tuple[Chain, Chain], ...] = ()  # of Removal
        self._problems: tuple[Problem, ...] = ()
        self._worker = Worker(threads, "replace-kube-proxy", self._run)

    def start(self) -> None:
        """Begin to wait until the agent serves."""
        self._worker.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def problems(self) -> tuple[Problem, ...]:
        """What is in the way, as it was at the last look; from any thread."""
        return self._problems

    def look(self) -> None:
        """Take away what is there, or find out why that is not to be."""
        self._problems = tuple(
            Problem("Node", ObjectName("", self._node_name), OPTION, text) for text in self._looked()
        )

    def _run(self) -> None:
        while not self._worker.is_stopping:
            if not self._serves():
                self._worker.pause(WAIT_S)
                continue
            with self._worker.busy():
                self.look()
            self._worker.pause(LOOK_S)

    def _looked(self) -> Iterator[str]:
        """The problems' texts."""
        if sign := alive.sign():
            yield f"kube-proxy {sign}, and what it has on the node stays until it ends; stop it"
            return
        there = leftovers.look()
        if there.legacy:
            tables = ", ".join(sorted(set(there.legacy)))
            yield (
                f"kube-proxy's chains in iptables-legacy's {tables} stay, as such a table is written whole or not at "
                "all; run `kube-proxy --cleanup` on the node"
            )
        kept = frozenset(chain for chain, _ in self._kept)
        if there.rules.tables or there.has_ipvs or not kept.issuperset(there.rules.chains):
            yield from self._remove(there)
        for chain, user in self._kept:
            yield (
                f"iptables chain {chain.name} of table {chain.table.name} stays, though kube-proxy's, as {user.name} "
                "leads to it; take that out, and start the agent again"
            )

    def _remove(self, there: Leftovers) -> Iterator[str]:
        kinds, now = ", ".join(there.kinds()), self._clock()
        if self._removed_at is not None and now - self._removed_at < AGAIN_S:
            yield (
                f"kube-proxy's {kinds} came back within {now - self._removed_at:.0f} s: something writes it; stop "
                f"that; it is taken away again every {AGAIN_S:.0f} s"
            )
            return
        try:
            removed = leftovers.remove(self._node_ports)
        except PermissionError as error:
            yield f"kube-proxy's {kinds} cannot be taken away: {error.strerror}; give the agent CAP_NET_ADMIN"
            return
        except OSError as error:
            yield f"kube-proxy's {kinds} cannot be taken away: {error.strerror}; tried again every {LOOK_S:.0f} s"
            return
        self._removed_at, self._kept = now, removed.kept
        log.info("what kube-proxy left is taken away", what=kinds, chains=len(removed.chains))
