"""Who has which address of the load balancers' pools: a pure function of what the API server says, run at each change.

Nothing is remembered between two runs but what the Services' status says, and what was written and has not been seen
there yet. An address that was given stays while its Service wants it, whatever becomes of its pool: to take it away is
for whoever made the Service. What two Services hold that may not share it, the older one keeps.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from agent.model.address import Address, Family, family
from agent.model.lb_pool import AddressRange, LbService, LoadBalancerPool
from agent.model.name import ObjectName, Problem
from agent.model.node import Namespace

Labels = Mapping[str, str]
FAMILIES, STATUS = "spec.ipFamilies", "status.loadBalancer"
CONFLICTS_MAX = 20  # told in a pool's status


@dataclass(frozen=True, slots=True)
class View:
    """What is allocated by.

    *written* are addresses sent to the API server for a Service, which its status in *services* may not show yet: they
    are the Service's as if it did. *taken* are addresses that belong to something else, such as nodes.
    """

    pools: Mapping[str, LoadBalancerPool] = field(default_factory=dict)
    services: Mapping[ObjectName, LbService] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    written: Mapping[ObjectName, tuple[Address, ...]] = field(default_factory=dict)
    taken: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class Allocation:
    """What each Service is to have, for those that are ours: none for one that is to give back what it has."""

    given: Mapping[ObjectName, tuple[Address, ...]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    used: Mapping[str, int] = field(default_factory=dict)  # addresses in use, by pool
    conflicts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by pool
    waiting: int = 0  # Services that want an address and have none


@dataclass(frozen=True, slots=True)
class AllocatorUse:
    """How it fares, for metrics."""

    is_leader: bool = False
    waiting: int = 0
    pools: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))  # total and used
    problems: int = 0
    writes: int = 0
    failures: int = 0


def allocate(view: View) -> Allocation:
    """Who is to have what."""
    return _Allocator(view).run()


def may_share(one: LbService, other: LbService) -> bool:
    """Whether two Services may have one address: both say so, their ports differ, and it leads to both from any node.

    Only within a namespace, for else whoever learns a key could answer on ports of somebody else's address. With
    externalTrafficPolicy Local the address leads to nodes with endpoints of both only where these are the same pods.
    """
    return (
        bool(one.sharing_key)
        and (one.name.namespace, one.sharing_key) == (other.name.namespace, other.sharing_key)
        and one.ports.isdisjoint(other.ports)
        and one.is_local is other.is_local
        and (not one.is_local or (one.selector == other.selector and bool(one.selector)))
    )


class _Allocator:
    """One run."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._pools = tuple(view.pools[name] for name in sorted(view.pools))
        self._holders: dict[Address, list[LbService]] = {}
        self._blocked: set[Address] = set(view.taken)  # given to nobody anew
        self._given: dict[ObjectName, dict[Family, Address]] = {}
        self._problems: list[Problem] = []
        self._lost: dict[Address, list[ObjectName]] = {}  # who held what another keeps
        self._next: dict[AddressRange, int] = {}  # all before it are in use: an address only ever becomes so

    def run(self) -> Allocation:
        ours = sorted((s for s in self._view.services.values() if self._is_ours(s)), key=lambda s: (s.created, s.name))
        wanting = [service for service in ours if service.is_wanted]
        self._block(wanting)
        for service in wanting:
            self._keep(service)
        for service in wanting:
            self._give(service)
        # what a Service is to give back nobody else has before its status says so
        given = {service.name: tuple(self._given.get(service.name, {}).values()) for service in ours}
        return Allocation(
            given,
            tuple(sorted(set(self._problems))),
            {pool.name: self._used(pool) for pool in self._pools},
            {pool.name: tuple(self._conflicts(pool))[:CONFLICTS_MAX] for pool in self._pools},
            sum(not given[service.name] for service in wanting),
        )

    def _is_ours(self, service: LbService) -> bool:
        """Whether its status is ours to write: not where another balancer gave a Service without a class an address."""
        if service.is_ours or service.name in self._view.written:
            return True
        if not service.is_wanted:
            return False
        is_anothers = service.has_hostname or any(not self._is_pooled(address) for address in service.held)
        return service.is_of_our_class or not is_anothers

    def _held(self, service: LbService) -> tuple[Address, ...]:
        """What it has, as written last."""
        return tuple(dict.fromkeys((*self._view.written.get(service.name, ()), *service.held)))

    def _block(self, wanting: Iterable[LbService]) -> None:
        """Nobody is given what is somebody's who keeps nothing here, or what a Service answers to anyhow.

        Who has such an address keeps it: else whoever writes an externalIP could take it away.
        """
        kept = {service.name for service in wanting}
        for service in self._view.services.values():
            self._blocked.update(service.external_ips)
            if service.name not in kept:
                self._blocked.update(self._held(service))

    def _keep(self, service: LbService) -> None:
        """Leave it what it has, of each family that it wants the first."""
        for address in self._held(service):
            if family(address) not in service.families or family(address) in self._given.get(service.name, {}):
                self._blocked.add(address)  # until its status has it no more
                continue
            others = self._holders.get(address, [])
            if not all(may_share(service, other) for other in others):
                self._lost.setdefault(address, []).append(service.name)
                self._refuse(service, STATUS, f"{address} is {self._owner(address)} too; another is given in its place")
                continue
            self._put(service, address)
            if not self._is_pooled(address):
                self._refuse(service, STATUS, f"{address} is in no LoadBalancerPool any more; it is kept")

    def _give(self, service: LbService) -> None:
        had = dict(self._given.get(service.name, {}))
        if not service.is_request_broken:  # else what it wants is not known; decoding has told
            for wanted in service.families:
                self._give_family(service, wanted)
        now = self._given.get(service.name, {})
        missing = [str(wanted) for wanted in service.families if wanted not in now]
        if missing and service.is_dual_required and not had:
            for address in now.values():
                self._holders[address].remove(service)
            self._given.pop(service.name, None)
            self._refuse(
                service, FAMILIES, f"RequireDualStack, and there is no {' and no '.join(missing)} address for it"
            )

    def _give_family(self, service: LbService, wanted: Family) -> None:
        held = self._given.get(service.name, {}).get(wanted)
        requested = next((address for address in service.requested if family(address) is wanted), None)
        if requested is not None:
            if requested != held and (why := self._why_not(service, requested)):
                self._refuse(service, service.request_field, f"{requested} {why}")
            elif requested != held:
                self._exchange(service, held, requested)
        elif held is None:
            self._give_any(service, wanted)

    def _exchange(self, service: LbService, held: Address | None, requested: Address) -> None:
        if held is not None:
            self._holders[held].remove(service)
            self._blocked.add(held)  # until its status has it no more
        self._put(service, requested)

    def _give_any(self, service: LbService, wanted: Family) -> None:
        pools = tuple(pool for pool in self._pools if self._serves(pool, service))
        found = self._shared(service, wanted, pools)
        if found is None:
            free = (self._free(one) for pool in pools for one in pool.ranges if family(one.first) is wanted)
            found = next((address for address in free if address is not None), None)
        if found is not None:
            self._put(service, found)
        elif len(service.families) == 1 or service.is_dual_required or wanted is service.families[0]:
            self._refuse(service, STATUS, self._why_none(wanted, pools))

    def _shared(self, service: LbService, wanted: Family, pools: tuple[LoadBalancerPool, ...]) -> Address | None:
        """The lowest address of those with which it may share one."""
        if not service.sharing_key:
            return None
        found = (
            address
            for address, holders in self._holders.items()
            if holders and family(address) is wanted and self._is_allowed(service, address) and _contain(pools, address)
        )
        return min(found, key=int, default=None)

    def _is_allowed(self, service: LbService, address: Address) -> bool:
        others = self._holders.get(address, [])
        return address not in self._blocked and all(may_share(service, other) for other in others)

    def _free(self, found: AddressRange) -> Address | None:
        """The lowest address of a range that nobody has."""
        at = self._next.get(found, int(found.first))
        while at <= int(found.last):
            address = type(found.first)(at)
            if address not in self._blocked and not self._holders.get(address):
                self._next[found] = at
                return address
            at += 1
        self._next[found] = at
        return None

    def _why_not(self, service: LbService, requested: Address) -> str:
        """Why it cannot have what it asks for; empty when it can."""
        containing = [pool for pool in self._pools if _contain((pool,), requested)]
        if not containing:
            return "is in no LoadBalancerPool"
        if not any(self._serves(pool, service) for pool in containing):
            names = ", ".join(pool.name for pool in containing)
            return f"is of LoadBalancerPool {names}, which is disabled or whose selectors do not mean this Service"
        return "" if self._is_allowed(service, requested) else f"is {self._owner(requested)}"

    @staticmethod
    def _why_none(wanted: Family, pools: tuple[LoadBalancerPool, ...]) -> str:
        named = [pool.name for pool in pools if any(family(one.first) is wanted for one in pool.ranges)]
        if named:
            return f"no {wanted} address is left in LoadBalancerPool {', '.join(named)}"
        return f"no LoadBalancerPool with {wanted} addresses is for this Service"

    def _owner(self, address: Address) -> str:
        holders = self._holders.get(address)
        return f"Service {holders[0].name}'s" if holders else "in use already"

    def _serves(self, pool: LoadBalancerPool, service: LbService) -> bool:
        namespace = self._view.namespaces.get(service.name.namespace)
        labels = dict(namespace.labels) if namespace else {}
        return (
            not pool.is_disabled
            and pool.services.selects(dict(service.labels))
            and pool.namespaces.selects(labels)
            and (namespace is not None or not pool.namespaces.requirements)
        )

    def _is_pooled(self, address: Address) -> bool:
        return _contain(self._pools, address)

    def _put(self, service: LbService, address: Address) -> None:
        self._holders.setdefault(address, []).append(service)
        self._given.setdefault(service.name, {})[family(address)] = address

    def _refuse(self, service: LbService, where: str, text: str) -> None:
        self._problems.append(Problem("Service", service.name, where, text))

    def _used(self, pool: LoadBalancerPool) -> int:
        in_use = {*self._blocked, *(address for address, holders in self._holders.items() if holders)}
        return sum(_contain((pool,), address) for address in in_use)

    def _conflicts(self, pool: LoadBalancerPool) -> Iterator[str]:
        for other in self._pools:
            if other is not pool:
                shared = [f"{a} and {b}" for a in pool.ranges for b in other.ranges if a.overlaps(b)]
                yield from (f"overlaps LoadBalancerPool {other.name}: {text}" for text in shared)
        for address, names in self._lost.items():
            if _contain((pool,), address):
                yield f"{address} was given to {', '.join(map(str, names))} too"


def _contain(pools: Iterable[LoadBalancerPool], address: Address) -> bool:
    return any(one.contains(address) for pool in pools for one in pool.ranges)


def total(pool: LoadBalancerPool) -> int:
    """The addresses of a pool; what two of its ranges have counts once."""
    found, end = 0, -1
    for low, high in sorted((_number(one.first), _number(one.last)) for one in pool.ranges):
        found += max(0, high - max(low, end + 1) + 1)
        end = max(end, high)
    return found


def _number(address: Address) -> int:
    """One line of numbers for both families."""
    return int(address) + ((1 << 130) if family(address) is Family.IPV6 else 0)
