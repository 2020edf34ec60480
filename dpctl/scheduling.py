"""``dpctl service show``: how a service's new flows are shared out among its backends."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dpctl.format import End, SetLabel, end
from dpctl.output import Column, Table
from dpctl.pinned import check_service, labels, opened
from maps import abi
from maps.pins import Generation
from maps.shares import open_now


@dataclass(frozen=True, slots=True)
class ShareRow:
    """One backend of one set, and what it gets."""

    port_name: str
    protocol: str
    family: str
    view: str  # "all" backends, or those "local" to the node
    scheduler: str
    backend: End
    local: bool  # on this node
    weight: int  # 0: no new flows
    open: int | None  # flows and sockets of this node; None: the scheduler does not count


COLUMNS: tuple[Column[ShareRow], ...] = (
    Column("PORT", lambda r: r.port_name),
    Column("PROTOCOL", lambda r: r.protocol),
    Column("FAMILY", lambda r: r.family),
    Column("VIEW", lambda r: r.view),
    Column("SCHEDULER", lambda r: r.scheduler),
    Column("BACKEND", lambda r: str(r.backend)),
    Column("NODE", lambda r: "this" if r.local else "other"),
    Column("WEIGHT", lambda r: str(r.weight), right=True),
    Column("OPEN", lambda r: "" if r.open is None else str(r.open), right=True),
)


def scheduler_name(service: abi.Service) -> str:
    """As annotations have it; with the flag where the client's port counts too."""
    name = abi.Scheduler(service.scheduler).name.removeprefix("SCHEDULER_").lower()
    return f"{name}, {name}-port" if service.flags & abi.ServiceFlag.SERVICE_BY_PORT else name


def share_rows(
    name: str,
    sets: Mapping[int, SetLabel],
    schedulers: Mapping[int, str],
    backends: Iterable[tuple[abi.BackendKey, abi.Backend]],
    loads: Mapping[abi.BackendKey, int],
) -> list[ShareRow]:
    """The rows of one service, by set and address."""
    own = {set_id: label for set_id, label in sets.items() if label.service == name}
    ordered = sorted(
        ((own[key.set_id], key, backend) for key, backend in backends if key.set_id in own),
        key=lambda e: (e[0].port, e[1].set_id, e[2].addr, e[2].port),
    )
    return [
        ShareRow(
            label.port,
            label.protocol,
            label.family,
            label.view,
            schedulers.get(key.set_id, ""),
            end(backend.addr, backend.port),
            bool(backend.flags & abi.BackendFlag.BACKEND_LOCAL),
            backend.weight,
            loads.get(key),
        )
        for label, key, backend in ordered
    ]


def share_table(generation: Generation, name: str) -> Table[ShareRow]:
    """One service's backends, with their weights and, where they are counted, what they have.

    Raises:
        Absent: there is no such service.
    """
    sets = labels(generation)
    check_service(name, sets)
    with opened(generation, abi.SERVICES) as services:
        schedulers = {service.set_id: scheduler_name(service) for _, service in services.items()}
    with opened(generation, abi.LOAD_WALKS) as walks, opened(generation, abi.LOADS) as counted:
        walk = walks.get(0)
        loads = {key: open_now(load, walk.run if walk else 0) for key, load in counted.items()}
    with opened(generation, abi.BACKENDS) as backends:
        return Table(COLUMNS, share_rows(name, sets, schedulers, backends.items(), loads))
