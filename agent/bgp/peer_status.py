"""Writes how a BGPPeer's session fares into its status, each node into the entry of its own name.

Seldom: what changes goes at once, then nothing for half a minute, and numbers of prefixes, or another error of a
session that stays down, every five minutes. Of a peer of very many nodes nothing is written: each write reaches every
agent that watches BGPPeers.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from threading import Condition

from agent.bgp.keeper import BgpState
from agent.bgp.sessions import ESTABLISHED
from agent.kube.client import Client
from agent.kube.patches import Patches
from agent.model.bgp import BgpPeer
from agent.model.cluster import Cluster
from agent.model.node import Node
from agent.threads import Threads

MOST_NODES = 100  # of one peer
CHANGE_S, COUNT_S = 30.0, 300.0  # between two writes of one entry: of what happened, and of details alone
LONGEST_S = 300.0  # between two tries
DOWN = "Down"  # whatever BIRD tries meanwhile, which alternates: Active, Connect, OpenSent
KIND = "BGPPeer "  # so sessions say who asked for them


@dataclass(frozen=True, slots=True)
class Entry:
    """One node's session with one peer."""

    state: str  # ESTABLISHED or DOWN
    since: str = ""
    imported: int = 0
    exported: int = 0
    error: str = ""


Key = tuple[str, str]  # peer and node


class PeerStatusWriter:
    """One thread that writes to an API server."""

    def __init__(
        self, client: Client, node_name: str, threads: Threads, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """*clock* gives seconds."""
        self._node, self._clock = node_name, clock
        self._patches = Patches(client, "a BGPPeer's status", LONGEST_S, clock)
        self._wake = Condition()
        self._wanted: dict[Key, Entry | None] = {}  # None: no such entry
        self._written: dict[Key, tuple[Entry | None, float]] = {}  # and when
        self._state: BgpState | None = None  # by the latest look()
        self._nodes: Mapping[str, Node] = {}
        self._peers: Mapping[str, BgpPeer] = {}
        self._small: frozenset[str] = frozenset()  # peers of few nodes
        self._stopping = False
        self._thread = threads.make("bgp status", self._run)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout_s: float = 0.1) -> None:
        """End the thread; a daemon, so that a silent server does not keep us."""
        with self._wake:
            self._stopping = True
            self._thread.end()
            self._wake.notify_all()
        self._thread.join(timeout_s)

    def look(self, cluster: Cluster, state: BgpState) -> None:
        """Take down how it is now; returns at once, and costs a comparison while nothing changed."""
        nodes, peers = cluster.nodes, cluster.bgp_peers
        gone: set[Key] = set()
        if nodes is not self._nodes or peers is not self._peers:
            gone = set(_left(peers, nodes, self._node))
            self._nodes, self._peers = nodes, peers
            self._small = frozenset(name for name, peer in peers.items() if _is_of_few(peer, nodes))
        elif state is self._state:
            return
        self._state = state
        gone |= set(_unmet(peers, state, self._node))
        with self._wake:
            wanted: dict[Key, Entry | None] = {
                (peer, self._node): _steadied(entry, self._wanted.get((peer, self._node)))
                for peer, entry in entries(state)
                if peer in self._small
            }
            wanted |= dict.fromkeys(gone - wanted.keys())
            for key, entry in self._wanted.items():
                peer, node = key
                if key not in wanted and peer in peers and (node == self._node or node not in nodes):
                    is_there = entry is None or key in self._written
                    wanted |= {key: None} if is_there else {}
            self._wanted = wanted
            self._wake.notify_all()

    def write_due(self) -> None:
        """Write what is due now."""
        while (due := self._due()) is not None:
            self._handle(*due)

    def _run(self) -> None:
        while not self._stopping:
            with self._thread.busy():
                self.write_due()
            self._wait()

    def _wait(self) -> None:
        """Until something may be due, or the end."""
        with self._wake:
            at = min((self._due_at(*one) for one in self._wanted.items()), default=float("inf"))
            wait_s = at - self._clock()
            if not self._stopping and wait_s > 0:
                self._wake.wait(min(wait_s, LONGEST_S))

    def _due(self) -> tuple[Key, Entry | None] | None:
        with self._wake:
            now = self._clock()
            return next((one for one in self._wanted.items() if self._due_at(*one) <= now), None)

    def _due_at(self, key: Key, entry: Entry | None) -> float:
        """When it may be written, by the clock; never where it is as it is to be."""
        written, not_before = self._written.get(key), self._patches.due_at(key[0])
        if written is None:
            return not_before
        known, at = written
        if known == entry:
            return float("inf")
        is_detail = known is not None and entry is not None and _without_details(known) == _without_details(entry)
        return max(not_before, at + (COUNT_S if is_detail else CHANGE_S))

    def _handle(self, key: Key, entry: Entry | None) -> None:
        peer, node = key
        path = f"/apis/sluiceway.io/v1alpha1/bgppeers/{peer}/status"
        content = {"status": {"nodes": {node: asdict(entry) if entry is not None else None}}}
        if not self._patches.is_done(path, content, peer):
            return
        with self._wake:
            self._written[key] = entry, self._clock()
            if node != self._node:  # nobody asks for it again
                self._wanted.pop(key, None)
                del self._written[key]


def entries(state: BgpState) -> Iterator[tuple[str, Entry]]:
    """What this node has to say of each BGPPeer that it has a session with."""
    for one in state.sessions:
        about = state.about.get(one.name, "")
        if about.startswith(KIND):
            state_now = ESTABLISHED if one.is_up else DOWN
            yield about.removeprefix(KIND), Entry(state_now, one.since, one.imported, one.exported, one.error)


def _steadied(now: Entry, before: Entry | None) -> Entry:
    """Down since it went down: BIRD counts from its last attempt, of which each that is refused is another."""
    is_down_still = before is not None and now.state == before.state == DOWN
    return replace(now, since=before.since) if before is not None and is_down_still else now


def _left(peers: Mapping[str, BgpPeer], nodes: Mapping[str, Node], own: str) -> Iterator[Key]:
    """Entries that nobody keeps: of deleted nodes, for the first of the nodes, and of *own* if no peer of its."""
    is_first = bool(nodes) and min(nodes) == own
    for peer in peers.values():
        for name in peer.standing.nodes:
            node = nodes.get(name)
            if (node is None and is_first) or (
                node is not None and name == own and not peer.nodes.selects(dict(node.labels))
            ):
                yield peer.name, name


def _unmet(peers: Mapping[str, BgpPeer], state: BgpState, own: str) -> Iterator[Key]:
    """Entries of *own* that speak of a session which it has no more, as with a peer whose filter is gone."""
    met = {state.about.get(one.name) for one in state.sessions}
    for peer in peers.values() if state.has_all else ():
        if own in peer.standing.nodes and f"{KIND}{peer.name}" not in met:
            yield peer.name, own


def _is_of_few(peer: BgpPeer, nodes: Mapping[str, Node]) -> bool:
    count = 0
    for node in nodes.values():
        count += peer.nodes.selects(dict(node.labels))
        if count > MOST_NODES:
            return False
    return True


def _without_details(entry: Entry) -> Entry:
    """What is left when something happens; a session that stays down may fail for one reason and another in turns."""
    return replace(entry, imported=0, exported=0, error="" if entry.state == DOWN else entry.error)
