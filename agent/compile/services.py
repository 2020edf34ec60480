"""All services of this node, as owners: who has which frontend, and the records of those that changed."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from agent.compile.backend_set import BackendSets
from agent.compile.changes import changed
from agent.compile.claims import Claimants, Claims, claims
from agent.compile.context import NodeContext
from agent.compile.frontend import EVERY_PORT, Frontends, Rank, frontends
from agent.compile.health_check import HealthCheck
from agent.compile.host_port import NAMESPACE, HostPortServices
from agent.compile.ids import IdBook
from agent.compile.public_range import PublicRanges
from agent.compile.records import NOTHING, Owner, OwnerKind, Records
from agent.compile.service import NO_SETS, Inputs, ServiceRecords, service_records
from agent.compile.service_need import Need, need
from agent.compile.service_room import NO_END, ServiceRoom, TooMuch
from agent.compile.service_share import Asking, Shares, shares
from agent.model.address import unmapped
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.ports import Ports
from agent.model.service import EndpointSlice, Service
from maps import abi

_Place = tuple[Rank, bool, str, ObjectName]  # of who asks for a key: how, whether a host port, since when, his name
NONE_LOST: Mapping[bytes, ObjectName] = {}


@dataclass(frozen=True, slots=True)
class Services:
    """What follows from all services, kept from one Desired to the next."""

    objects: Mapping[ObjectName, Service] = field(default_factory=dict)
    slices: Mapping[ObjectName, tuple[EndpointSlice, ...]] = field(default_factory=dict)
    host_ports: HostPortServices = field(default_factory=dict)
    context: NodeContext = field(default_factory=NodeContext)
    records: Mapping[ObjectName, ServiceRecords] = field(default_factory=dict)
    claimants: Claimants[ObjectName] = field(default_factory=dict)
    checks: Mapping[ObjectName, HealthCheck] = field(default_factory=dict)  # the same value while it is equal
    told: bool | None = None  # as services() is given it
    shares: Shares = field(default_factory=Shares)


@dataclass(frozen=True, slots=True)
class Update:
    """What the owners that changed have now; an owner that left has nothing."""

    records: Mapping[Owner, Records] = field(default_factory=dict)
    problems: Mapping[Owner, tuple[Problem, ...]] = field(default_factory=dict)


def services(  # noqa: PLR0913, PLR0917  one caller
    cluster: Cluster,
    host_ports: HostPortServices,
    context: NodeContext,
    before: Services,
    book: IdBook,
    ranges: PublicRanges | None = None,
    *,
    serves: bool = True,
    told: bool | None = None,
    node_ports: Ports = EVERY_PORT,
    room: ServiceRoom = NO_END,
) -> tuple[Services, Update]:
    """The services of a Cluster, and what differs from *before*; ids come from *book*.

    The same at each call: *ranges* are of the external addresses that Services may have; unless it
    *serves* them, host ports alone have records, and the addresses that are another proxy's; *node_ports* are where
    there are any; all together have no more than *room*. *told*, which may change, is as frontends() has it.
    """
    is_anew = told is not before.told
    wanted = partial(need, ranges=ranges, node_ports=node_ports, told=told)
    shared = _shares(cluster, before, wanted, room, anew=is_anew) if serves else before.shares
    refused = shared.refused
    asking = partial(
        _frontends, refused, ranges=ranges, serves=serves, told=told, node_ports=node_ports, room=room.services
    )
    moved = changed(before.shares.refused, refused)
    asked = _asked(cluster, host_ports, before, asking, cluster.services if is_anew else moved)
    changes = {name: (_held(before.records.get(name)), wanted.keys) for name, wanted in asked.items()}
    rank = partial(_rank, asked, before.records)
    claimed = claims(before.claimants, changes, rank) if changes else Claims(before.claimants)
    touched = _touched(cluster, host_ports, context, before, (*asked, *claimed.contended))
    records = before.records
    made: dict[Owner, Records] = {}
    problems: dict[Owner, tuple[Problem, ...]] = {}
    if touched:
        records = found = dict(before.records)
        sets = BackendSets(book)
        for name in touched:
            owner, old = Owner(OwnerKind.SERVICE, name), found.pop(name, None)
            inputs = _inputs(name, cluster, host_ports, asked, old, claimed)
            if inputs is not None and inputs.lost:
                inputs = replace(inputs, lost={**inputs.lost, **_behind_node_ports(inputs, rank, context)})
            new, problems[owner] = _made(inputs, old, context, sets, room)
            if new is not None:
                found[name] = new
            made[owner] = new.records if new is not None else NOTHING
            book.drop((old.sets if old else NO_SETS).keys() - (new.sets if new else NO_SETS).keys())
    checks = _checks(before, records, touched)
    now = Services(
        cluster.services, cluster.slices, host_ports, context, records, claimed.claimants, checks, told, shared
    )
    return now, Update(made, problems)


def _checks(
    before: Services, records: Mapping[ObjectName, ServiceRecords], touched: Iterable[ObjectName]
) -> Mapping[ObjectName, HealthCheck]:
    """The health checks of all services, of which those *touched* may differ from before."""
    found = {name: records[name].check if name in records else None for name in touched}
    if all(before.checks.get(name) == check for name, check in found.items()):
        return before.checks
    kept = {name: check for name, check in before.checks.items() if name not in found}
    return kept | {name: check for name, check in found.items() if check is not None}


def _shares(
    cluster: Cluster,
    before: Services,
    wanted: Callable[[Service, Collection[EndpointSlice]], Need],
    room: ServiceRoom,
    *,
    anew: bool,
) -> Shares:
    """Who has a place: by what those ask for whose objects changed, or all *anew*."""
    changes: dict[ObjectName, Asking | None] = {}
    names = (*changed(before.objects, cluster.services), *changed(before.slices, cluster.slices))
    for name in dict.fromkeys((*(cluster.services if anew else ()), *names)):
        service = cluster.services.get(name)
        try:
            asks = wanted(service, cluster.slices.get(name, ())) if service is not None else None
        except Exception:  # noqa: BLE001  as in _frontends(), which says so
            asks = Need()
        changes[name] = Asking.of(service, asks) if service is not None and asks is not None else None
    return shares(before.shares, changes, room) if changes else before.shares


def _asked(
    cluster: Cluster,
    host_ports: HostPortServices,
    before: Services,
    asking: Callable[[Service], Frontends],
    also: Iterable[ObjectName],
) -> dict[ObjectName, Frontends]:
    """The frontends that services ask for whose objects changed, and *also* some more; none for one that left."""
    names = (*changed(before.objects, cluster.services), *changed(before.host_ports, host_ports))
    found = {name: _service(name, cluster, host_ports) for name in (*also, *names)}
    return {name: asking(service) if service is not None else Frontends({}) for name, service in found.items()}


def _frontends(  # noqa: PLR0913  as frontends() has it
    refused: Mapping[ObjectName, str],
    service: Service,
    *,
    ranges: PublicRanges | None,
    serves: bool,
    told: bool | None,
    node_ports: Ports,
    room: int,
) -> Frontends:
    if service.name in refused:
        text = refused[service.name]
        return Frontends({}, (Problem("Service", service.name, "spec", text),) if text else ())
    try:
        return frontends(service, ranges, serves=serves, told=told, node_ports=node_ports, room=room)
    except TooMuch as error:
        return Frontends({}, (Problem("Service", service.name, "spec", str(error)),))
    except Exception as error:  # noqa: BLE001  as in _made()
        text = f"has no address that can be served: {str(error) or type(error).__name__}"
        return Frontends({}, (Problem("Service", service.name, "", text),))


def _service(name: ObjectName, cluster: Cluster, host_ports: HostPortServices) -> Service | None:
    if name.namespace == NAMESPACE:
        return host_ports[name].service if name in host_ports else None
    return cluster.services.get(name)


def _held(records: ServiceRecords | None) -> tuple[bytes, ...]:
    return records.inputs.frontends.keys if records is not None else ()


def _rank(
    asked: Mapping[ObjectName, Frontends],
    records: Mapping[ObjectName, ServiceRecords],
    key: bytes,
    name: ObjectName,
) -> _Place:
    """A Service's place among those who ask for a key: else whoever writes an externalIP takes another's cluster IP.

    Of two alike the older has it: a name whoever makes a Service may choose.
    """
    found = asked[name] if name in asked else records[name].inputs.frontends
    return found.rank(key), name.namespace == NAMESPACE, found.created, name


def _touched(
    cluster: Cluster,
    host_ports: HostPortServices,
    context: NodeContext,
    before: Services,
    asking: Iterable[ObjectName],
) -> dict[ObjectName, None]:
    """The services whose records may differ from before, each once."""
    if (context.name, context.zone) != (before.context.name, before.context.zone):
        return dict.fromkeys((*before.records, *cluster.services, *host_ports))
    found = dict.fromkeys(asking)
    found |= dict.fromkeys(name for name in changed(before.slices, cluster.slices) if name in cluster.services)
    if context.with_ports != before.context.with_ports:
        found |= {name: None for name, old in before.records.items() if old.inputs.frontends.beside}
    own = context.addresses ^ before.context.addresses
    if own:
        found |= {name: None for name, service in cluster.services.items() if not own.isdisjoint(service.cluster_ips)}
    moved = context.moved(before.context)
    if moved:
        found |= {name: None for name, old in before.records.items() if not moved.isdisjoint(old.unplaced)}
    return found


def _inputs(  # noqa: PLR0913, PLR0917  one caller
    name: ObjectName,
    cluster: Cluster,
    host_ports: HostPortServices,
    asked: Mapping[ObjectName, Frontends],
    old: ServiceRecords | None,
    claimed: Claims[ObjectName],
) -> Inputs | None:
    service = _service(name, cluster, host_ports)
    if service is None:
        return None
    wanted = asked[name] if name in asked or old is None else old.inputs.frontends
    slices = host_ports[name].slices if name.namespace == NAMESPACE else cluster.slices.get(name, ())
    return Inputs(service, slices, wanted, claimed.lost(name, wanted.keys) or NONE_LOST)


def _behind_node_ports(
    inputs: Inputs, rank: Callable[[bytes, ObjectName], _Place], context: NodeContext
) -> Mapping[bytes, ObjectName]:
    """The frontends that another's node port goes before, with whose it is: those at addresses that have node ports."""
    return {
        key: inputs.lost[node_port]
        for key, node_port in inputs.frontends.beside
        if node_port in inputs.lost
        and rank(node_port, inputs.lost[node_port])[0] <= Rank.CHECKED
        and unmapped(abi.ServiceKey.unpack(key).addr) in context.with_ports
    }


def _made(
    inputs: Inputs | None, old: ServiceRecords | None, context: NodeContext, sets: BackendSets, room: ServiceRoom
) -> tuple[ServiceRecords | None, tuple[Problem, ...]]:
    """A service's records and problems; one that cannot be made keeps what it had, and the others go on."""
    if inputs is None:
        return None, ()
    try:
        made = service_records(inputs, context, sets, room, old)
    except Exception as error:  # noqa: BLE001  whatever it is, it is this service's alone
        made = _kept(inputs, old, error)
    return made, made.problems


def _kept(inputs: Inputs, old: ServiceRecords | None, error: Exception) -> ServiceRecords:
    """The records from before, but for frontends that the service does not have any more."""
    text = f"cannot be served as it stands: {str(error) or type(error).__name__}; what it had before is kept"
    problems = (Problem("Service", inputs.service.name, "", text),)
    if old is None:
        return ServiceRecords(inputs, frozenset(), NO_SETS, NOTHING, problems)
    has = frozenset(inputs.frontends.keys) - inputs.lost.keys()
    kept = {
        name: {key: value for key, value in packed.items() if name not in {"services", "service_addrs"} or key in has}
        for name, packed in old.records.items()
    }
    return ServiceRecords(inputs, old.unplaced, old.sets, Records.of(kept), problems, old.check)
