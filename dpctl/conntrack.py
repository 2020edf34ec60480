"""``dpctl conntrack list``: the flows this node knows, each once, the latest first."""

import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from itertools import islice

from agent.model.address import unmapped
from dpctl.format import SCOPES, UNKNOWN, End, SetLabel, duration, end, protocol
from dpctl.nat_pair import WRAP, Connection, Peer, connections
from dpctl.output import Column, Table
from dpctl.pinned import check_service, labels, opened
from maps import abi
from maps.abi import FlowFlag
from maps.pins import Generation

TCP = 6
STATES = ("new", "established", "closing", "closed")
_IN_COLUMNS = FlowFlag.FLOW_ORIGIN_HI | FlowFlag.FLOW_FORWARD | FlowFlag.FLOW_REVERSE | FlowFlag.FLOW_EXTERNAL
_FINS = FlowFlag.FLOW_FIN_ORIGIN | FlowFlag.FLOW_FIN_REPLY
_ONE_WAY = FlowFlag.FLOW_FORWARD | FlowFlag.FLOW_DSR | FlowFlag.FLOW_FIN_ORIGIN
_EXTERNAL = int(FlowFlag.FLOW_EXTERNAL)


@dataclass(frozen=True, slots=True)
class FlowRow:
    """One connection. Ends are null where there is none."""

    protocol: str
    client: End
    service: End | None  # what the client asked for, where that was translated
    backend: End  # who answers: the service's backend, or whom the client asked for
    snat: End | None  # the client's address as the backend sees it, where that is another
    service_name: str  # namespace/name:port
    state: str  # of STATES; what conntrack GC goes by
    scope: str  # "external": begun outside the cluster
    direction: str  # which ends are on this node: "in" the backend, "out" the client, "local" both, "through" none
    idle_s: float  # since the last packet
    flags: tuple[str, ...]
    network: int  # 0: as the node's devices see it; else the slot of a VF


COLUMNS: tuple[Column[FlowRow], ...] = (
    Column("PROTOCOL", lambda r: r.protocol),
    Column("CLIENT", lambda r: str(r.client)),
    Column("SERVICE", lambda r: str(r.service or "")),
    Column("BACKEND", lambda r: str(r.backend)),
    Column("SNAT", lambda r: str(r.snat or "")),
    Column("NAME", lambda r: r.service_name),
    Column("STATE", lambda r: r.state),
    Column("SCOPE", lambda r: r.scope),
    Column("DIRECTION", lambda r: r.direction),
    Column("IDLE", lambda r: duration(r.idle_s), right=True),
    Column("FLAGS", lambda r: ",".join(r.flags)),
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which connections are shown: those that meet all that is set."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()  # one of them holds some end
    ports: tuple[int, ...] = ()  # one of them is some end's
    protocol: int | None = None
    service: str | None = None  # namespace/name
    states: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What other maps and the clock add to the flows."""

    sets: Mapping[int, SetLabel] = field(default_factory=dict)
    here: AbstractSet[IPv6Address] = frozenset()  # addresses of this node and its pods
    now_s: int = 0  # in seen_s's units


@cache
def state(protocol_number: int, flags: int) -> str:
    """How far a connection is, by the flags that conntrack GC goes by (``bpf/dp/conntrack/gc.h``)."""
    fins = flags & _FINS
    one_way = flags & _ONE_WAY == _ONE_WAY  # its client has closed: nothing else is seen
    if protocol_number == TCP and (flags & FlowFlag.FLOW_RESET or fins == _FINS or one_way):
        return "closed"
    if protocol_number == TCP and fins:
        return "closing"
    return "established" if flags & FlowFlag.FLOW_REPLIED else "new"


@cache
def flag_names(flags: int) -> tuple[str, ...]:
    """The flags that no other column shows."""
    return tuple(flag.name.removeprefix("FLOW_").lower() for flag in FlowFlag(flags) & ~_IN_COLUMNS if flag.name)


def flow_rows(entries: Iterable[tuple[abi.FlowKey, abi.Flow]], known: Known, chosen: Filter) -> list[FlowRow]:
    """Rows from the entries of ``flows``, the latest packet first."""
    meets = _meets(chosen, known.sets)
    found = sorted((c for c in connections(entries) if meets(c)), key=lambda c: _idle(c, known.now_s))
    return [_row(connection, known) for connection in islice(found, chosen.limit)]


def conntrack_table(generation: Generation, chosen: Filter) -> Table[FlowRow]:
    """The flows of a generation.

    Raises:
        Absent: the service whose flows are asked for is not there.
    """
    sets = labels(generation)
    if chosen.service:
        check_service(chosen.service, sets)
    with opened(generation, abi.ENDPOINTS) as endpoints, opened(generation, abi.FLOWS) as flows:
        entries = list(flows.items())
        known = Known(sets, {address for address, _ in endpoints.items()}, time.monotonic_ns() >> abi.SEEN_BITS)
    return Table(COLUMNS, flow_rows(entries, known, chosen))


def _meets(chosen: Filter, sets: Mapping[int, SetLabel]) -> Callable[[Connection], bool]:
    """A test of connections: whether one meets all that is set."""
    ids = {set_id for set_id, label in sets.items() if label.service == chosen.service}

    def meets(c: Connection) -> bool:
        ends = [peer for peer in (c.client, c.service, c.server, c.snat) if peer]
        return (
            chosen.protocol in (None, c.protocol)
            and (not chosen.service or c.set_id in ids)
            and (not chosen.ports or any(port in chosen.ports for _, port in ends))
            and (not chosen.states or state(c.protocol, c.flags) in chosen.states)
            and (not chosen.networks or any(unmapped(address) in n for address, _ in ends for n in chosen.networks))
        )

    return meets


def _idle(connection: Connection, now_s: int) -> int:
    """Units since the last packet; one that came while we read is no age."""
    units = (now_s - connection.seen_s) % WRAP
    return units if units < WRAP // 2 else 0


def _row(c: Connection, known: Known) -> FlowRow:
    return FlowRow(
        protocol=protocol(c.protocol),
        client=end(*c.client),
        service=end(*c.service) if c.service else None,
        backend=end(*c.server),
        snat=end(*c.snat) if c.snat else None,
        service_name=known.sets.get(c.set_id, UNKNOWN).service_port if c.service else "",
        state=state(c.protocol, c.flags),
        scope=SCOPES[bool(c.flags & _EXTERNAL)],
        direction=_direction(c.client, c.server, known.here),
        idle_s=round((_idle(c, known.now_s) << abi.SEEN_BITS) / 1e9, 1),
        flags=flag_names(c.flags) if c.paired else (*flag_names(c.flags), "unpaired"),
        network=c.network,
    )


def _direction(client: Peer, server: Peer, here: AbstractSet[IPv6Address]) -> str:
    """Which ends are on this node."""
    match client[0] in here, server[0] in here:
        case True, True:
            return "local"
        case True, False:
            return "out"
        case False, True:
            return "in"
        case _:
            return "through"
