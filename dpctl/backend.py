"""``dpctl backend list``: who may be chosen for a service's next flow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dpctl.format import UNKNOWN, End, SetLabel, end
from dpctl.output import Column, Table
from dpctl.pinned import check_service, labels, opened
from maps import abi
from maps.pins import Generation


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One backend of one set; a backend in several sets has several rows."""

    service: str  # namespace/name
    port_name: str
    protocol: str
    family: str
    view: str  # "all" backends, or those "local" to the node
    backend: End
    local: bool  # on this node
    set_id: int
    slot: int


COLUMNS: tuple[Column[BackendRow], ...] = (
    Column("SERVICE", lambda r: r.service),
    Column("PORT", lambda r: r.port_name),
    Column("PROTOCOL", lambda r: r.protocol),
    Column("FAMILY", lambda r: r.family),
    Column("VIEW", lambda r: r.view),
    Column("BACKEND", lambda r: str(r.backend)),
    Column("NODE", lambda r: "this" if r.local else "other"),
    Column("SET", lambda r: str(r.set_id), right=True),
    Column("SLOT", lambda r: str(r.slot), right=True),
)


def backend_rows(
    entries: Iterable[tuple[abi.BackendKey, abi.Backend]], sets: Mapping[int, SetLabel], service: str | None = None
) -> list[BackendRow]:
    """Rows from the entries of ``backends``, of one service or of all, by name, set and slot."""
    ordered = sorted(
        ((sets.get(key.set_id, UNKNOWN), key, backend) for key, backend in entries),
        key=lambda e: (e[0].service, e[0].port, e[1].set_id, e[1].slot),
    )
    return [_row(*entry) for entry in ordered if not service or entry[0].service == service]


def backend_table(generation: Generation, service: str | None = None) -> Table[BackendRow]:
    """The backends of a generation.

    Raises:
        Absent: there is no such service.
    """
    sets = labels(generation)
    if service:
        check_service(service, sets)
    with opened(generation, abi.BACKENDS) as backends:
        return Table(COLUMNS, backend_rows(backends.items(), sets, service))


def _row(label: SetLabel, key: abi.BackendKey, backend: abi.Backend) -> BackendRow:
    return BackendRow(
        service=label.service,
        port_name=label.port,
        protocol=label.protocol,
        family=label.family,
        view=label.view,
        backend=end(backend.addr, backend.port),
        local=bool(backend.flags & abi.BackendFlag.BACKEND_LOCAL),
        set_id=key.set_id,
        slot=key.slot,
    )
