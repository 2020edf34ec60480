"""Addresses for pods, of the Node's pod CIDRs and of pools: allocation is memory, the attachment's file its record.

Serves ADD. An address comes back into use as late as possible, for a connection of its last owner may still
be known somewhere: first what was never given, then what was freed longest ago. After a restart the walk goes
on behind the address given last.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from agent.model.address import Address, Network
from agent.model.ip_pool import IpPool

# A pool is walked and remembered by offset; more addresses than this no node's pods can use.
POOL_MAX = 1 << 16


class NoAddress(Exception):  # noqa: N818  the name says what is wrong
    """No pod can be given an address now; the message says why and what to do."""


class RangeFull(NoAddress):
    """All that a pod could be given is in use; another range may have more."""


class AddressRefused(Exception):  # noqa: N818  as above
    """A pod asks for an address that it can never have here."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """What one pod gets: an address of each family that the Node has a pod CIDR of."""

    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None

    @property
    def all(self) -> tuple[Address, ...]:
        """Those that there are."""
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)


@dataclass(frozen=True, slots=True)
class Range:
    """What addresses are taken from: a pod CIDR, or a block of a pool that the node has."""

    network: Network
    pool: IpPool | None = None


@dataclass(slots=True)
class _Pool:
    """One range: offsets of its addresses, [first, last]."""

    network: Network
    first: int
    last: int
    next: int
    walked: int = 0  # offsets of the lap done; a lap meets every offset once
    used: set[int] = field(default_factory=set)
    freed: dict[int, None] = field(default_factory=dict)  # oldest first
    pool: IpPool | None = None
    closed: frozenset[int] = frozenset()  # of its pool's, those that nobody gets who does not ask for them

    def take(self) -> Address | None:
        """The address longest out of use; None when all are in use."""
        offset = self._fresh()
        if offset is None:
            offset = next((one for one in self.freed if one not in self.closed), None)
            if offset is not None:
                del self.freed[offset]
        if offset is None:
            return None
        self.used.add(offset)
        return self.network[offset]

    def _fresh(self) -> int | None:
        size = self.last - self.first + 1
        while self.walked < size:
            offset = self.next
            self.walked += 1
            self.next = self.first if offset == self.last else offset + 1
            if offset not in self.used and offset not in self.freed and offset not in self.closed:
                return offset
        return None

    def adopt(self, address: Address) -> None:
        """Note an address that is in use already; adopted oldest first, the walk starts behind the last."""
        offset = int(address) - int(self.network.network_address)
        if not self.first <= offset <= self.last:
            return
        self.used.add(offset)
        self.next = self.first if offset == self.last else offset + 1

    def claim(self, address: Address) -> bool:
        """Take an address of the pod CIDR that nobody has, also behind the last one walked; False: a reserved one."""
        offset = int(address) - int(self.network.network_address)
        if self.pool is not None and self.pool.why_never(address):
            return False
        if self.first <= offset <= self.last:
            self.freed.pop(offset, None)
            self.used.add(offset)
            return True
        return offset > self.last and address != self.network.broadcast_address

    def give_back(self, address: Address) -> None:
        offset = int(address) - int(self.network.network_address)
        if offset in self.used:
            self.used.discard(offset)
            self.freed[offset] = None


def _block(found: Range, pool: IpPool) -> _Pool:
    """All addresses of a block; what of them is not for everybody the pool says, which may change."""
    network = found.network
    last = min(network.num_addresses, POOL_MAX) - 1
    return _Pool(network, 0, last, 0, pool=pool, closed=frozenset(_closed(network, last, pool)))


def _closed(network: Network, last: int, pool: IpPool) -> Iterator[int]:
    start = int(network.network_address)
    for one in (*pool.excluded, *pool.static):
        if one.first.version == network.version:
            yield from range(max(0, int(one.first) - start), min(last, int(one.last) - start) + 1)
    cidr = pool.cidr_of(network.network_address)
    ends = (cidr.network_address, cidr.broadcast_address) if cidr is not None and cidr.num_addresses > 2 else ()  # noqa: PLR2004
    for address in (*ends, *pool.gateways):
        if address in network:
            yield int(address) - start


def _pool(network: Network) -> _Pool:
    """The pool of a pod CIDR.

    Left out are the network's own address (IPv6: the routers' anycast address), the first, which is by habit a
    gateway's, and IPv4's broadcast address; a CIDR of one or two addresses gives them all (RFC 3021).
    """
    last = min(network.num_addresses, POOL_MAX) - 1
    if network.num_addresses <= 2:  # noqa: PLR2004
        return _Pool(network, 0, last, 0)
    if isinstance(network, IPv4Network) and last == network.num_addresses - 1:
        last -= 1
    return _Pool(network, 2, last, 2)


class Ipam:
    """The node's addresses; safe to use from several threads."""

    def __init__(self, pod_cidrs: Callable[[], tuple[Network, ...]]) -> None:
        self._pod_cidrs = pod_cidrs
        self._pools: dict[Network, _Pool] = {}
        self._taken: dict[Address, None] = {}  # in use, oldest first: also what lies in no pool
        self._retired: set[Network] = set()  # blocks that are being given back: nobody gets any of them
        self._lock = threading.Lock()

    def adopt(self, addresses: Iterable[Address]) -> None:
        """Take over what loaded attachments hold, oldest first; called once, before the first reserve."""
        with self._lock:
            self._taken.update(dict.fromkeys(addresses))

    def hold(self, addresses: Iterable[Address]) -> frozenset[Address]:
        """Give these to nobody from now on; those that were free until now."""
        with self._lock:
            free = frozenset(addresses) - self._taken.keys()
            self._taken.update(dict.fromkeys(sorted(free, key=int)))
            for address in free:
                for cidr, pool in self._pools.items():
                    if address in cidr:
                        pool.claim(address)
            return free

    def reserve(
        self, wanted: Iterable[Address] = (), own: Collection[Address] = (), ranges: Iterable[Range] | None = None
    ) -> Addresses:
        """Addresses for one pod: of every family or none; *wanted* are the ones it must have of their families.

        Where none is wanted it gets of its *own*, which are held for it, and stay so whatever happens here. They are
        of the Node's pod CIDRs, or of these *ranges*.

        Raises:
            NoAddress: the Node has no pod CIDR, one is used up, or a wanted address is in use.
            AddressRefused: a wanted address is not one to be given here.
        """
        must = {address.version: address for address in (*own, *wanted)}
        with self._lock:
            given: list[Address] = []
            pools = self._current() if ranges is None else self._all_of(tuple(ranges))
            try:
                for address in must.values():
                    if address not in own:
                        self._claim(pools, address)
                        given.append(address)
                for version, kind in ((4, IPv4Network), (6, IPv6Network)):
                    family = [pool for pool in pools if isinstance(pool.network, kind)]
                    if version not in must and family:
                        given.append(_next(family))
            except (NoAddress, AddressRefused):
                self._give_back(given)
                raise
            self._taken.update(dict.fromkeys(given))
            return _addresses((*given, *(address for address in must.values() if address in own)))

    def cidrs(self) -> tuple[Network, ...]:
        """The Node's pod CIDRs as they are now."""
        return self._pod_cidrs()

    def has_room(self, found: Range) -> bool:
        """Whether somebody who asks for no certain address can be given one of a range."""
        with self._lock:
            return any(_free(pool) > 0 for pool in self._of((found,)))

    def is_retired(self, network: Network) -> bool:
        """Whether nobody gets an address of it."""
        with self._lock:
            return network in self._retired

    def is_used(self, network: Network) -> bool:
        """Whether somebody has an address of it."""
        with self._lock:
            return self._is_used(network)

    def in_use(self) -> tuple[Address, ...]:
        """The addresses that somebody has, oldest first."""
        with self._lock:
            return tuple(self._taken)

    def retire(self, network: Network) -> bool:
        """Give nobody an address of it any more, unless somebody has one; whether it is so."""
        with self._lock:
            if self._is_used(network):
                return False
            self._retired.add(network)
            return True

    def renew(self, network: Network) -> None:
        """Give addresses of it again, or for the first time."""
        with self._lock:
            self._retired.discard(network)

    def holds(self, address: Address) -> bool:
        """Whether the address is in use."""
        with self._lock:
            return address in self._taken

    def release(self, addresses: Iterable[Address | None]) -> None:
        """Give addresses back; one that is not in use is left alone."""
        with self._lock:
            self._give_back([address for address in addresses if address is not None])

    def trouble(self) -> str:
        """Why :meth:`reserve` would fail now; empty when it would not."""
        with self._lock:
            try:
                pools = self._current()
            except NoAddress as error:
                return str(error)
            for kind in (IPv4Network, IPv6Network):
                family = [pool for pool in pools if isinstance(pool.network, kind)]
                if family and all(_free(pool) == 0 for pool in family):
                    return _exhausted(family)
            return ""

    def free(self, blocks: Iterable[Range] = ()) -> tuple[tuple[Network, int, int], ...]:
        """(pod CIDR or block, addresses in use, addresses free) of each, for the metrics."""
        with self._lock:
            try:
                pools = self._current()
            except NoAddress:
                pools = []
            return _usage([*pools, *self._of(blocks)])

    def usage(self, ranges: Iterable[Range]) -> tuple[tuple[Network, int, int], ...]:
        """The same of these ranges alone."""
        with self._lock:
            return _usage(self._of(ranges))

    def _is_used(self, network: Network) -> bool:
        return any(address in network for address in self._taken)

    def _of(self, ranges: Iterable[Range]) -> list[_Pool]:
        """The pools of ranges, as their IPPools are now."""
        found = [one for one in ranges if one.network not in self._retired]
        for one in found:
            known = self._pools.get(one.network)
            if known is not None and known.pool is one.pool:
                continue
            pool = _block(one, one.pool) if one.pool is not None else _pool(one.network)
            self._add(pool)
        return [self._pools[one.network] for one in found]

    def _all_of(self, ranges: Collection[Range]) -> list[_Pool]:
        """As :meth:`_of`; of two families one alone were left where a range of the other is being given back.

        Raises:
            RangeFull: one is.
        """
        gone = next((one.network for one in ranges if one.network in self._retired), None)
        if gone is not None:
            raise RangeFull(f"{gone} is being given back; try again")
        return self._of(ranges)

    def _add(self, pool: _Pool) -> None:
        for address in self._taken:
            if address in pool.network:
                pool.adopt(address)
        self._pools[pool.network] = pool

    def _current(self) -> list[_Pool]:
        """The pools of the Node's pod CIDRs as they are now."""
        cidrs = self._pod_cidrs()
        if not cidrs:
            raise NoAddress(
                "this node has no podCIDR yet: no pod can be given an address; it comes from the"
                " controller manager (--allocate-node-cidrs) or from the Node's manifest"
            )
        for cidr in cidrs:
            if cidr not in self._pools:
                self._add(_pool(cidr))
        return [self._pools[cidr] for cidr in cidrs]

    def _claim(self, pools: Iterable[_Pool], address: Address) -> None:
        """Take this very address."""
        pool = next((pool for pool in pools if address in pool.network), None)
        if pool is None:
            cidrs = ", ".join(str(pool.network) for pool in pools)
            raise AddressRefused(f"{address} is in no podCIDR of this node, which has {cidrs or 'none'}")
        if address in self._taken:
            raise NoAddress(f"{address} is another pod's")
        if not pool.claim(address):
            if pool.pool is not None:
                raise AddressRefused(f"{address} of IPPool {pool.pool.name} {pool.pool.why_never(address)}")
            raise AddressRefused(f"{address} is no pod's: the first two and the last of {pool.network} are reserved")

    def _give_back(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            self._taken.pop(address, None)
            for cidr, pool in self._pools.items():
                if address in cidr:
                    pool.give_back(address)


def _next(pools: Iterable[_Pool]) -> Address:
    address = next((a for pool in pools if (a := pool.take())), None)
    if address is None:
        raise RangeFull(_exhausted(pools))
    return address


def _free(pool: _Pool) -> int:
    return pool.last - pool.first + 1 - len(pool.used | pool.closed)


def _usage(pools: Iterable[_Pool]) -> tuple[tuple[Network, int, int], ...]:
    return tuple((pool.network, len(pool.used), _free(pool)) for pool in pools)


def _exhausted(pools: Iterable[_Pool]) -> str:
    names = ", ".join(str(pool.network) for pool in pools)
    if named := next((pool.pool.name for pool in pools if pool.pool is not None), ""):
        return f"IPPool {named}: the block {names} of this node is used up"
    return f"podCIDR {names} is used up: every address has a pod; delete pods or give the Node a wider one"


def _addresses(given: Iterable[Address]) -> Addresses:
    ipv4 = next((a for a in given if isinstance(a, IPv4Address)), None)
    ipv6 = next((a for a in given if isinstance(a, IPv6Address)), None)
    return Addresses(ipv4, ipv6)
