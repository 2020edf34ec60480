"""Where a service is reached: its addresses and ports as keys of the services map, from the Service object alone.

Beside them its addresses without ports: what is for another port of theirs goes nowhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from ipaddress import IPv6Address

from agent.compile.public_range import PublicRanges
from agent.compile.service_room import FRONTENDS, check
from agent.model.address import Address, mapped, unmapped
from agent.model.name import Problem
from agent.model.ports import Ports
from agent.model.service import Protocol, Service
from maps import abi

INTERNAL, EXTERNAL = abi.Scope.SCOPE_INTERNAL, abi.Scope.SCOPE_EXTERNAL
NODE_PORT = "nodePort"
CLUSTER_IPS = "spec.clusterIPs"
BALANCERS = "status.loadBalancer.ingress"
ANY4 = IPv6Address("::ffff:0.0.0.0")
ANY6 = IPv6Address("::")
EVERY_PORT: Ports = (1, 65535)
Where = tuple[int, bool, bool]  # a backend set of a service: which port's, whether IPv6's, whether of local endpoints
Public = tuple[str, Address]  # field and address
_Site = tuple[IPv6Address, str, abi.Scope, bool]  # address, field, scope, local endpoints only


class Rank(IntEnum):
    """Which of two services has an address and port that both ask for: what it was given goes before what it wrote."""

    GIVEN = 0  # a cluster IP or node port, which the API server gave it
    CHECKED = 1  # a health-check node port, which is given too, and has no frontend: the node itself answers
    BALANCER = 2  # of its status, which users do not write
    EXTERNAL = 3  # whatever its user wrote
    HOST_PORT = 4  # a pod's, which may have asked for every address there is
    BESIDE = 5  # nothing is asked for: who has it goes before what is asked for beside it


@dataclass(frozen=True, slots=True)
class Frontend:
    """One address and port at which a service is reached."""

    key: bytes  # in the services map
    field: str  # of the Service object it comes from
    port: int  # index in the Service's ports
    ipv6: bool
    local: bool  # served by the endpoints of this node alone
    cluster_ip: Address | None = None  # None: another address, or the nodes'
    ranged: bool = False  # serves the sources in the service's ranges alone
    scope: abi.Scope = INTERNAL  # who asks there
    rank: Rank = Rank.GIVEN
    number: int = 0  # of the port that is asked for

    @property
    def where(self) -> Where:
        """Which of the service's backend sets it leads to."""
        return self.port, self.ipv6, self.local


@dataclass(frozen=True, slots=True)
class Frontends:
    """All of a service's frontends, and what is wrong with those it cannot have."""

    entries: Mapping[bytes, Frontend]  # by key
    problems: tuple[Problem, ...] = ()
    addresses: tuple[bytes, ...] = ()  # keys in service_addrs, which services may share
    # keys of what nobody was given, each with that of the node port of its number: programs look for the address first
    beside: tuple[tuple[bytes, bytes], ...] = ()
    checked: tuple[bytes, ...] = ()  # keys as of node ports, at which the node itself answers
    created: str = ""  # as Service has it

    @property
    def keys(self) -> tuple[bytes, ...]:
        """In the services map and in service_addrs; what is a key of one is none of the other: no protocol is 0."""
        node_ports = dict.fromkeys((*self.checked, *(node_port for _, node_port in self.beside)))
        return (*self.entries, *(key for key in node_ports if key not in self.entries), *self.addresses)

    def rank(self, key: bytes) -> Rank:
        """How it comes to ask for a key; addresses alone are shared."""
        entry = self.entries.get(key)
        if entry is not None:
            return entry.rank
        if key in self.checked:
            return Rank.CHECKED
        return Rank.BESIDE if any(key == node_port for _, node_port in self.beside) else Rank.GIVEN


def frontends(  # noqa: PLR0913  of the node, but for the first
    service: Service,
    ranges: PublicRanges | None = None,
    *,
    serves: bool = True,
    told: bool | None = None,
    node_ports: Ports = EVERY_PORT,
    room: int = 0,
) -> Frontends:
    """Every frontend the service asks for; two services may ask for the same.

    Where there are *ranges*, addresses outside them are nobody's: they are not even kept from leading elsewhere.
    Unless we *serve*, another proxy has all but pods' host ports. *told* is whether routers outside are told of cluster
    IPs whose Service does not say: who is told of one asks there. None: they are told nothing. At other ports than
    *node_ports* the programs look for no node port. *room* is for how many frontends there is any; 0: for all.

    Raises:
        TooMuch: the service alone asks for more.
    """
    public = tuple(served_outside(service, ranges))
    if serves:
        check(FRONTENDS, frontends_number(service, public, node_ports, told=told), room)
    problems = [*_unserved(service, ranges), *_beyond(service, node_ports)] if serves else []
    entries = {entry.key: entry for entry in _host_ports(service)}
    for index, port in enumerate(service.ports if serves else ()):
        for address, where, scope, local in _sites(service, public, told=told):
            cluster_ip = unmapped(address) if where.startswith(CLUSTER_IPS) else None
            on_node = where == NODE_PORT
            field = f"spec.ports[{index}].nodePort" if on_node else where
            number = port.node_port if on_node else port.port
            if not number or (on_node and not node_ports[0] <= number <= node_ports[1]):
                continue
            key = abi.ServiceKey(address, number, port.protocol, scope).pack()
            ipv6 = address.ipv4_mapped is None
            ranged = service.source_ranges is not None and where.startswith(BALANCERS)
            made = Frontend(key, field, index, ipv6, local, cluster_ip, ranged, scope, _rank(where), number)
            held = entries.setdefault(key, made)
            if held.port != index:
                problems.append(_twice(service, held, index))
            elif held is not made:  # a balancer's address that is an external IP too: the narrower counts
                entries[key] = replace(held, ranged=held.ranged or ranged, rank=min(held.rank, made.rank))
    addresses = tuple(dict.fromkeys(_addresses(service, public)))
    beside, checked = _beside(entries.values(), node_ports), _checked(service) if serves else ()
    return Frontends(entries, tuple(problems), addresses, tuple(beside), tuple(checked), service.created)


def frontends_number(service: Service, public: Iterable[Public], node_ports: Ports, *, told: bool | None) -> int:
    """How many frontends there are, before one is made."""
    sites = {(address, scope): where == NODE_PORT for address, where, scope, _ in _sites(service, public, told=told)}
    low, high = node_ports
    with_node_port = sum(low <= port.node_port <= high for port in service.ports)
    on_node = sum(sites.values())
    return (len(sites) - on_node) * len(service.ports) + on_node * with_node_port


def _beside(entries: Iterable[Frontend], node_ports: Ports) -> Iterator[tuple[bytes, bytes]]:
    """As :class:`Frontends` has it."""
    for entry in entries:
        if entry.rank is not Rank.GIVEN and node_ports[0] <= entry.number <= node_ports[1]:
            key = abi.ServiceKey.unpack(entry.key)
            yield entry.key, replace(key, addr=ANY6 if entry.ipv6 else ANY4).pack()


def _checked(service: Service) -> Iterator[bytes]:
    """Where load balancers ask for a service's endpoints here: in each family, whatever the service has."""
    if service.health_check_port:
        for address in (ANY4, ANY6):
            for scope in (INTERNAL, EXTERNAL):
                yield abi.ServiceKey(address, service.health_check_port, Protocol.TCP, scope).pack()


def _addresses(service: Service, public: Iterable[Public]) -> Iterator[bytes]:
    """The addresses that are the service's: they lead nowhere else."""
    for address in service.cluster_ips:
        yield abi.ServiceAddrKey(mapped(address), INTERNAL).pack()
    for _, address in public:
        yield abi.ServiceAddrKey(mapped(address), EXTERNAL).pack()


def _host_ports(service: Service) -> Iterator[Frontend]:
    """Where a pod's host ports are reached; a loopback address is there for the node itself alone."""
    for index, host in enumerate(service.host_ports):
        address, protocol = mapped(host.address), service.ports[host.port].protocol
        for scope in (INTERNAL,) if host.address.is_loopback else (INTERNAL, EXTERNAL):
            key = abi.ServiceKey(address, host.host_port, protocol, scope).pack()
            field, ipv6 = f"hostPorts[{index}]", address.ipv4_mapped is None
            rank, number = Rank.HOST_PORT, host.host_port
            yield Frontend(key, field, host.port, ipv6, local=False, scope=scope, rank=rank, number=number)


def _rank(where: str) -> Rank:
    if where.startswith(BALANCERS):
        return Rank.BALANCER
    return Rank.GIVEN if where == NODE_PORT or where.startswith(CLUSTER_IPS) else Rank.EXTERNAL


def families(service: Service) -> frozenset[int]:
    """The IP versions the service has."""
    return frozenset(address.version for address in service.cluster_ips)


def _sites(service: Service, public: Iterable[Public], *, told: bool | None) -> Iterator[_Site]:
    """The addresses of a service with who may use them; the field NODE_PORT stands for the port's own."""
    has = families(service)
    is_told = told is not None and dict(service.advertised).get("clusterip", told)
    for index, address in enumerate(service.cluster_ips):
        for scope in (INTERNAL, EXTERNAL) if is_told else (INTERNAL,):
            yield mapped(address), f"{CLUSTER_IPS}[{index}]", scope, service.internal_local
    for version, address in ((4, ANY4), (6, ANY6)):
        if version in has:
            yield address, NODE_PORT, INTERNAL, False
            yield address, NODE_PORT, EXTERNAL, service.external_local
    for field, address in public:
        yield mapped(address), field, INTERNAL, False
        yield mapped(address), field, EXTERNAL, service.external_local


def served_outside(service: Service, ranges: PublicRanges | None) -> Iterator[Public]:
    """The addresses that lead to the service from outside: of those it asks for, what has its families and is allowed.

    Each with its field; what is not among them is told to nobody either.
    """
    has = families(service)
    for field, address in _asked(service):
        if address.version in has and not _refusal(field, address, ranges):
            yield field, address


def _refusal(field: str, address: Address, ranges: PublicRanges | None) -> str:
    return ranges.refusal(address, of_balancer=field.startswith(BALANCERS)) if ranges is not None else ""


def _asked(service: Service) -> Iterator[Public]:
    for index, address in enumerate(service.external_ips):
        yield f"spec.externalIPs[{index}]", address
    for index, address in enumerate(service.load_balancer):
        yield f"{BALANCERS}[{index}]", address


def _unserved(service: Service, ranges: PublicRanges | None) -> Iterator[Problem]:
    """Addresses that get no frontend."""
    has = families(service)
    for field, address in _asked(service):
        if refusal := _refusal(field, address, ranges):
            yield Problem("Service", service.name, field, refusal)
        elif has and address.version not in has:
            text = f"{address} is not served: the Service has no cluster IP of that family"
            yield Problem("Service", service.name, field, text)


def _beyond(service: Service, node_ports: Ports) -> Iterator[Problem]:
    """Node ports that are none here."""
    low, high = node_ports
    for index, port in enumerate(service.ports):
        if port.node_port and not low <= port.node_port <= high:
            text = f"{port.node_port} is not served: it is not within {low}-{high}, as --node-port-range has node ports"
            yield Problem("Service", service.name, f"spec.ports[{index}].nodePort", text)


def _twice(service: Service, held: Frontend, index: int) -> Problem:
    text = f"the same address, port and protocol as spec.ports[{held.port}], which has it"
    return Problem("Service", service.name, f"spec.ports[{index}]", text)
