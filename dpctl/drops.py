"""``dpctl drops``: the packets that were dropped last, from each CPU's ring, by time; also when no agent lives."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from agent.model.address import unmapped
from dpctl.explain import reason_name, words
from dpctl.format import End, end, protocol
from dpctl.names import Names
from dpctl.output import Column, Table
from dpctl.pinned import opened
from maps import abi
from maps.pins import Generation

POLL_S = 0.5  # between looks of --follow
POLICY = frozenset({"policy_ingress", "policy_egress", "policy_unknown"})
Place = tuple[int, int]  # index in the map, and the time of what stands there


@dataclass(frozen=True, slots=True)
class DropRow:
    """One packet, as it was when it was dropped."""

    time: str  # ISO 8601, local
    reason: str
    why: str  # in words
    is_audited: bool  # policy would have dropped it; it passed
    source: End
    source_name: str  # of the pod or node that has the address, where that is known
    destination: End
    destination_name: str
    protocol: str
    program: str
    direction: str
    policy: str  # kind and name of the policy that denied it; empty where none did


@dataclass(frozen=True, slots=True)
class DropFilter:
    """Which are shown: those that meet all that is set."""

    reasons: tuple[str, ...] = ()
    pod: str | None = None  # namespace/name, of either end
    limit: int | None = None  # the latest so many

    def has(self, row: DropRow) -> bool:
        """Whether one is shown."""
        is_meant = not self.reasons or row.reason in self.reasons
        return is_meant and self.pod in {None, row.source_name, row.destination_name}


@dataclass(frozen=True, slots=True)
class DropNames:
    """What other maps and the agent know of those who are named in the ring by numbers."""

    names: Names
    attachments: Mapping[int, abi.Attachment]
    policies: Mapping[int, str]


COLUMNS: tuple[Column[DropRow], ...] = (
    Column("TIME", lambda r: r.time),
    Column("PROGRAM", lambda r: f"{r.program} {r.direction}"),
    Column("PROTOCOL", lambda r: r.protocol),
    Column("FROM", lambda r: _end(r, r.source, r.source_name)),
    Column("TO", lambda r: _end(r, r.destination, r.destination_name)),
    Column("REASON", lambda r: r.reason),
    Column("WHY", lambda r: f"would be dropped (audited): {r.why}" if r.is_audited else r.why),
    Column("POLICY", lambda r: r.policy),
)


def drop_rows(
    entries: Iterable[tuple[Place, abi.DropEvent]], known: DropNames, chosen: DropFilter, boot_s: float
) -> list[DropRow]:
    """Rows from the entries of ``drops``, the latest last; the monotonic clock was zero at *boot_s* of the epoch."""
    ordered = sorted(entries, key=lambda one: (one[1].at_ns, one[0]))
    rows = [row for row in (_row(event, known, boot_s) for _, event in ordered) if chosen.has(row)]
    return rows[-chosen.limit :] if chosen.limit else rows


def entries_of(generation: Generation) -> Iterator[tuple[Place, abi.DropEvent]]:
    """What every CPU keeps."""
    with opened(generation, abi.DROPS) as drops:
        yield from (((index, event.at_ns), event) for index, event in drops.items() if event.at_ns)


def drop_table(generation: Generation, names: Names, chosen: DropFilter) -> Table[DropRow]:
    """The packets that were dropped last."""
    return Table(COLUMNS, drop_rows(entries_of(generation), known_of(generation, names), chosen, boot_s()))


def follow(
    generation_now: Callable[[], Generation],
    names: Callable[[], Names],
    chosen: DropFilter,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[list[DropRow]]:
    """What is dropped, again and again: first what is there already."""
    seen: set[Place] = set()
    while True:
        generation = generation_now()  # an agent that starts may have made another
        entries = list(entries_of(generation))
        new = [entry for entry in entries if entry[0] not in seen]
        seen = {place for place, _ in entries}
        if new:
            yield drop_rows(new, known_of(generation, names()), chosen, boot_s())
            chosen = DropFilter(chosen.reasons, chosen.pod)
        pause(POLL_S)


def known_of(generation: Generation, names: Names) -> DropNames:
    """The pods and policies of this moment."""
    with opened(generation, abi.ATTACHMENTS) as attachments, opened(generation, abi.POLICIES) as policies:
        return DropNames(
            names,
            {slot: one for slot, one in attachments.items() if one.ifindex},
            {number: one.label for number, one in policies.items()},
        )


def boot_s() -> float:
    """When the monotonic clock was zero, in seconds of the epoch."""
    return time.time() - time.monotonic()


def _row(event: abi.DropEvent, known: DropNames, boot: float) -> DropRow:
    program, direction = divmod(event.hook, abi.Direction.DIRECTIONS)
    reason = reason_name(event.reason)
    is_policys = reason in POLICY
    at = datetime.fromtimestamp(boot + event.at_ns / 1e9).astimezone()

    def name(slot: int, address: str) -> str:
        of_slot = known.names.at_slot(slot, known.attachments.get(slot)) if is_policys and slot else ""
        return of_slot or known.names.owner(address)

    return DropRow(
        time=at.isoformat(timespec="milliseconds"),
        reason=reason,
        why=words(reason),
        is_audited=bool(event.flags & abi.DropFlag.DROP_AUDITED),
        source=end(event.src, event.sport),
        source_name=name(event.sender, str(unmapped(event.src))),
        destination=end(event.dst, event.dport),
        destination_name=name(event.receiver, str(unmapped(event.dst))),
        protocol=protocol(event.protocol),
        program=_lower(abi.Program, program, "PROGRAM_"),
        direction=_lower(abi.Direction, direction, "DIRECTION_"),
        policy=known.policies.get(event.policy, f"policy {event.policy}") if is_policys and event.policy else "",
    )


def _lower(names: type[abi.Program] | type[abi.Direction], number: int, prefix: str) -> str:
    return next((one.name.removeprefix(prefix).lower() for one in names if one == number), str(number))


def _end(row: DropRow, one: End, name: str) -> str:
    has_port = one.port and not row.protocol.startswith("ICMP")  # whose echoes have their identifier there
    text = str(one) if has_port else one.address
    return f"{name} ({text})" if name else text
