"""``dpctl service list``: every address and port that packets are matched with, and whom it leads to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dpctl.format import SCOPES, UNKNOWN, End, SetLabel, duration, end, protocol
from dpctl.output import Column, Table
from dpctl.pinned import labels, opened
from dpctl.scheduling import scheduler_name
from maps import abi
from maps.pins import Generation


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One frontend. A node port has the unspecified address of its family: it is every address of the node."""

    service: str  # namespace/name
    port_name: str  # or its number where it has no name
    frontend: End
    protocol: str
    scope: str  # who is served: "internal" clients or "external" ones
    backends: int
    policy: str  # traffic policy: Cluster or Local
    scheduler: str
    affinity_s: int  # 0: none
    set_id: int


COLUMNS: tuple[Column[ServiceRow], ...] = (
    Column("SERVICE", lambda r: r.service),
    Column("PORT", lambda r: r.port_name),
    Column("FRONTEND", lambda r: str(r.frontend)),
    Column("PROTOCOL", lambda r: r.protocol),
    Column("SCOPE", lambda r: r.scope),
    Column("BACKENDS", lambda r: str(r.backends), right=True),
    Column("POLICY", lambda r: r.policy),
    Column("SCHEDULER", lambda r: r.scheduler),
    Column("AFFINITY", lambda r: duration(r.affinity_s) if r.affinity_s else ""),
    Column("SET", lambda r: str(r.set_id), right=True),
)


def service_rows(
    entries: Iterable[tuple[abi.ServiceKey, abi.Service]], sets: Mapping[int, SetLabel]
) -> list[ServiceRow]:
    """Rows from the entries of ``services``, by name and address."""
    ordered = sorted(
        ((sets.get(service.set_id, UNKNOWN), key, service) for key, service in entries),
        key=lambda e: (e[0].service, e[0].port, e[1].addr, e[1].port, e[1].protocol, e[1].scope),
    )
    return [_row(label, key, service) for label, key, service in ordered]


def service_table(generation: Generation) -> Table[ServiceRow]:
    """The services of a generation."""
    sets = labels(generation)
    with opened(generation, abi.SERVICES) as services:
        return Table(COLUMNS, service_rows(services.items(), sets))


def _policy(service: abi.Service) -> str:
    found = "Local" if service.flags & abi.ServiceFlag.SERVICE_LOCAL else "Cluster"
    if service.flags & abi.ServiceFlag.SERVICE_TUNNEL:
        found += ", dsr" if service.flags & abi.ServiceFlag.SERVICE_DSR else ", tunnel"
    return f"{found}, source ranges" if service.flags & abi.ServiceFlag.SERVICE_RANGED else found


def _row(label: SetLabel, key: abi.ServiceKey, service: abi.Service) -> ServiceRow:
    return ServiceRow(
        service=label.service,
        port_name=label.port,
        frontend=end(key.addr, key.port),
        protocol=protocol(key.protocol),
        scope=SCOPES[key.scope],
        backends=service.backends,
        policy=_policy(service),
        scheduler=scheduler_name(service),
        affinity_s=service.affinity_s,
        set_id=service.set_id,
    )
