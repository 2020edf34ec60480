"""Pools of pods' addresses and this node's blocks of them, in a file that outlives the agent: ``dpctl ip-pool``."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.ipam.pool_addresses import PoolAddresses
from agent.log import logger
from agent.model.cluster import Cluster
from agent.serve import report_file

log = logger(__name__)

FILE = "ip-pools.json"  # in --run-dir
LEAST_S = 1.0  # between two looks


@dataclass(frozen=True, slots=True)
class PoolLine:
    """One IPPool."""

    name: str
    cidrs: tuple[str, ...] = ()
    network: str = ""
    is_automatic: bool = False
    is_disabled: bool = False
    blocks: int = 0  # that nodes have
    nodes: int = 0  # that have one


@dataclass(frozen=True, slots=True)
class BlockLine:
    """One IPBlock of this node."""

    cidr: str
    pool: str  # empty: no pool has its addresses any more
    network: str = ""
    used: int = 0
    free: int = 0


@dataclass(frozen=True, slots=True)
class IpPoolReport:
    """What the file holds; who reads it may be of another build, so that any part may be missing."""

    node: str = ""
    pools: tuple[PoolLine, ...] = ()
    blocks: tuple[BlockLine, ...] = ()


class IpPoolReporter:
    """Writes the file when there is something new."""

    def __init__(
        self, run_dir: Path, node_name: str, addresses: PoolAddresses, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run_dir, self._node, self._addresses, self._clock = run_dir, node_name, addresses, clock
        self._written: IpPoolReport | None = None
        self._at_s = float("-inf")

    def report(self, cluster: Cluster) -> None:
        """Write it; a file that cannot be written is logged, and tried again with the next change."""
        now = self._clock()
        if now - self._at_s < LEAST_S:
            return
        self._at_s = now
        made = IpPoolReport(self._node, tuple(_pools(cluster)), tuple(self._blocks(cluster)))
        if made == self._written:
            return
        self._written = made
        try:
            report_file.write(self._run_dir, FILE, msgspec.json.encode(made))
        except OSError as error:
            log.warning("pools cannot be written; dpctl ip-pool shows older ones", why=error)

    def _blocks(self, cluster: Cluster) -> Iterator[BlockLine]:
        networks = {one.network for one in cluster.ip_blocks.values() if one.node == self._node}
        for network in sorted(networks):
            ranges = self._addresses.blocks(network)
            usage = {cidr: (used, free) for cidr, used, free in self._addresses.book(network).usage(ranges)}
            pools = {one.network: one.pool.name for one in ranges if one.pool is not None}
            for block in self._addresses.own_blocks(network):
                used, free = usage.get(block.cidr, (0, 0))
                yield BlockLine(str(block.cidr), pools.get(block.cidr, ""), network, used, free)


def _pools(cluster: Cluster) -> Iterator[PoolLine]:
    for _, pool in sorted(cluster.ip_pools.items()):
        same = (one for one in cluster.ip_blocks.values() if one.network == pool.network)
        held = [one for one in same if pool.has(one.cidr)]
        yield PoolLine(
            pool.name,
            tuple(map(str, pool.cidrs)),
            pool.network,
            pool.is_automatic,
            pool.is_disabled,
            len(held),
            len({one.node for one in held}),
        )


def read(run_dir: Path) -> IpPoolReport | None:
    """An agent's last report; None where there is none that can be read.

    Raises:
        PermissionError: this user may not look.
    """
    return report_file.read(run_dir, FILE, IpPoolReport)
