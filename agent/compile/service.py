"""One service's records: its backend sets, their lookup tables, and the frontends that lead to them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from zlib import crc32

from agent.compile import backend, maglev
from agent.compile.ids import BackendName, IdBook
from agent.compile.records import Frontend, Inputs, Place, ServiceRecords, SetRecords
from agent.model.name import Problem
from agent.model.service import EndpointSlice, Service
from maps import abi
from maps.record import cut

LABEL_BYTES = 191  # of struct backend_set's label, without its NUL
MOST_BACKENDS = 0xFFFF  # struct service counts them in 16 bits


def service_records(inputs: Inputs, place: Place, book: IdBook) -> ServiceRecords:
    """The records of a service on a node; ids come from *book*."""
    service, slices = inputs.service, inputs.slices
    problems = [*inputs.frontends.problems, *_losses(inputs), *_strangers(service, slices)]
    sets: dict[tuple[int, bool, bool], SetRecords] = {}
    services: dict[bytes, bytes] = {}
    for frontend in inputs.frontends.entries:
        if frontend.key in inputs.lost:
            continue
        where = (frontend.port, frontend.ipv6, frontend.local)
        if where not in sets:
            chosen = backend.backends(service, slices, frontend, place)
            if len(chosen) > MOST_BACKENDS:
                problems.append(_too_many(service, frontend, len(chosen)))
                chosen = dict(islice(chosen.items(), MOST_BACKENDS))
            sets[where] = _set(set_label(service, frontend), chosen, book)
        services[frontend.key] = _service(service, frontend, sets[where])
    return ServiceRecords(inputs, backend.unplaced(slices), tuple(sets.values()), services, tuple(problems))


def set_label(service: Service, frontend: Frontend) -> str:
    """What a backend set is made for; the same after a restart, and never another set's."""
    port = service.ports[frontend.port]
    family, view = ("IPv4", "IPv6")[frontend.ipv6], ("all", "local")[frontend.local]
    label = f"{service.name}:{port.name or port.port}/{port.protocol.name}/{family}/{view}"
    if len(label) <= LABEL_BYTES:
        return label
    short = f"{port.name[:16]}~{crc32(port.name.encode()):08x}"
    return f"{service.name}:{short}/{port.protocol.name}/{family}/{view}"


def _service(service: Service, frontend: Frontend, backends: SetRecords) -> bytes:
    flags = abi.ServiceFlag.SERVICE_LOCAL if frontend.local else 0
    return abi.Service(backends.set_id, service.affinity_s, len(backends.backends), backends.parts, flags).pack()


def _set(label: str, chosen: Mapping[BackendName, abi.Backend], book: IdBook) -> SetRecords:
    """One backend set, with an id and slots from *book*."""
    ids = book.slots(label, chosen.keys())
    keys = abi.BackendKey.pack_many([abi.BackendKey(ids.set_id, ids.slots[name]) for name in chosen])
    values = abi.Backend.pack_many(chosen.values())
    tables = maglev.tables(ids.slots)
    return SetRecords(
        label,
        ids.set_id,
        max(1, len(tables)),
        {abi.BACKEND_SETS.key.pack(ids.set_id): abi.BackendSet(label).pack()},
        {abi.MaglevKey(ids.set_id, part).pack(): table for part, table in enumerate(tables)},
        dict(zip(cut(keys, abi.BackendKey.SIZE), cut(values, abi.Backend.SIZE), strict=True)),
    )


def _losses(inputs: Inputs) -> Iterator[Problem]:
    """One problem for each field whose frontend another service has."""
    entries = inputs.frontends.entries if inputs.lost else ()
    by_field = {entry.field: inputs.lost[entry.key] for entry in entries if entry.key in inputs.lost}
    for field, winner in by_field.items():
        text = f"Service {winner} has this address, port and protocol already, and keeps them"
        yield Problem("Service", inputs.service.name, field, text)


def _strangers(service: Service, slices: Sequence[EndpointSlice]) -> Iterator[Problem]:
    """Ports of slices that the service does not have."""
    known = {(port.name, port.protocol) for port in service.ports}
    for part in slices:
        for index, port in enumerate(part.ports):
            if (port.name, port.protocol) not in known:
                text = f"Service {service.name} has no {port.protocol.name} port named {port.name!r}"
                yield Problem("EndpointSlice", part.name, f"ports[{index}].name", text)


def _too_many(service: Service, frontend: Frontend, count: int) -> Problem:
    text = f"{count} endpoints; the first {MOST_BACKENDS} by address are served"
    return Problem("Service", service.name, f"spec.ports[{frontend.port}]", text)
