"""Blocks looked after: what nobody uses is given back, what a gone node had is freed, what pods have is held.

A thread of each node. A block of ours goes when no pod has had an address of it for a while. A block of a node that is
not in the cluster any more any node may free, once the API server has had no Pod of that node for long; the first to
ask does. A block that somebody removed while pods have addresses of it is made again.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2s
from typing import Protocol

from agent.compile.ip_pool import block_of, strays, taken
from agent.compile.ip_pool_problems import asked_problems
from agent.ipam.pool import NoAddress
from agent.ipam.pool_addresses import Claims, PoolAddresses
from agent.kube.client import TROUBLE, Refused
from agent.log import logger
from agent.model.address import Address, Network
from agent.model.cluster import Cluster
from agent.model.ip_pool import IP_POOL, IpBlock, IpPool
from agent.model.name import ObjectName, Problem
from agent.threads import Threads, Worker

log = logger(__name__)

WATCH = "pools of addresses"  # as whose report the problems are in the Cluster
LOOK_S = 1.0
IDLE_S = 300.0  # a block without pods stays ours for so long, one of a pool and family
SPARE_S = 10.0  # and others: who may make pods asks for an address in each block of a pool
GONE_S, SPREAD_S = 600.0, 300.0  # a node's blocks stay its own after it was last seen, and the nodes' spread behind it
SINGLE_S = 5.0  # one that has a single address: who asks for that may be on another node by now
RETRY_S = 5.0  # between two tries to give a block of ours back
ASK_S = 60.0  # between two questions for a gone node's pods
# of the Cluster, for problems; a change of the rest is no news
_READ = ("ip_pools", "ip_blocks", "nodes", "pods", "namespaces", "networks")


class Releases(Claims, Protocol):
    """``block_claims.BlockClaims``, or a test's."""

    def release(self, block: IpBlock) -> None:
        """Give a block back."""

    def is_answered(self, block: IpBlock) -> bool:
        """Whether the API server answers now."""

    def has_pods(self, node: str) -> bool:
        """Whether the API server has a Pod of this node."""


@dataclass(slots=True)
class _Seen:
    """Since when a block is unused, or a node is gone; and when it may be tried again."""

    since: float
    not_before: float = 0.0


class BlockKeeper:
    """Looks after the blocks of one node, and those of nodes that are gone."""

    def __init__(  # noqa: PLR0913  who knows a part of it
        self,
        node_name: str,
        cluster: Callable[[], Cluster],
        addresses: PoolAddresses,
        claims: Releases,
        threads: Threads,
        *,
        report: Callable[[tuple[Problem, ...]], None] = lambda _: None,
        services: Iterable[Network] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*report* gets all that is wrong with pools, at each change; *services* are the ranges of Services."""
        self._node, self._cluster, self._addresses, self._claims = node_name, cluster, addresses, claims
        self._report, self._services, self._clock = report, tuple(services), clock
        self._idle: dict[str, _Seen] = {}  # by uid
        self._gone: dict[str, _Seen] = {}  # nodes by name
        self._told: tuple[Problem, ...] = ()
        self._compared: tuple[object, ...] = (None,) * len(_READ)
        self._wrong: tuple[Problem, ...] = ()
        self._worker = Worker(threads, "ip-blocks", self._run)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._worker.is_stopping:
            with self._worker.busy():
                try:
                    self.turn()
                # whatever it is: addresses that were given stay, and the next turn tries again
                except Exception as error:
                    log.exception("blocks cannot be looked after; tried again", why=error)
            self._worker.pause(LOOK_S)

    def turn(self) -> None:
        """One look at all of it."""
        cluster = self._cluster()
        if not cluster.synced:
            return
        own = [block for block in cluster.ip_blocks.values() if block.node == self._node]
        lost = tuple(self._hold(cluster, own))
        self._give_back(own)
        self._free(cluster)
        self._tell(cluster, lost)

    def _give_back(self, own: Iterable[IpBlock]) -> None:
        """What of ours nobody uses."""
        now, known = self._clock(), self._idle
        self._idle = {}
        kept: dict[tuple[str, int], str] = {}  # by pool and family the block that was used last
        idle = []
        for block in own:
            book = self._addresses.book(block.network)
            if self._claims.is_usable(block):  # what was given back may have been claimed again
                book.renew(block.cidr)
            if not book.is_used(block.cidr):
                self._idle[block.uid] = known.get(block.uid, _Seen(now))
                idle.append(block)
        for block in sorted(idle, key=lambda one: self._idle[one.uid].since):
            if block.cidr.num_addresses > 1:
                kept[block.pool, block.cidr.version] = block.uid
        for block in idle:
            self._give_back_idle(block, now, is_kept=block.uid in kept.values())

    def _give_back_idle(self, block: IpBlock, now: float, *, is_kept: bool) -> None:
        seen = self._idle[block.uid]
        patience_s = IDLE_S if is_kept else SINGLE_S if block.cidr.num_addresses == 1 else SPARE_S
        if now - seen.since < patience_s or now < seen.not_before:
            return
        seen.not_before = now + RETRY_S
        if self._claims.is_answered(block) and self._addresses.book(block.network).retire(block.cidr):
            self._release(block)

    def _free(self, cluster: Cluster) -> None:
        """What nodes had that are gone."""
        now, known = self._clock(), self._gone
        left: dict[str, list[IpBlock]] = {}
        for block in cluster.ip_blocks.values():
            if block.node not in cluster.nodes and block.node != self._node:
                left.setdefault(block.node, []).append(block)
        self._gone = {node: known.get(node, _Seen(now)) for node in left}
        for node, blocks in left.items():
            seen = self._gone[node]
            if now - seen.since < GONE_S + self._spread_s(node) or now < seen.not_before:
                continue
            seen.not_before = now + ASK_S
            try:
                has_pods = self._claims.has_pods(node)
            except (Refused, *TROUBLE) as error:
                log.warning("pods of a node that is gone cannot be listed; tried again", node=node, why=error)
                continue
            if not has_pods:
                for block in blocks:
                    self._release(block)

    def _spread_s(self, node: str) -> float:
        """How much later than others this node asks: else all ask at once."""
        drawn = blake2s(f"{self._node} {node}".encode(), digest_size=4).digest()
        return SPREAD_S * int.from_bytes(drawn, "big") / (1 << 32)

    def _hold(self, cluster: Cluster, own: Iterable[IpBlock]) -> Iterable[Problem]:
        """Claim again what our pods have addresses of, where the block is not there any more."""
        node = cluster.nodes.get(self._node)
        by_network: dict[str, list[IpPool]] = {}
        for pool in cluster.ip_pools.values():
            by_network.setdefault(pool.network, []).append(pool)
        for network, pools in by_network.items():
            ranges = [block.cidr for block in own if block.network == network]
            ranges += node.pod_cidrs if node and not network else ()
            for address in self._addresses.book(network).in_use():
                if any(address in one for one in ranges):
                    continue
                found = next((one for one in pools if one.cidr_of(address) is not None), None)
                if found is not None and (problem := self._held(found, address)):
                    yield problem

    def _held(self, pool: IpPool, address: Address) -> Problem | None:
        try:
            self._claims.claim_block(pool, address.version, address, lambda: True)
        except NoAddress as error:
            text = f"a pod of node {self._node} has {address}, and {block_of(pool, address)} is not its block: {error}"
            return Problem(IP_POOL, ObjectName("", pool.name), "spec.cidrs", text)
        return None

    def _release(self, block: IpBlock) -> None:
        try:
            self._claims.release(block)
        except (Refused, *TROUBLE) as error:
            log.warning("a block cannot be given back; tried again", block=block.name, why=error)

    def _tell(self, cluster: Cluster, lost: tuple[Problem, ...]) -> None:
        compared = tuple(getattr(cluster, name) for name in _READ)
        if any(now is not before for now, before in zip(compared, self._compared, strict=True)):
            self._compared = compared
            asked = asked_problems(cluster, self._node)
            self._wrong = (*taken(cluster, self._services).problems, *strays(cluster), *asked)
        found = (*self._wrong, *lost)
        if found != self._told:
            self._told = found
            self._report(found)
