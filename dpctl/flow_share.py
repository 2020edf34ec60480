"""``dpctl conntrack top``: who has how much of the flow table, the most first."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from dpctl.format import duration
from dpctl.names import Names
from dpctl.output import Column, Table
from dpctl.pinned import opened
from maps import abi, shares
from maps.pins import Generation

NODE, OUTSIDE = "(this node)", "(outside)"


@dataclass(frozen=True, slots=True)
class TopRow:
    """One who begins flows, and what was refused to it."""

    owner: str  # namespace/name of a pod, "slot N" where its name is not known; NODE; OUTSIDE
    entries: int  # of the flow table; a translated flow has two
    of_room: float  # the same, as a part of the table's room
    refused: int  # new flows that got no entry, for the share was used up
    portless: int  # new flows for which no translation port was free
    ago_s: float | None  # since one of them was last; null: none was


COLUMNS: tuple[Column[TopRow], ...] = (
    Column("OWNER", lambda r: r.owner),
    Column("ENTRIES", lambda r: str(r.entries), right=True),
    Column("OF ROOM", lambda r: f"{100 * r.of_room:.1f}%", right=True),
    Column("REFUSED", lambda r: str(r.refused), right=True),
    Column("NO PORT", lambda r: str(r.portless), right=True),
    Column("LAST", lambda r: "" if r.ago_s is None else f"{duration(r.ago_s)} ago", right=True),
)


def top_table(generation: Generation, names: Names, limit: int | None = None) -> Table[TopRow]:
    """Who has entries, or was refused some."""
    with opened(generation, abi.ATTACHMENTS) as table:
        attachments = {slot: one for slot, one in table.items() if one.ifindex}
    found = shares.read(generation.maps, attachments, time.monotonic_ns())
    called = {slot: names.at_slot(slot, one) or f"slot {slot}" for slot, one in attachments.items()}
    rows = sorted(_rows(found, called), key=lambda row: (-row.entries, -row.refused, row.owner))
    return Table(COLUMNS, list(islice(rows, limit)))


def _rows(found: shares.Shares, called: dict[int, str]) -> Iterator[TopRow]:
    pods = ((called[slot], held) for slot, held in found.pods.items())
    for owner, held in ((OUTSIDE, found.outside), (NODE, found.node), *pods):
        if held.entries or held.ago_s is not None:
            ago_s = None if held.ago_s is None else round(held.ago_s, 1)
            of_room = round(held.entries / found.room, 4)
            yield TopRow(owner, held.entries, of_room, held.refused, held.portless, ago_s)
