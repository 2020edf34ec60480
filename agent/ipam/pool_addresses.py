"""The addresses of one node's pods: of its pod CIDRs, or of the pools that a pod has its own of.

Stands between those who ask for a pod (``pods``) and those who keep the books: ``pool``, in which an address is
somebody's or nobody's, and ``block_claims``, which gets the node another block when its own are used up.
"""

import threading
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from agent.compile.ip_pool import Choice, has_automatic
from agent.ipam.pool import Addresses, AddressRefused, Ipam, NoAddress, Range, RangeFull
from agent.model.address import Address, Network
from agent.model.cluster import Cluster
from agent.model.ip_pool import IpBlock, IpPool

TRIES = 8  # of a pod whose block others use up meanwhile
IPV6 = 6


class Claims(Protocol):
    """``block_claims.BlockClaims`` and the like."""

    def is_usable(self, block: IpBlock) -> bool:
        """Whether addresses may be given of a block of ours."""

    def trust(self, block: IpBlock) -> None:
        """Use a block whose addresses are in use from before."""

    def claim_block(
        self, pool: IpPool, version: int, address: Address | None, is_needed: Callable[[], bool]
    ) -> IpBlock | None:
        """A block of ours from now on."""


class FixedBlocks:
    """The blocks that a folder of manifests says are ours: no other comes."""

    def is_usable(self, _block: IpBlock) -> bool:
        """As it is written there."""
        return True

    def trust(self, _block: IpBlock) -> None:
        """It is trusted."""

    def claim_block(
        self, pool: IpPool, version: int, address: Address | None, is_needed: Callable[[], bool]
    ) -> IpBlock | None:
        """None comes."""
        if not is_needed():
            return None
        what = str(address or f"no IPv{version} address left")
        raise NoAddress(f"IPPool {pool.name}: {what} in an IPBlock of this node, and no other comes from a folder")


class PoolAddresses:
    """Who has which address, on each network; safe to use from several threads."""

    def __init__(self, ipam: Ipam, node_name: str, cluster: Callable[[], Cluster], claims: Claims) -> None:
        """*ipam* has the cluster's network; others get books of their own."""
        self._node, self._cluster, self._claims = node_name, cluster, claims
        self._books: dict[str, Ipam] = {"": ipam}
        self._lock = threading.Lock()

    def book(self, network: str) -> Ipam:
        """Who has which address of a network; the cluster's has no name."""
        with self._lock:
            return self._books.setdefault(network, Ipam(tuple))

    def reserve(
        self, choice: Choice, wanted: Iterable[Address] = (), own: Collection[Address] = (), *, with_cidrs: bool = False
    ) -> Addresses:
        """Addresses for one pod, of each family that the chosen pools have; *wanted* and *own* as ``Ipam.reserve``.

        *with_cidrs*: of a family that they have not, one of the Node's pod CIDRs.

        Raises:
            NoAddress: there is none, and no block can be claimed.
            AddressRefused: a wanted address is not one to be given here.
        """
        asked = tuple(wanted)
        if not choice.pools:
            return self.book("").reserve(asked, own)
        book = self.book(choice.pools[0].network)
        for left in reversed(range(TRIES)):
            ranges = self._ranges(choice, asked, own, with_cidrs=with_cidrs)
            if not (ranges or own):
                raise NoAddress(f"IPPool {choice.pools[0].name} has no range of a family that this node's kernel has")
            try:
                return book.reserve(asked, own, ranges)
            except RangeFull:
                if not left:
                    raise
        raise AssertionError

    def blocks(self, network: str = "") -> tuple[Range, ...]:
        """The blocks that this node has of a network, with their pools, in order."""
        cluster = self._cluster()
        pools = [pool for pool in cluster.ip_pools.values() if pool.network == network]
        found = []
        for block in self.own_blocks(network):
            pool = next((one for one in pools if one.has(block.cidr)), None)
            if pool is not None:
                found.append(Range(block.cidr, pool))
        return tuple(found)

    def own_blocks(self, network: str) -> tuple[IpBlock, ...]:
        """The same as objects."""
        those = (one for one in self._cluster().ip_blocks.values() if (one.node, one.network) == (self._node, network))
        return tuple(sorted(those, key=lambda one: (one.cidr.version, one.cidr)))

    def trouble(self) -> str:
        """Why no pod would be given an address now; empty when some would."""
        found = self.book("").trouble()
        return "" if found and has_automatic(self._cluster(), self._node) else found

    def free(self) -> tuple[tuple[Network, int, int], ...]:
        """As ``Ipam.free``, with the blocks that this node has."""
        return self.book("").free(self.blocks())

    def _ranges(
        self, choice: Choice, asked: tuple[Address, ...], own: Collection[Address], *, with_cidrs: bool
    ) -> tuple[Range, ...]:
        """What to take from, of each family: one of them has room, unless others are faster."""
        found: list[Range] = []
        has_ipv6 = self._cluster().local.has_ipv6
        wanted: dict[int, Address] = {address.version: address for address in asked if address not in own}
        for address in wanted.values():
            _check_in_range(choice, address, with_cidrs=with_cidrs)
        held = {address.version for address in own}
        for version in (4, IPV6) if has_ipv6 else (4,):
            pools = choice.of(version)
            if pools:
                found += self._of_version(pools, version, wanted.get(version), is_held=version in held)
            elif with_cidrs:
                found += [Range(cidr) for cidr in self.book("").cidrs() if cidr.version == version]
        return tuple(found)

    def _of_version(
        self, pools: tuple[IpPool, ...], version: int, asked: Address | None, *, is_held: bool
    ) -> tuple[Range, ...]:
        book = self.book(pools[0].network)
        if asked is not None:
            pools = tuple(pool for pool in pools if pool.cidr_of(asked) is not None)
            if why := pools[0].why_never(asked):
                raise AddressRefused(f"{asked} of IPPool {pools[0].name} {why}")

        def usable() -> tuple[Range, ...]:
            return tuple(one for pool in pools for one in self._usable(pool, version))

        def is_needed() -> bool:
            there = usable()
            if asked is not None:
                return all(asked not in one.network for one in there)
            return not any(book.has_room(one) for one in there)

        failed: list[NoAddress] = []
        for pool in pools if not is_held else ():
            if not is_needed():
                break
            try:
                block = self._claims.claim_block(pool, version, asked, is_needed)
            except NoAddress as error:
                failed.append(error)
                continue
            if block is not None:
                book.renew(block.cidr)
                break
        if len(failed) == len(pools):
            raise NoAddress("; ".join(map(str, failed)))
        return usable()

    def _usable(self, pool: IpPool, version: int) -> tuple[Range, ...]:
        """The blocks of ours that a pool has, whether they have room or not."""
        book = self.book(pool.network)
        found = []
        for block in self.own_blocks(pool.network):
            if block.cidr.version != version or not pool.has(block.cidr):
                continue
            if not self._claims.is_usable(block) and book.is_used(block.cidr):
                self._claims.trust(block)
            if self._claims.is_usable(block) and not book.is_retired(block.cidr):
                found.append(Range(block.cidr, pool))
        return tuple(found)


def _check_in_range(choice: Choice, address: Address, *, with_cidrs: bool) -> None:
    """See whether the pools have an address that is asked for, before a block is claimed.

    Raises:
        AddressRefused: none has.
    """
    if any(pool.cidr_of(address) is not None for pool in choice.pools):
        return
    if choice.of(address.version) or not with_cidrs:  # else it is one of the podCIDRs', perhaps
        ranges = ", ".join(f"{pool.name} ({', '.join(map(str, pool.cidrs))})" for pool in choice.pools)
        raise AddressRefused(f"{address} is in no range of IPPool {ranges}")
