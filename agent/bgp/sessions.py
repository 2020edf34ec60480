"""What BIRD says of its BGP sessions, read from ``show protocols all``."""

import calendar
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from agent.bgp.control import Answer

_HEADS, _DETAILS, _BFD = 1002, 1006, 1020  # codes of lines
# at their lines' beginnings: the text of a peer's message is on a line, too
_ROUTES = re.compile(r"\s*Routes:\s+(\d+) imported,(?: \d+ filtered,)? (\d+) exported")
_BFD_COLUMNS = 6
_ADDRESS = re.compile(r"[0-9a-fA-F.:]+[0-9a-fA-F]")
_LIMIT_MET = re.compile(r"\s*Import limit:\s+(\d+) \[HIT\]")  # stands before the routes of its family
_UPDATES = re.compile(r"\s*(Import|Export) updates:\s+(\d+)")
ESTABLISHED = "Established"
_DEAF = "No listening socket"  # after "Error: "; BIRD leaves such a session switched off for good
# BIRD works out anew each time when a session began, by the clock of now, and says it in whole seconds
_ROUNDING_S, _SLACK_S = 1, 0.5


@dataclass(frozen=True, slots=True)
class SessionState:
    """One session."""

    name: str  # BIRD's
    state: str  # "Established", or what it waits in
    since: str = ""
    error: str = ""  # the last
    address: str = ""
    interface: str = ""  # of a link-local address
    asn: int = 0
    imported: int = 0  # prefixes
    exported: int = 0
    updates_in: int = 0  # prefixes that the peer has sent, since the session's protocol began
    updates_out: int = 0
    is_limited: bool = False  # the peer has told more of a family than its limit, and nothing new is taken of it
    has_room: bool = False  # and it is less by now
    bfd: str = ""  # "Up", or how else BFD finds the peer; empty without

    @property
    def is_up(self) -> bool:
        """Whether routes pass."""
        return self.state == ESTABLISHED

    @property
    def is_deaf(self) -> bool:
        """Whether BIRD could not listen for the peer: another process has the port, or the node lacks the address."""
        return not self.is_up and self.error.endswith(_DEAF)

    @property
    def began_s(self) -> int:
        """When, in seconds of the wall clock but for its time zone; 0 where BIRD does not say."""
        return calendar.timegm(time.strptime(self.since, "%Y-%m-%d %H:%M:%S")) if self.since else 0


def steadied(now: SessionState, before: SessionState) -> SessionState:
    """With the time that was said *before*, where it differs by BIRD's rounding alone."""
    return replace(now, since=before.since) if abs(now.began_s - before.began_s) <= _ROUNDING_S else now


def unheard(one: SessionState) -> SessionState:
    """As it stands while BIRD does not answer."""
    bfd = "Down" if one.bfd else ""
    return replace(
        one,
        state="Down",
        since="",
        error="BIRD does not answer",
        imported=0,
        exported=0,
        is_limited=False,
        has_room=False,
        bfd=bfd,
    )


def is_another(now: SessionState, before: SessionState, set_s: float) -> bool:
    """Whether it began anew since; the clock was set ahead by *set_s* between the two."""
    return abs(now.began_s - before.began_s - set_s) > _ROUNDING_S + _SLACK_S


def session_states(answer: Answer) -> tuple[SessionState, ...]:
    """The BGP sessions among all protocols."""
    found: list[tuple[str, list[str]]] = []
    for code, text in answer.lines:
        if code == _HEADS:
            found.append((text, []))
        elif code == _DETAILS and found:
            found[-1][1].append(text)
    return tuple(_state(head, details) for head, details in found if head.split()[1:2] == ["BGP"])


def _state(head: str, details: Iterable[str]) -> SessionState:
    name = head.split(maxsplit=1)[0]
    fields: dict[str, str] = {}
    imported = exported = 0
    met: list[tuple[int, int]] = []  # limits, and what is imported
    limit = 0
    updates = {"Import": 0, "Export": 0}
    for line in details:
        if found := _UPDATES.match(line):
            updates[found[1]] += int(found[2])
        if reached := _LIMIT_MET.match(line):
            limit = int(reached[1])
        if routes := _ROUTES.match(line):
            imported += int(routes[1])
            exported += int(routes[2])
            met += [(limit, int(routes[1]))] if limit else []
            limit = 0
        key, colon, value = line.strip().partition(":")
        if colon:
            fields.setdefault(key, value.strip())
    address, _, interface = fields.get("Neighbor address", "").partition("%")
    since = re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", head)
    asn = fields.get("Neighbor AS", "0")
    return SessionState(
        name=name,
        state=fields.get("BGP state", "Down"),
        since=since[0] if since else "",
        error=fields.get("Last error", ""),
        address=address,
        interface=interface,
        asn=int(asn) if asn.isdecimal() else 0,
        imported=imported,
        exported=exported,
        updates_in=updates["Import"],
        updates_out=updates["Export"],
        is_limited=bool(met),
        has_room=any(limit > count for limit, count in met),
    )


def bfd_states(answer: Answer) -> Mapping[tuple[str, str], str]:
    """How BFD finds each address, at an interface and at any (""), read from ``show bfd sessions``."""
    rows = [text.split() for text in answer.of(_BFD)]
    rows = [row for row in rows if len(row) >= _BFD_COLUMNS and _ADDRESS.fullmatch(row[0])]
    return {(row[0], at): row[2] for row in rows for at in ("", row[1])}


def with_bfd(states: Iterable[SessionState], found: Mapping[tuple[str, str], str]) -> tuple[SessionState, ...]:
    """Sessions, with what BFD says of their peers."""
    return tuple(replace(one, bfd=found.get((one.address, one.interface), "")) for one in states)
