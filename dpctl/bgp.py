"""``dpctl bgp``: BGP's sessions, the routes that peers tell, and BIRD's configuration without its passwords.

BIRD is asked through its own socket, so that no agent is needed; who asked for a session its agent left in a file.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from agent.bgp.control import Answer, BirdError, Control
from agent.bgp.keeper import CONFIG, FOLDER, SOCKET
from agent.bgp.sessions import session_states
from agent.serve.bgp_report import BgpReport, read
from dpctl.errors import Absent
from dpctl.output import Column, Table

_PASSWORD = re.compile(r'password "[^"]*"')
_NET = 1007  # the code of a route's line
_ROUTE = re.compile(r"(?P<net>[0-9a-fA-F.:]+/\d+)?\s+(?P<kind>unicast|blackhole|unreachable|prohibit)\s+\[(?P<of>\S+)")
_VIA = re.compile(r"via (\S+) on (\S+)")


LEFT_OUT, WHY = "left out", "dpctl status says why"


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One session."""

    peer: str  # who asked for it; empty where nobody does any more
    address: str
    asn: int
    state: str
    since: str
    imported: int
    exported: int
    has_password: bool
    error: str


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One route that BIRD knows."""

    prefix: str
    of: str  # the session or protocol that it is of
    peer: str
    is_used: bool
    via: tuple[str, ...]


PEERS: tuple[Column[PeerRow], ...] = (
    Column("PEER", lambda r: r.peer),
    Column("ADDRESS", lambda r: r.address),
    Column("AS", lambda r: str(r.asn), right=True),
    Column("STATE", lambda r: r.state),
    Column("SINCE", lambda r: r.since),
    Column("TAKEN", lambda r: str(r.imported), right=True),
    Column("TOLD", lambda r: str(r.exported), right=True),
    Column("MD5", lambda r: "yes" if r.has_password else ""),
    Column("LAST ERROR", lambda r: r.error),
)
ROUTES: tuple[Column[RouteRow], ...] = (
    Column("PREFIX", lambda r: r.prefix),
    Column("PEER", lambda r: r.peer or r.of),
    Column("USED", lambda r: "yes" if r.is_used else ""),
    Column("VIA", lambda r: " ".join(r.via)),
)


def peer_table(run_dir: Path) -> Table[PeerRow]:
    """The sessions.

    Raises:
        Absent: BIRD does not run here.
    """
    return Table(PEERS, peer_rows(_asked(run_dir, "show protocols all"), read(run_dir) or BgpReport()))


def peer_rows(answer: Answer, report: BgpReport) -> list[PeerRow]:
    """Rows in the order of their addresses, also of what is wanted and BIRD does not have yet; then who has none."""
    wanted = {one.name: one for one in report.sessions}
    there = {one.name: one for one in session_states(answer)}
    rows = []
    for name in sorted(wanted.keys() | there.keys()):
        line, state = wanted.get(name), there.get(name)
        rows.append(
            PeerRow(
                peer=line.about if line else "",
                address=line.address if line else state.address if state else "",
                asn=line.asn if line else state.asn if state else 0,
                state=state.state if state else "not configured yet",
                since=state.since if state else "",
                imported=state.imported if state else 0,
                exported=state.exported if state else 0,
                has_password=bool(line and line.has_password),
                error=state.error if state else "",
            )
        )
    absent = sorted(report.absent)
    return [*rows, *(PeerRow(who, at, 0, LEFT_OUT, "", 0, 0, has_password=False, error=WHY) for who, at in absent)]


def route_table(run_dir: Path) -> Table[RouteRow]:
    """What peers told, and what they are told.

    Raises:
        Absent: BIRD does not run here.
    """
    report = read(run_dir) or BgpReport()
    about = {one.name: one.about for one in report.sessions}
    return Table(ROUTES, route_rows(_asked(run_dir, "show route"), about))


def route_rows(answer: Answer, about: dict[str, str]) -> list[RouteRow]:
    """Routes of sessions and of this node's own; not those of its devices and of the kernel."""
    rows: list[RouteRow] = []
    prefix = ""
    for code, text in answer.lines:
        head = _ROUTE.match(text)
        if code == _NET and head:
            prefix = head["net"] or prefix
            rows.append(RouteRow(prefix, head["of"], about.get(head["of"], ""), "] * (" in text, ()))
        elif rows and (via := _VIA.search(text)):
            last = rows[-1]
            hops = (*last.via, f"{via[1]} {via[2]}")
            rows[-1] = RouteRow(last.prefix, last.of, last.peer, last.is_used, hops)
    return [row for row in rows if row.of.startswith(("node_", "peer_", "own_"))]


def config_text(run_dir: Path) -> str:
    """BIRD's configuration, without passwords.

    Raises:
        Absent: there is none.
    """
    try:
        text = (run_dir / FOLDER / CONFIG).read_text(errors="replace")
    except FileNotFoundError as error:
        raise Absent(f"there is no {error.filename}: the node's agent runs without --router") from error
    return _PASSWORD.sub('password "***"', text)


def _asked(run_dir: Path, command: str) -> Answer:
    try:
        with Control(run_dir / FOLDER / SOCKET) as bird:
            return bird.ask(command)
    except BirdError as error:
        raise Absent(f"{error}. BIRD runs beside an agent with --router; type: dpctl status") from error
