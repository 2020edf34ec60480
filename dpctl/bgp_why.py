"""``dpctl bgp why PREFIX``: to whom a prefix is told and of whom it is taken, by which rule, and why not.

What is so BIRD says; the rules are those by which its agent wrote BIRD's filters.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from click import UsageError

from agent.bgp.control import Answer, BirdError, Control
from agent.bgp.keeper import FOLDER, SOCKET
from agent.bgp.sessions import SessionState, session_states
from agent.compile.bgp.router import NODE, PEER
from agent.model.address import Network
from agent.serve.bgp_report import BgpReport, SessionLine, StepLine, read
from dpctl.errors import Absent
from dpctl.output import Column, Table

_NETS = 1007  # the code of a route's line
_OF = re.compile(r"\[(\S+)")  # whose a route is
_UNREACHABLE = re.compile(r"\sunreachable \[(\S+)")
ORIGINS = {"own_pods": "Pods", "own_services": "Services", "own_aggregates": "Aggregates"}
NODES, ROUTERS, PEERS = "Nodes", "Routers", "Peers"
NO_RULE = "(none)"


@dataclass(frozen=True, slots=True)
class WhyRow:
    """One session, in one direction."""

    peer: str
    way: str  # "told", "taken"
    is_so: bool
    rule: str  # that decides
    why: str


WHY: tuple[Column[WhyRow], ...] = (
    Column("PEER", lambda r: r.peer),
    Column("WAY", lambda r: r.way if r.is_so else f"not {r.way}"),
    Column("BY", lambda r: r.rule),
    Column("WHY", lambda r: r.why),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What BIRD knows of a prefix."""

    sources: tuple[str, ...]  # sessions and protocols that have it
    announced_to: frozenset[str]  # sessions
    sessions: dict[str, SessionState]
    nowhere: frozenset[str] = frozenset()  # sessions that have it by a next hop that leads nowhere


def why_table(run_dir: Path, prefix: str) -> Table[WhyRow]:
    """Both directions of each session.

    Raises:
        Absent: BIRD does not run here.
        UsageError: it is no prefix.
    """
    try:
        network = ip_network(prefix)
    except ValueError as error:
        raise UsageError(f"{prefix!r} is no prefix: {error}; type: dpctl bgp routes") from error
    report = read(run_dir) or BgpReport()
    try:
        with Control(run_dir / FOLDER / SOCKET) as bird:
            facts = _facts(bird, network)
    except BirdError as error:
        raise Absent(f"{error}. BIRD runs beside an agent with --router; type: dpctl status") from error
    return Table(WHY, list(why_rows(network, report, facts)))


def _facts(bird: Control, network: Network) -> Facts:
    sessions = {one.name: one for one in session_states(bird.ask("show protocols all"))}
    told = frozenset(name for name in sessions if _sources(_asked(bird, f"show route {network} exported {name}")))
    answer = _asked(bird, f"show route {network}")
    return Facts(_sources(answer), told, sessions, _nowhere(answer))


def _asked(bird: Control, command: str) -> Answer:
    """An answer; an empty one where BIRD has no such network."""
    try:
        return bird.ask(command)
    except BirdError:
        return Answer(())


def _sources(answer: Answer) -> tuple[str, ...]:
    return tuple(found[1] for text in answer.of(_NETS) if (found := _OF.search(text)))


def _nowhere(answer: Answer) -> frozenset[str]:
    return frozenset(found[1] for text in answer.of(_NETS) if (found := _UNREACHABLE.search(text)))


def why_rows(network: Network, report: BgpReport, facts: Facts) -> Iterator[WhyRow]:
    """The rows, of each session that carries the prefix's family."""
    for session in report.sessions:
        if network.version not in session.families:
            continue
        state = facts.sessions.get(session.name)
        yield _told(network, report, facts, session, state)
        yield _taken(network, facts, session, state)


def _told(
    network: Network, report: BgpReport, facts: Facts, session: SessionLine, state: SessionState | None
) -> WhyRow:
    is_so = session.name in facts.announced_to
    origins = _origins(facts, session)
    if not origins:
        return WhyRow(session.about, "told", is_so, NO_RULE, _nothing(network, report))
    step = next((one for one in session.exports if _fits(one, network, origins)), None)
    why = _of_step(step, "no rule tells it", is_so=is_so)
    return WhyRow(session.about, "told", is_so, step.by if step else NO_RULE, why if is_so else _down(state) or why)


def _taken(network: Network, facts: Facts, session: SessionLine, state: SessionState | None) -> WhyRow:
    is_so = session.name in facts.sources
    step = next((one for one in session.imports if _fits(one, network, ())), None)
    why = _of_step(step, "nobody asks for it", is_so=is_so)
    if session.name in facts.nowhere:
        why = "its next hop leads nowhere by this node's own routes, so no packet follows it"
    if not is_so and step is not None and step.accepts and not step.needs:
        is_limited = state is not None and state.is_limited
        why = "it is beyond the peer's import.limit, or not told" if is_limited else "the peer does not tell it"
    return WhyRow(session.about, "taken", is_so, step.by if step else NO_RULE, why if is_so else _down(state) or why)


def _origins(facts: Facts, session: SessionLine) -> tuple[str, ...]:
    """Whose the prefix is, as rules name it; what a peer told is never told back to it."""
    found: list[str] = []
    for source in facts.sources:
        own = next((name for prefix, name in ORIGINS.items() if source.startswith(prefix)), None)
        if own:
            found.append(own)
        elif source.startswith((f"{NODE}_", f"{PEER}_")) and source != session.name:
            found += [PEERS, NODES if source.startswith(f"{NODE}_") else ROUTERS]
    return tuple(dict.fromkeys(found))


def _fits(step: StepLine, network: Network, origins: tuple[str, ...]) -> bool:
    """Whether a rule is of such a prefix, whatever else it needs."""
    if step.origins and not set(step.origins) & set(origins):
        return False
    if any(_is_in(network, *one) for one in step.excepted):
        return False
    return step.prefixes is None or any(_is_in(network, *one) for one in step.prefixes)


def _is_in(network: Network, text: str, least: int, most: int) -> bool:
    other = ip_network(text)
    is_of_it = network.version == other.version and network.overlaps(other)
    return is_of_it and least <= network.prefixlen <= most  # *least* may be shorter: what has a node's address


def _of_step(step: StepLine | None, otherwise: str, *, is_so: bool) -> str:
    if step is None:
        return otherwise
    if step.needs and step.accepts != is_so:
        return f"only where {step.needs}"
    return step.does if step.accepts else "the rule rejects it"


def _down(state: SessionState | None) -> str:
    if state is None:
        return "BIRD does not have the session yet"
    return "" if state.is_up else f"the session is {state.state}{f': {state.error}' if state.error else ''}"


def _nothing(network: Network, report: BgpReport) -> str:
    """Why this node has nothing of a prefix to tell."""
    for text in report.aggregates:
        wide = ip_network(text)
        if wide.version == network.version and wide != network and wide.overlaps(network):
            return f"{text} is told in its place"
    if report.why_gone:
        return f"this node has no such prefix; of Services it tells none: {report.why_gone}"
    return "this node has no such prefix: no ready endpoint, not advertised, or another's"
