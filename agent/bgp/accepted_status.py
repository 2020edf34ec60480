"""Writes into BGP's resources whether they are accepted; of a thousand nodes that know it one writes.

Every node finds the same verdict. The first of the nodes by name writes one that a status lacks; each other waits so
much longer the more nodes are before it, and writes what lacks still: so a first that has no agent costs some seconds.
No node writes the same twice while nothing else is to be said: agents of two versions that find otherwise do not take
turns.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Condition
from typing import Any

from agent.compile.bgp.accepted import Resource, Verdict, verdicts
from agent.kube.client import Client
from agent.kube.patches import Patches
from agent.model.accepted import CONDITION
from agent.model.bgp import BgpPeer
from agent.model.bgp_filter import BgpFilter
from agent.model.cluster import Cluster
from agent.threads import Threads

STEP_S = 15.0  # that a node waits longer than the one before it
GAP_S = 10.0  # between two writes of one node into one resource
FORGET_S = 300.0  # after which what was written, and stood since, is written again where it is gone
LONGEST_S = 300.0  # between two tries
_READ = ("bgp_peers", "bgp_filters", "bgp_configurations", "nodes", "synced")

Key = tuple[str, str]  # kind and name


@dataclass(frozen=True, slots=True)
class _Lack:
    """What a status is to say and does not."""

    resource: Resource
    verdict: Verdict
    found_s: float


class AcceptedWriter:
    """One thread that writes to an API server."""

    def __init__(
        self,
        client: Client,
        node_name: str,
        threads: Threads,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """*clock* gives seconds; *wall* those since 1970."""
        self._node, self._clock, self._wall = node_name, clock, wall
        self._patches = Patches(client, "whether one of BGP's resources is accepted", LONGEST_S, clock)
        self._wake = Condition()
        self._cluster = Cluster()
        self._rank: int | None = None  # how many nodes are before this one; None: it is no node
        self._lacks: dict[Key, _Lack] = {}
        self._written: dict[Key, tuple[Verdict, float]] = {}  # the last, and when
        self._stood: set[Key] = set()  # resources whose status said what was to be said
        self._is_stopping = False
        self._thread = threads.make("bgp accepted", self._run)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout_s: float = 0.1) -> None:
        """End the thread; a daemon, so that a silent server does not keep us."""
        with self._wake:
            self._is_stopping = True
            self._thread.end()
            self._wake.notify_all()
        self._thread.join(timeout_s)

    def look(self, cluster: Cluster) -> None:
        """Take down how it is now; returns at once, and costs a comparison while nothing changed."""
        before, self._cluster = self._cluster, cluster
        if not cluster.synced or all(getattr(cluster, name) is getattr(before, name) for name in _READ):
            return
        is_node = self._node in cluster.nodes
        with self._wake:
            self._rank = sum(name < self._node for name in cluster.nodes) if is_node else None
            now = self._clock()
            lacks: dict[Key, _Lack] = {}
            there = set()
            for resource, verdict in verdicts(cluster):
                key = _kind(resource), resource.name
                there.add(key)
                is_lacking = not verdict.stands(resource)
                self._forget(key, now, is_lacking=is_lacking, is_empty=resource.standing.accepted is None)
                if is_lacking:
                    known = self._lacks.get(key)
                    since = known.found_s if known is not None and known.verdict == verdict else now
                    lacks[key] = _Lack(resource, verdict, since)
            self._lacks = lacks
            for gone in self._written.keys() - there:
                del self._written[gone]
            self._stood &= there
            self._wake.notify_all()

    def _forget(self, key: Key, now: float, *, is_lacking: bool, is_empty: bool) -> None:
        """What was written, where it stood for long, or is gone from what may be another object of the name."""
        if not is_lacking:
            self._stood.add(key)
        if key not in self._written or key not in self._stood:
            return
        _, at = self._written[key]
        if is_empty if is_lacking else now - at >= FORGET_S:
            del self._written[key]
            self._stood.discard(key)

    def write_due(self) -> None:
        """Write what is due now."""
        while (due := self._due()) is not None:
            self._write(*due)

    def _run(self) -> None:
        while not self._is_stopping:
            with self._thread.busy():
                self.write_due()
            self._wait()

    def _wait(self) -> None:
        """Until something may be due, or the end."""
        with self._wake:
            at = min((self._due_at(*one) for one in self._lacks.items()), default=float("inf"))
            wait_s = at - self._clock()
            if not self._is_stopping and wait_s > 0:
                self._wake.wait(min(wait_s, LONGEST_S))

    def _due(self) -> tuple[Key, _Lack] | None:
        with self._wake:
            now = self._clock()
            return next((one for one in self._lacks.items() if self._due_at(*one) <= now), None)

    def _due_at(self, key: Key, lack: _Lack) -> float:
        """When it may be written, by the clock; never what was written once."""
        verdict, at = self._written.get(key, (None, -GAP_S))
        if self._rank is None or verdict == lack.verdict:
            return float("inf")
        return max(lack.found_s + self._rank * STEP_S, at + GAP_S, self._patches.due_at(key))

    def _write(self, key: Key, lack: _Lack) -> None:
        kind, name = key
        path = f"/apis/sluiceway.io/v1alpha1/{kind}/{name}/status"
        stamp = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self._patches.is_done(path, {"status": _status(lack, stamp)}, key):
            with self._wake:
                self._written[key] = lack.verdict, self._clock()


def _kind(one: Resource) -> str:
    """As the API has it."""
    return (
        "bgppeers" if isinstance(one, BgpPeer) else "bgpfilters" if isinstance(one, BgpFilter) else "bgpconfigurations"
    )


def _status(lack: _Lack, now: str) -> Mapping[str, Any]:
    verdict, said = lack.verdict, lack.resource.standing.accepted
    is_same = said is not None and said.is_so is verdict.is_so and said.since
    condition = {
        "type": CONDITION,
        "status": "True" if verdict.is_so else "False",
        "reason": verdict.reason,
        "message": verdict.message,
        "observedGeneration": verdict.generation,
        "lastTransitionTime": said.since if said is not None and is_same else now,
    }
    peers = {"peers": list(verdict.peers)} if isinstance(lack.resource, BgpFilter) else {}
    return {"conditions": [condition], **peers}
