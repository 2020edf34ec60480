"""Pools of addresses for Services of type LoadBalancer, and those Services as an allocator of addresses sees them."""

from dataclasses import dataclass

from agent.model.address import Address, Family
from agent.model.name import ObjectName
from agent.model.policy import EVERYTHING, Selector
from agent.model.service import Protocol

OUR_CLASS = "sluiceway.io/lb"  # spec.loadBalancerClass of a Service that nobody else gives an address
REQUESTED = "sluiceway.io/lb-ips"  # annotation of a Service: the addresses that it asks for
SHARING = "sluiceway.io/lb-sharing-key"  # annotation: Services of a namespace with the same value may share an address
# the condition by which a Service's status says that its addresses are of a pool of ours
ASSIGNED = "sluiceway.io/LoadBalancerAddress"
# Kubernetes' own, of every balancer: a Service that is deleted is there until what it had is given back (KEP-980)
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses of one family, both ends inclusive."""

    first: Address
    last: Address

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.last) - int(self.first) + 1

    def contains(self, address: Address) -> bool:
        """Whether an address is one of them."""
        return address.version == self.first.version and int(self.first) <= int(address) <= int(self.last)

    def overlaps(self, other: "AddressRange") -> bool:
        """Whether some address is in both."""
        return self.contains(other.first) or other.contains(self.first)

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """What a pool's ``status`` says."""

    total: int = 0
    used: int = 0
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadBalancerPool:
    """A LoadBalancerPool (sluiceway.io/v1alpha1); a mistake in one never makes it wider."""

    name: str
    ranges: tuple[AddressRange, ...] = ()
    services: Selector = EVERYTHING
    namespaces: Selector = EVERYTHING
    is_disabled: bool = False  # no address is given of it; those that were stay
    status: PoolStatus | None = None


Port = tuple[Protocol, int]


@dataclass(frozen=True, slots=True)
class LbService:
    """A Service of any type, as far as it has or wants an address of a pool.

    *held* are the addresses in its status. *external_ips* nobody else may be given.
    """

    name: ObjectName
    uid: str = ""
    revision: str = ""  # metadata.resourceVersion
    created: str = ""  # RFC 3339 in UTC, which sorts as it is
    is_wanted: bool = False  # of type LoadBalancer, without a class or of ours, and not being deleted
    is_of_our_class: bool = False
    is_ours: bool = False  # the status says that we gave it its addresses
    is_kept: bool = False  # it has FINALIZER
    families: tuple[Family, ...] = ()
    is_dual_required: bool = False
    requested: tuple[Address, ...] = ()
    request_field: str = ""
    is_request_broken: bool = False  # something in the request cannot be read
    sharing_key: str = ""
    ports: frozenset[Port] = frozenset()
    is_local: bool = False  # externalTrafficPolicy: Local
    selector: Labels = ()  # of its pods
    labels: Labels = ()
    held: tuple[Address, ...] = ()
    has_hostname: bool = False  # the status has an entry that is no address: another balancer's
    external_ips: tuple[Address, ...] = ()
