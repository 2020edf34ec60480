"""One service's records: its backend sets, their lookup tables, and the frontends that lead to them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from zlib import crc32

from agent.compile import backend
from agent.compile.backend_set import BackendSet, BackendSets
from agent.compile.context import NodeContext
from agent.compile.frontend import EXTERNAL, Frontend, Frontends, Where
from agent.compile.health_check import HealthCheck, health_check
from agent.compile.records import NOTHING, Part, Records
from agent.compile.service_room import BACKENDS, NO_END, SOURCES, ServiceRoom, check
from agent.compile.source_range import source_range_keys
from agent.model.address import Address
from agent.model.name import ObjectName, Problem, few
from agent.model.service import EndpointSlice, Service
from agent.options.choices import Forwarding
from maps import abi, maglev
from maps.record import Packed

# A Service of more ports has tables by its endpoints' addresses alone: what is worked out for one port is every port's.
# Of those with fewer each port has its own: who serves a flow is as it always was, on nodes of all releases.
PORTS_APART = 4
LABEL_BYTES = 191  # of struct backend_set's label, without its NUL
IS_SOURCE_RANGE = abi.SOURCE_RANGES.value.pack(1)
FORWARDED = {
    Forwarding.SNAT: abi.ServiceFlag(0),
    Forwarding.TUNNEL: abi.ServiceFlag.SERVICE_TUNNEL,
    Forwarding.DSR: abi.ServiceFlag.SERVICE_TUNNEL | abi.ServiceFlag.SERVICE_DSR,
}
IS_SERVICES = abi.SERVICE_ADDRS.value.pack(1)
NO_SETS: Mapping[str, BackendSet] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that is known of one service."""

    service: Service
    slices: tuple[EndpointSlice, ...]
    frontends: Frontends
    lost: Mapping[bytes, ObjectName]  # frontends that another service has


@dataclass(frozen=True, slots=True)
class ServiceRecords:
    """What follows from one service's inputs."""

    inputs: Inputs
    unplaced: frozenset[Address]  # endpoints that no slice places on a node
    sets: Mapping[str, BackendSet]  # by label
    records: Records
    problems: tuple[Problem, ...]
    check: HealthCheck | None = None  # at its health-check node port


def service_records(
    inputs: Inputs,
    context: NodeContext,
    sets: BackendSets,
    room: ServiceRoom = NO_END,
    old: ServiceRecords | None = None,
) -> ServiceRecords:
    """The records of a service on a node, those that are the same as the *old* ones; *sets* makes its backend sets.

    Raises:
        TooMuch: the service alone asks for more than there is room for.
    """
    service, slices = inputs.service, inputs.slices
    asking = [one for key, one in inputs.frontends.entries.items() if key not in inputs.lost]
    first: dict[Where, Frontend] = {}
    for one in asking:
        first.setdefault(one.where, one)
    endpoints = backend.Endpoints(service, slices, context)
    found = {where: endpoints.of(one) for where, one in first.items()}
    ranged = {one.where: one for one in asking if one.ranged}
    check(BACKENDS, sum(len(one.chosen) for one in found.values()), room.backends)
    check(SOURCES, len(ranged) * len(service.source_ranges or ()), room.ranges)
    labels = {where: set_label(service, one) for where, one in first.items()}
    kept, by_address = old.sets if old is not None else NO_SETS, len(service.ports) > PORTS_APART
    made = {
        where: sets.made(labels[where], one, service.scheduler, kept.get(labels[where]), by_address=by_address)
        for where, one in found.items()
    }
    too_many = [_too_many(service, where, one.chosen.count) for where, one in found.items() if one.chosen.is_cut]
    problems = [*inputs.frontends.problems, *_lost_claims(inputs), *_unknown_ports(service, slices), *too_many]
    return ServiceRecords(
        inputs,
        backend.unplaced(slices),
        {one.label: one for one in made.values()},
        Records(_parts(inputs, asking, made, context, old.records if old is not None else NOTHING)),
        few(problems),
        health_check(service, slices, context),
    )


def set_label(service: Service, frontend: Frontend) -> str:
    """What a backend set is made for; the same after a restart, and never another set's."""
    port = service.ports[frontend.port]
    family, view = ("IPv4", "IPv6")[frontend.ipv6], ("all", "local")[frontend.local]
    label = f"{service.name}:{port.name or port.port}/{port.protocol.name}/{family}/{view}"
    if len(label) <= LABEL_BYTES:
        return label
    short = f"{port.name[:16]}~{crc32(port.name.encode()):08x}"
    return f"{service.name}:{short}/{port.protocol.name}/{family}/{view}"


def _parts(
    inputs: Inputs,
    asking: Collection[Frontend],
    sets: Mapping[Where, BackendSet],
    context: NodeContext,
    old: Records,
) -> Iterator[Part]:
    """Everything of a service; what all of it has in one part is the *old* part where that is equal."""

    def part(name: str, packed: Packed) -> Part:
        made = b"".join(packed), b"".join(packed.values())
        return name, *(made if (held := old.raw(name)) != made else held)

    service, ranges = inputs.service, dict[bytes, bytes]()
    for where in dict.fromkeys(one.where for one in asking if one.ranged):
        keys = source_range_keys(service.source_ranges or (), sets[where].set_id, ipv6=where[1])
        ranges |= dict.fromkeys(keys, IS_SOURCE_RANGE)
    for one in sets.values():
        yield from one.records
    names = {abi.BACKEND_SETS.key.pack(one.set_id): abi.BackendSet(one.label).pack() for one in sets.values()}
    yield part("backend_sets", names)
    yield part("source_ranges", ranges)
    yield part("services", _services(service, asking, sets, context))
    addresses = (key for key in inputs.frontends.addresses if key not in inputs.lost)
    yield part("service_addrs", dict.fromkeys(addresses, IS_SERVICES))


def _services(
    service: Service, asking: Collection[Frontend], sets: Mapping[Where, BackendSet], context: NodeContext
) -> Packed:
    """The service by its frontends; what is alike at many addresses is one value."""
    own = frozenset(address for address in service.cluster_ips if address in context.addresses)
    made: dict[tuple[Where, abi.Scope, bool, bool], bytes] = {}
    found = {}
    for one in asking:
        alike = one.where, one.scope, one.ranged, one.cluster_ip in own
        if alike not in made:
            made[alike] = _service(service, one, sets[one.where], context)
        found[one.key] = made[alike]
    return found


def _service(service: Service, frontend: Frontend, backends: BackendSet, context: NodeContext) -> bytes:
    flags = abi.ServiceFlag.SERVICE_LOCAL if frontend.local else abi.ServiceFlag(0)
    flags |= abi.ServiceFlag.SERVICE_HELD if frontend.cluster_ip in context.addresses else abi.ServiceFlag(0)
    flags |= abi.ServiceFlag.SERVICE_RANGED if frontend.ranged else abi.ServiceFlag(0)
    flags |= abi.ServiceFlag.SERVICE_BY_PORT if service.by_port else abi.ServiceFlag(0)
    if frontend.scope is EXTERNAL:
        flags |= FORWARDED[service.forwarding or context.forwarding]
    return abi.Service(
        backends.set_id,
        service.affinity_s,
        backends.size,
        backends.parts,
        flags,
        backends.only_slot,
        abi.Scheduler(service.scheduler),
    ).pack()


def _lost_claims(inputs: Inputs) -> Iterator[Problem]:
    """One problem for each field whose frontend another service has."""
    entries = inputs.frontends.entries.values() if inputs.lost else ()
    by_field = {entry.field: inputs.lost[entry.key] for entry in entries if entry.key in inputs.lost}
    for field, winner in by_field.items():
        text = f"Service {winner} has this address, port and protocol already, and keeps them"
        yield Problem("Service", inputs.service.name, field, text)


def _unknown_ports(service: Service, slices: Sequence[EndpointSlice]) -> Iterator[Problem]:
    """Ports of slices that the service does not have."""
    known = {(port.name, port.protocol) for port in service.ports}
    for part in slices:
        for index, port in enumerate(part.ports):
            if (port.name, port.protocol) not in known:
                text = f"Service {service.name} has no {port.protocol.name} port named {port.name!r}"
                yield Problem("EndpointSlice", part.name, f"ports[{index}].name", text)


def _too_many(service: Service, where: Where, count: int) -> Problem:
    text = f"{count} endpoints; the first {maglev.MOST_BACKENDS} by address are served"
    return Problem("Service", service.name, f"spec.ports[{where[0]}]", text)
