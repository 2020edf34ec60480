"""Addresses of pools on networks beside the cluster's, as IPAM plugins give them: who has which, durably.

A file for each interface, on the disk before its address is told; the pod's namespace stands in it, so that what nobody
deletes is found. Interfaces of our own on the cluster's network are in the ``journal`` in its place.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import msgspec

from agent.ipam.pool import AddressRefused, NoAddress
from agent.ipam.pool_addresses import PoolAddresses
from agent.log import logger
from agent.model.address import Address
from agent.model.attachment import AttachmentKey
from agent.model.name import ObjectName
from agent.netlink.netns import NoSuchNetns, open_netns
from agent.pods import fail_points
from agent.pods.attachments import digest
from agent.pods.errors import AddressUnusable, AlreadyAttached, NetnsUnusable, NoFreeAddress
from agent.pods.files import place, remove, remove_drafts
from agent.pods.in_turn import InTurn
from agent.pods.pool_choice import PoolChoice
from agent.pods.request import WantedAddress

log = logger(__name__)

FOLDER = "leases"  # in --state-dir
SUFFIX = ".json"
CookieOf = Callable[[str], int | None]


class Lease(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one interface has; a field that another version lacks has a default."""

    container_id: str
    interface: str
    network: str  # the name of the configuration by which it was asked for
    pools: str
    pool_network: str
    addresses: tuple[str, ...]  # with the prefix length of the pool's range
    gateways: tuple[str, ...] = ()  # of these addresses, in their order; empty: none
    netns: str = ""
    netns_cookie: int = 0
    boot: str = ""
    pod: ObjectName | None = None
    asked_at_ns: int = 0  # by CLOCK_BOOTTIME of that boot; 0: not known

    @property
    def key(self) -> AttachmentKey:
        """What identifies the interface."""
        return self.container_id, self.interface

    @property
    def bare(self) -> tuple[Address, ...]:
        """The addresses without their lengths."""
        return tuple(ip_address(text.partition("/")[0]) for text in self.addresses)


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What an interface asks for."""

    container_id: str
    interface: str
    network: str
    pools: str
    netns: str
    pod: ObjectName | None = None
    wanted: tuple[WantedAddress, ...] = ()
    asked_at_ns: int = 0  # by CLOCK_BOOTTIME


class IpLeases:
    """The leases of one node; called from a thread per request."""

    def __init__(
        self,
        folder: Path,
        boot: str,
        addresses: PoolAddresses,
        choice: PoolChoice,
        cookie_of: CookieOf = lambda netns: _cookie_of(netns),  # noqa: PLW0108  it stands below
    ) -> None:
        """*cookie_of* tells namespaces apart by their paths, None where there is none; it raises OSError else."""
        self._folder, self._boot, self._addresses, self._choice = folder, boot, addresses, choice
        self._cookie_of = cookie_of
        self._leases: dict[AttachmentKey, Lease] = {}
        self._lock = threading.Lock()  # guards it
        self._turn = InTurn()  # a claim may wait for the API server, others do not wait for it

    def restore(self) -> None:
        """Take over what an earlier agent left; what pods had that are gone is free. Called once, before all else."""
        remove_drafts(self._folder)
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                lease = msgspec.json.decode(path.read_bytes(), type=Lease)
                bare = lease.bare
            except (OSError, ValueError, RecursionError) as error:
                log.warning("lease of an address is unreadable, and the address free", file=path, why=error)
                continue
            self._leases[lease.key] = lease
            self._addresses.book(lease.pool_network).adopt(bare)
        self.collect()

    def all(self) -> tuple[Lease, ...]:
        """The leases of this moment."""
        with self._lock:
            return tuple(self._leases.values())

    def find(self, key: AttachmentKey) -> Lease | None:
        """What an interface has."""
        return self._leases.get(key)

    def add(self, request: LeaseRequest) -> Lease:
        """Addresses of each family that the pools have; the same again where the interface has them already.

        Raises:
            AlreadyAttached: another namespace's interface of this name has some.
            NoFreeAddress, AddressUnusable, NetnsUnusable: nothing is left.
            OSError: the disk or the kernel refuses.
        """
        key = request.container_id, request.interface
        with self._turn.of(key[0]):
            cookie = self._cookie_of(request.netns)
            if cookie is None:
                raise NetnsUnusable(f"there is no network namespace {request.netns}")
            known = self._leases.get(key)
            if known is not None:
                if (known.boot, known.netns_cookie, known.pools) == (self._boot, cookie, request.pools):
                    return known
                raise AlreadyAttached(f"{request.container_id} has addresses for {request.interface}; DEL comes first")
            lease = self._made(request, cookie)
            fail_points.reached("LEASE taken")
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                path = self._path(lease.key)
                place(path, msgspec.json.encode(lease))
            except OSError:
                self._addresses.book(lease.pool_network).release(lease.bare)
                raise
            fail_points.reached("LEASE noted")
            with self._lock:
                self._leases[lease.key] = lease
        return lease

    def delete(self, key: AttachmentKey) -> None:
        """Give back what an interface has; nothing is done already.

        Raises:
            OSError: the disk refuses; it is kept.
        """
        with self._turn.of(key[0]):
            if (lease := self._leases.get(key)) is not None:
                self._forget(lease)

    def keep_only(self, network: str, valid: frozenset[AttachmentKey], asked_at_ns: int | None = None) -> None:
        """Of the leases of a configuration only these live, and those asked for after *asked_at_ns*.

        Raises:
            OSError: the disk refuses.
        """
        for lease in self.all():
            is_younger = asked_at_ns is not None and lease.asked_at_ns > asked_at_ns
            if lease.network == network and lease.key not in valid and not is_younger:
                self.delete(lease.key)

    def collect(self) -> None:
        """Give back what pods have that went without a DEL; called every minute or so."""
        for lease in self.all():
            if not self._is_alive(lease):
                self._try_to_forget(lease)

    def _made(self, request: LeaseRequest, cookie: int) -> Lease:
        choice = self._choice.beside(request.pod.namespace if request.pod else "", request.pools)
        where = "".join(f"{one.field}: " for one in request.wanted[:1])
        try:
            given = self._addresses.reserve(choice, [one.address for one in request.wanted])
        except NoAddress as error:
            raise NoFreeAddress(f"{where}{error}") from error
        except AddressRefused as error:
            raise AddressUnusable(f"{where}{error}") from error
        texts, gateways = [], []
        for address in given.all:
            pool, cidr = next((pool, cidr) for pool in choice.pools if (cidr := pool.cidr_of(address)) is not None)
            texts.append(f"{address}/{cidr.prefixlen}")
            gateways.append(next((str(one) for one in pool.gateways if one in cidr), ""))
        return Lease(
            container_id=request.container_id,
            interface=request.interface,
            network=request.network,
            pools=request.pools,
            pool_network=choice.pools[0].network,
            addresses=tuple(texts),
            gateways=tuple(gateways),
            netns=request.netns,
            netns_cookie=cookie,
            boot=self._boot,
            pod=request.pod,
            asked_at_ns=request.asked_at_ns,
        )

    def _try_to_forget(self, lease: Lease) -> None:
        """Of a pod that is gone: where the disk refuses, another time."""
        with self._turn.of(lease.key[0]):
            if self._leases.get(lease.key) is not lease:
                return  # a DEL came meanwhile, and perhaps an ADD
            try:
                self._forget(lease)
            except OSError as error:
                log.warning("address of a pod that is gone is kept; tried again", why=error)
            else:
                log.info("address of a pod that is gone is free", pod=str(lease.pod or lease.container_id))

    def _forget(self, lease: Lease) -> None:
        """The file first: what it names nobody else may have."""
        remove(self._path(lease.key))
        fail_points.reached("LEASE removed")
        with self._lock:
            self._leases.pop(lease.key, None)
        self._addresses.book(lease.pool_network).release(lease.bare)

    def _is_alive(self, lease: Lease) -> bool:
        """Whether the pod's namespace is there; where that cannot be seen now, it is."""
        try:
            return lease.boot == self._boot and self._cookie_of(lease.netns) == lease.netns_cookie
        except OSError as error:
            log.warning("whether a pod is there cannot be seen; its address stays", netns=lease.netns, why=error)
            return True

    def _path(self, key: AttachmentKey) -> Path:
        return self._folder / f"{digest(*key)[:32]}{SUFFIX}"


def _cookie_of(netns: str) -> int | None:
    try:
        with open_netns(netns, may_be_host=True) as there:
            return there.cookie
    except NoSuchNetns:
        return None
