"""Addresses of load balancers and who announces them, in a file that outlives the agent: ``dpctl announce`` reads it.

The maps have what this node answers for; which Service an address is of, who else announces, and since when, is in no
map. Made by the thread that reports, of nothing but the cluster as this node knows it.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.compile.announce import placements, why_left_out
from agent.compile.settings import Settings
from agent.ipam.lb_pool import total
from agent.log import logger
from agent.model.address import Address
from agent.model.cluster import Cluster
from agent.model.lb_pool import LoadBalancerPool
from agent.model.name import ObjectName
from agent.serve import report_file

log = logger(__name__)

FILE = "announce.json"  # in --run-dir
LEAST_S = 1.0  # between two writes
SHARE = 50  # it takes one part of so many of the thread's time at most, whatever there is to write


@dataclass(frozen=True, slots=True)
class AddressLine:
    """One address."""

    address: str
    service: str  # namespace/name; of several the one that says which nodes may have it
    pool: str = ""  # where this node knows the pools
    node: str = ""  # which announces it; empty: none, as far as this node knows
    since_s: float = 0.0  # of the epoch, when this node heard so


@dataclass(frozen=True, slots=True)
class PoolLine:
    """One LoadBalancerPool."""

    name: str
    ranges: tuple[str, ...] = ()
    total: int = 0
    used: int = 0  # as its status says
    is_disabled: bool = False


@dataclass(frozen=True, slots=True)
class AnnounceReport:
    """What the file holds; who reads it may be of another build, so that any part may be missing."""

    pin_root: str = ""  # the agent's
    node: str = ""  # this one's name
    addresses: tuple[AddressLine, ...] = ()
    knows_pools: bool = False  # this node allocates
    pools: tuple[PoolLine, ...] = ()
    why_left_out: str = ""  # why this node announces nothing, if it is not to


class AnnounceReporter:
    """Writes the file when there is something new, and not too often."""

    def __init__(
        self, run_dir: Path, pin_root: Path, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        """What an agent before this one wrote says since when an address has been where it still is."""
        self._run_dir, self._settings, self._clock = run_dir, settings, clock
        self._written = _earlier(run_dir, pin_root)
        self._made_of: tuple[object, ...] = ()
        self._due_s = 0.0

    def report(self, cluster: Cluster, refused: Collection[ObjectName] = (), *, now: bool = False) -> None:
        """Write what *cluster* has to the file: at once if *now*, else as soon as the last write is long enough ago.

        Services that are *refused* are announced by nobody.

        Called again and again; before all is known it leaves what an earlier agent wrote. A file that cannot be
        written is logged, and tried again.
        """
        at_s = self._clock()
        is_early = at_s < self._due_s <= at_s + SHARE  # and the clock was not set back
        made_of = (
            cluster.services,
            cluster.slices,
            cluster.announcers,
            cluster.lb_pools,
            cluster.nodes,
            cluster.listed,
            refused,
        )
        is_same = len(self._made_of) == len(made_of) and all(map(_is, self._made_of, made_of))
        if not cluster.synced or is_same or (is_early and not now):
            return
        made = self._made(cluster, refused, at_s)
        try:
            if made != self._written:
                report_file.write(self._run_dir, FILE, msgspec.json.encode(made))
        except OSError as error:
            log.warning("announced addresses cannot be written; dpctl announce shows older ones", why=error)
        else:
            self._written, self._made_of = made, made_of
        self._due_s = at_s + max(LEAST_S, SHARE * (self._clock() - at_s))

    def _made(self, cluster: Cluster, refused: Collection[ObjectName], at_s: float) -> AnnounceReport:
        known = {one.address: one for one in self._written.addresses}
        lines = []
        for one in placements(cluster, self._settings, refused):
            earlier = known.get(text := str(one.address))
            is_there_still = earlier is not None and earlier.node == one.node
            since_s = earlier.since_s if earlier and is_there_still else at_s
            lines.append(
                AddressLine(text, str(one.service), _pool_of(one.address, cluster.lb_pools), one.node, since_s)
            )
        return AnnounceReport(
            self._written.pin_root,
            self._settings.node_name,
            tuple(lines),
            knows_pools="LoadBalancerPool" in cluster.listed,
            pools=tuple(_line(pool) for _, pool in sorted(cluster.lb_pools.items())),
            why_left_out=why_left_out(cluster, self._settings.node_name, self._settings),
        )


def _is(one: object, other: object) -> bool:
    return one is other


def _pool_of(address: Address, pools: Mapping[str, LoadBalancerPool]) -> str:
    return next((name for name in sorted(pools) if any(one.contains(address) for one in pools[name].ranges)), "")


def _line(pool: LoadBalancerPool) -> PoolLine:
    used = pool.status.used if pool.status else 0
    return PoolLine(pool.name, tuple(map(str, pool.ranges)), total(pool), used, pool.is_disabled)


def _earlier(run_dir: Path, pin_root: Path) -> AnnounceReport:
    found = read(run_dir)
    return found if found and found.pin_root == str(pin_root) else AnnounceReport(str(pin_root))


def read(run_dir: Path) -> AnnounceReport | None:
    """What an agent wrote last; None where there is nothing that can be read.

    Raises:
        PermissionError: this user may not look.
    """
    return report_file.read(run_dir, FILE, AnnounceReport)
