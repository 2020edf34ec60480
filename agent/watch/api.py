"""The watches of one API server: a thread for each kind of objects that somebody needs, begun and ended at any time."""

import time
from collections.abc import Iterable
from threading import Lock

from agent.kube.client import Client
from agent.threads import Threads
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Kind
from agent.watch.decode.kinds import NEEDED
from agent.watch.met import Met
from agent.watch.mirror import Mirror
from agent.watch.status import WatchStatus
from agent.watch.watch import STOP_S, Watch


class ApiSource:
    """All watches of one API server."""

    def __init__(  # noqa: PLR0913  whom it asks and tells
        self,
        client: Client,
        node_name: str,
        mirror: Mirror,
        threads: Threads,
        kinds: Iterable[Kind] = NEEDED,
        *,
        met: Met | None = None,
    ) -> None:
        """*kinds* are watched from :meth:`start` on; *met* remembers which of them the server had."""
        self._client = client
        self._decoder = Decoder(node_name)
        self._mirror = mirror
        self._threads = threads
        self._met = met or Met()
        self._lock = Lock()
        self._watches = {kind: self._watch(kind) for kind in kinds}

    def start(self) -> None:
        """Begin to watch."""
        for watch in self._watches.values():
            watch.start()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """End all watches."""
        with self._lock:
            watches, self._watches = self._watches, {}
        for watch in watches.values():
            watch.end()
        until = time.monotonic() + timeout_s
        for watch in watches.values():
            watch.join(max(0.0, until - time.monotonic()))

    def watch(self, kind: Kind) -> None:
        """Watch this kind too, from now on; the Cluster's ``synced`` does not wait for it."""
        with self._lock:
            if kind not in self._watches:
                self._watches[kind] = self._watch(kind)
                self._watches[kind].start()

    def unwatch(self, kind: Kind) -> None:
        """Watch it no more; the Cluster forgets its objects at once, the thread ends when it has done what it does."""
        with self._lock:
            watch = self._watches.pop(kind, None)
            if watch is not None:
                watch.end()
                watch.join(0.0)
                self._mirror.forget(kind)

    def status(self) -> tuple[WatchStatus, ...]:
        """How each watch fares."""
        with self._lock:
            return tuple(watch.status() for watch in self._watches.values())

    def _watch(self, kind: Kind) -> Watch:
        return Watch(self._client, kind, self._decoder, self._mirror, self._threads, self._met)
