"""One service's records: its backend sets, their lookup tables, and the frontends that lead to them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from zlib import crc32

from agent.compile import backend
from agent.compile.context import NodeContext
from agent.compile.frontend import Frontend, Frontends
from agent.compile.health_check import HealthCheck, health_check
from agent.compile.ids import BackendName, IdBook
from agent.compile.records import Records
from agent.compile.ring import ring_values, turns
from agent.compile.service_room import NO_END, Counted, ServiceRoom
from agent.compile.source_range import source_range_keys
from agent.model.address import Address
from agent.model.name import ObjectName, Problem, few
from agent.model.service import EndpointSlice, Scheduler, Service
from agent.options.choices import Forwarding
from maps import abi, maglev
from maps.record import Packed

_Columns = tuple[str, bytes, bytes]  # map, keys, values
LABEL_BYTES = 191  # of struct backend_set's label, without its NUL
IS_SOURCE_RANGE = abi.SOURCE_RANGES.value.pack(1)
FORWARDED = {
    Forwarding.SNAT: abi.ServiceFlag(0),
    Forwarding.TUNNEL: abi.ServiceFlag.SERVICE_TUNNEL,
    Forwarding.DSR: abi.ServiceFlag.SERVICE_TUNNEL | abi.ServiceFlag.SERVICE_DSR,
}
RINGS = (Scheduler.RR, Scheduler.LC)  # they choose by rings, the others by maglev tables
IS_SERVICES = abi.SERVICE_ADDRS.value.pack(1)


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
    labels: tuple[str, ...]  # of its backend sets
    records: Records
    problems: tuple[Problem, ...]
    check: HealthCheck | None = None  # at its health-check node port


@dataclass(frozen=True, slots=True)
class BackendSet:
    """The endpoints of one port, protocol, family and view of a service, as records end to end."""

    label: str
    set_id: int
    size: int  # backends that take new flows
    only_slot: int  # of the one backend; 0: there are none, or several
    parts: int
    records: tuple[_Columns, ...]


def service_records(inputs: Inputs, context: NodeContext, book: IdBook, room: ServiceRoom = NO_END) -> ServiceRecords:
    """The records of a service on a node; ids come from *book*.

    Raises:
        TooMuch: the service alone asks for more than there is room for.
    """
    service, slices = inputs.service, inputs.slices
    targets = backend.Targets(slices)
    held = Counted("backends", room.backends, "--max-backends")
    sources = Counted("ranges of sources", room.ranges, "--max-services")
    problems = [*inputs.frontends.problems, *_lost_claims(inputs), *_unknown_ports(service, slices)]
    sets: dict[tuple[int, bool, bool], BackendSet] = {}
    services: dict[bytes, bytes] = {}
    ranges: dict[bytes, None] = {}
    ranged: set[tuple[int, bool, bool]] = set()
    for frontend in inputs.frontends.entries.values():
        if frontend.key in inputs.lost:
            continue
        where = (frontend.port, frontend.ipv6, frontend.local)
        if where not in sets:
            chosen = backend.backends(service, targets, frontend, context)
            if len(chosen) > maglev.MOST_BACKENDS:
                problems.append(_too_many(service, frontend, len(chosen)))
                chosen = dict(islice(chosen.items(), maglev.MOST_BACKENDS))
            held.add(len(chosen))
            sets[where] = _set(set_label(service, frontend), chosen, service.scheduler, book)
        services[frontend.key] = _service(service, frontend, sets[where], context)
        if frontend.ranged and where not in ranged:
            ranged.add(where)
            sources.add(len(service.source_ranges or ()))
            ranges |= dict.fromkeys(
                source_range_keys(service.source_ranges or (), sets[where].set_id, ipv6=frontend.ipv6)
            )
    labels = tuple(one.label for one in sets.values())
    addresses = [key for key in inputs.frontends.addresses if key not in inputs.lost]
    records = _records(services, addresses, ranges, sets.values())
    check = health_check(service, slices, context)
    return ServiceRecords(inputs, backend.unplaced(slices), labels, records, few(problems), check)


def set_label(service: Service, frontend: Frontend) -> str:
    """What a backend set is made for; the same after a restart, and never another set's."""
    port = service.ports[frontend.port]
    family, view = ("IPv4", "IPv6")[frontend.ipv6], ("all", "local")[frontend.local]
    label = f"{service.name}:{port.name or port.port}/{port.protocol.name}/{family}/{view}"
    if len(label) <= LABEL_BYTES:
        return label
    short = f"{port.name[:16]}~{crc32(port.name.encode()):08x}"
    return f"{service.name}:{short}/{port.protocol.name}/{family}/{view}"


def _service(service: Service, frontend: Frontend, backends: BackendSet, context: NodeContext) -> bytes:
    flags = abi.ServiceFlag.SERVICE_LOCAL if frontend.local else abi.ServiceFlag(0)
    flags |= abi.ServiceFlag.SERVICE_HELD if frontend.cluster_ip in context.addresses else abi.ServiceFlag(0)
    flags |= abi.ServiceFlag.SERVICE_RANGED if frontend.ranged else abi.ServiceFlag(0)
    flags |= abi.ServiceFlag.SERVICE_BY_PORT if service.by_port else abi.ServiceFlag(0)
    if frontend.scope is abi.Scope.SCOPE_EXTERNAL:
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


def _records(
    services: Packed, addresses: Collection[bytes], ranges: Collection[bytes], sets: Collection[BackendSet]
) -> Records:
    """Everything of a service, map by map."""
    names = {abi.BACKEND_SETS.key.pack(one.set_id): abi.BackendSet(one.label).pack() for one in sets}
    maps: dict[str, tuple[list[bytes], list[bytes]]] = {}
    for name, keys, values in (record for one in sets for record in one.records):
        columns = maps.setdefault(name, ([], []))
        columns[0].append(keys)
        columns[1].append(values)
    return Records(
        (
            *((name, b"".join(keys), b"".join(values)) for name, (keys, values) in maps.items()),
            ("backend_sets", b"".join(names), b"".join(names.values())),
            ("source_ranges", b"".join(ranges), IS_SOURCE_RANGE * len(ranges)),
            ("services", b"".join(services), b"".join(services.values())),
            ("service_addrs", b"".join(addresses), IS_SERVICES * len(addresses)),
        )
    )


def _set(label: str, chosen: Mapping[BackendName, abi.Backend], scheduler: Scheduler, book: IdBook) -> BackendSet:
    """One backend set, with an id and slots from *book*."""
    ids = book.slots(label, chosen.keys())
    slots = ids.slots
    keys = abi.BackendKey.pack_many([abi.BackendKey(ids.set_id, slots[name]) for name in chosen])
    takers = {name: backend.weight for name, backend in chosen.items() if backend.weight}
    by_slot = {slots[name]: weight for name, weight in takers.items()}
    if scheduler in RINGS:
        parts, tables = 1, _rings(ids.set_id, by_slot, keys, scheduler)
    else:
        parts, tables = _maglevs(ids.set_id, {name: slots[name] for name in takers}, tuple(takers.values()))
    return BackendSet(
        label,
        ids.set_id,
        len(takers),
        next(iter(by_slot)) if len(by_slot) == 1 else 0,
        parts,
        (("backends", keys, abi.Backend.pack_many(chosen.values())), *tables),
    )


def _maglevs(
    set_id: int, slots: Mapping[BackendName, int], weights: tuple[int, ...]
) -> tuple[int, tuple[_Columns, ...]]:
    """The set's parts, one at least, and its maglev tables; *slots* in the order of addresses."""
    differ = len(set(weights)) > 1
    tables = maglev.tables(slots.keys(), slots.values(), weights if differ else ())
    keys = abi.MaglevKey.pack_many([abi.MaglevKey(set_id, part) for part in range(len(tables))])
    return max(1, len(tables)), (("maglevs", keys, b"".join(tables)),)


def _rings(set_id: int, weights: Mapping[int, int], backends: bytes, scheduler: Scheduler) -> tuple[_Columns, ...]:
    """The set's ring, and what the programs keep beside it: whose turn it is, or what each of its *backends* has."""
    slots = tuple(weights)
    if scheduler is Scheduler.RR:
        slots = tuple(slots[index] for index in turns(tuple(weights.values())))
        beside = ("turns", abi.TURNS.key.pack(set_id), bytes(abi.Turn.SIZE))
    else:
        beside = ("loads", backends, bytes(abi.Load.SIZE * (len(backends) // abi.BackendKey.SIZE)))
    values = ring_values(slots, [weights[slot] for slot in slots])
    keys = abi.RingKey.pack_many([abi.RingKey(set_id, part) for part in range(len(values))])
    return ("rings", keys, b"".join(values)), beside


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


def _too_many(service: Service, frontend: Frontend, count: int) -> Problem:
    text = f"{count} endpoints; the first {maglev.MOST_BACKENDS} by address are served"
    return Problem("Service", service.name, f"spec.ports[{frontend.port}]", text)
