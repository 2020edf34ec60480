"""Services and their endpoints, as far as a node's dataplane needs them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from agent.model.address import ADDRESS_BYTES, Address, Family, Network
from agent.model.community import NO_MARKS, Marks
from agent.model.name import ObjectName
from agent.options.choices import Forwarding


class Protocol(IntEnum):
    """A transport protocol by its number in the IP header (IANA)."""

    TCP = 6
    UDP = 17
    SCTP = 132


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service; endpoints carry the target's number under the same *name*."""

    name: str  # empty for a single unnamed port
    protocol: Protocol
    port: int
    node_port: int = 0  # 0: none


class Scheduler(IntEnum):
    """Who of a service's endpoints serves a new flow, by the names of IPVS; numbers are the datapath's."""

    MAGLEV = 0
    RR = 1
    LC = 2
    SH = 3
    DH = 4
    MH = 5


class WeightOf(StrEnum):
    """By what an endpoint is given a weight; what comes first goes before."""

    TARGET = "target"  # its targetRef's name
    NODE = "node"
    ZONE = "zone"


@dataclass(frozen=True, slots=True)
class Weights:
    """How much endpoints weigh; those of which nothing is said weigh 1."""

    by: Mapping[tuple[WeightOf, str], int] = field(default_factory=dict)

    def of(self, target: str, node: str, zone: str) -> int:
        """An endpoint's weight; 0 gives it no new flows."""
        for what, name in ((WeightOf.TARGET, target), (WeightOf.NODE, node), (WeightOf.ZONE, zone)):
            found = self.by.get((what, name))
            if found is not None:
                return found
        return 1


@dataclass(frozen=True, slots=True)
class HostAddress:
    """An address of the node at which one of a pod's ports is reached."""

    address: Address
    host_port: int
    port: int  # index in the Service's ports


@dataclass(frozen=True, slots=True)
class Service:
    """A Service that the dataplane serves; headless and ExternalName ones are not among them."""

    name: ObjectName
    cluster_ips: tuple[Address, ...] = ()
    external_ips: tuple[Address, ...] = ()
    load_balancer: tuple[Address, ...] = ()  # of balancers that leave packets addressed to them (ipMode VIP)
    # of clients that the balancers' addresses serve (spec.loadBalancerSourceRanges); None: all
    source_ranges: tuple[Network, ...] | None = None
    ports: tuple[ServicePort, ...] = ()
    internal_local: bool = False  # internalTrafficPolicy: Local
    external_local: bool = False  # externalTrafficPolicy: Local
    health_check_port: int = 0  # healthCheckNodePort, where load balancers ask which nodes have endpoints; 0: none
    affinity_s: int = 0  # sessionAffinity ClientIP's timeout; 0: none
    publish_not_ready: bool = False
    host_ports: tuple[HostAddress, ...] = ()  # of a pod, which no Service object can have
    scheduler: Scheduler = Scheduler.MAGLEV
    by_port: bool = False  # with SH and MH: by the client's port too
    weights: Weights = Weights()
    advertised: tuple[tuple[str, bool], ...] = ()  # what of it BGP announces, or not, whatever the node's options
    marks: Marks = NO_MARKS  # what its routes carry
    created: str = ""  # when, as the API server says it: of two the older sorts first; nobody else can choose it
    forwarding: Forwarding | None = None  # to other nodes' pods, of who asks from outside; None: as the node has it


@dataclass(frozen=True, slots=True)
class EndpointPort:
    """A target port of an EndpointSlice, matched to the Service's by name and protocol."""

    name: str
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What is so of an endpoint beside its address, conditions resolved; endpoints that are alike share one value.

    Ready absent means ready; serving absent means ready's value.
    """

    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: str = ""
    zone: str = ""
    for_zones: tuple[str, ...] = ()  # topology hints
    for_nodes: tuple[str, ...] = ()


Endpoint = tuple[bytes, EndpointState]  # with its address, 16 octets


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """An EndpointSlice (discovery.k8s.io/v1) of addressType IPv4 or IPv6, with its Service.

    Its endpoints are two parallel sequences: 100,000 objects of their own would take forty megabytes.
    """

    name: ObjectName
    service: ObjectName
    family: Family
    ports: tuple[EndpointPort, ...] = ()
    addresses: bytes = b""  # ADDRESS_BYTES each, as mapped_octets() has them
    states: tuple[EndpointState, ...] = ()
    targets: str = ""  # the endpoints' targetRefs' names, a line each; empty where none has one

    def endpoints(self) -> Iterator[Endpoint]:
        """Its endpoints, in the object's order."""
        starts = range(0, len(self.addresses), ADDRESS_BYTES)
        return zip((self.addresses[at : at + ADDRESS_BYTES] for at in starts), self.states, strict=True)

    def target_names(self) -> Iterator[str]:
        """Their targetRefs' names, in the same order; empty where one has none."""
        return iter(self.targets.split("\n") if self.targets else ("",) * len(self.states))


def endpoint_slice(  # noqa: PLR0913, PLR0917  an object's fields
    name: ObjectName,
    service: ObjectName,
    ports: tuple[EndpointPort, ...],
    family: Family,
    endpoints: Iterable[Endpoint],
    targets: Iterable[str] = (),
) -> EndpointSlice:
    """An EndpointSlice from its endpoints one by one, and their targetRefs' names."""
    pairs, names = tuple(endpoints), tuple(targets)
    addresses = b"".join(address for address, _ in pairs)
    states = tuple(state for _, state in pairs)
    return EndpointSlice(name, service, family, ports, addresses, states, "\n".join(names) if any(names) else "")
