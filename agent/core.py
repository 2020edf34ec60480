"""What the agent's other parts stand on: options, the loaded datapath, the loop, and what is known of the cluster."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from agent.kernel.programs.start import Started
from agent.options.config import Options
from agent.prepare import Prepared
from agent.reconcile.loop import Loop
from agent.serve import health
from agent.serve.metrics import WatchUse
from agent.threads import Threads
from agent.watch.mirror import Mirror
from agent.watch.source import Sources


@dataclass(frozen=True, slots=True)
class Core:
    """What is there in every agent, before a part is made of it."""

    options: Options
    prepared: Prepared
    kernel: Started
    threads: Threads
    loop: Loop
    mirror: Mirror
    sources: Sources

    def waits_for(self) -> tuple[str, ...]:
        """What has not been listed yet, and why."""
        return health.waits_for(self.mirror.missing(), self.sources.objects.status())

    def unsynced(self, wait_s: float) -> str:
        """What is not synced yet, after a wait; empty when all is."""
        return "" if self.loop.wait_synced(wait_s) else health.unsynced(self.loop.status(), self.waits_for())

    def not_ready(self) -> str:
        """Why traffic should not be trusted to this node yet; empty when it may."""
        is_moved, now_ns = self.kernel.moved.is_set(), time.monotonic_ns()
        return health.not_ready(self.loop.status(), self.waits_for(), is_moved=is_moved, now_ns=now_ns)

    def watch_uses(self) -> Iterator[WatchUse]:
        """How each watch of the API fares."""
        now = time.monotonic()
        for watch in self.sources.objects.status():
            yield WatchUse(watch.kind, None if watch.heard_at is None else now - watch.heard_at, watch.restarts)
