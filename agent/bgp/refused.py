"""Which sessions BIRD refuses, found by asking for parts of the whole: a mistake with one peer costs no other."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from agent.compile.bgp.router import Router, Session
from agent.model.name import ObjectName, Problem

Check = Callable[[Router], str]  # why BIRD refuses what is made of it; empty where it does not


class Refused:
    """The sessions that BIRD refused of what was wanted last."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Session, str]] = {}  # with BIRD's sentence, by their names
        self._is_doubted = False

    def doubt(self) -> None:
        """Ask of them again, as of a BIRD that may be another one; from any thread."""
        self._is_doubted = True

    def taken(self, check: Check, wanted: Router, held: Router | None) -> Router | None:
        """What BIRD takes of it, of which it was asked last; None where it refuses more than sessions.

        Whose session is refused keeps the one that it has by *held*. Of a session that stays as it was refused BIRD is
        not asked again: what is wrong with it delays no withdrawal.
        """
        known, self._is_doubted = {} if self._is_doubted else self._found, False
        found = {one.name: known[one.name] for one in wanted.sessions if known.get(one.name, (None,))[0] == one}
        made = _with_held(wanted, found, held)
        if check(made):
            if check(replace(wanted, sessions=())):
                return None
            rest = tuple(one for one in wanted.sessions if one.name not in found)
            found |= {one.name: (one, why) for one, why in _wrong(check, wanted, rest)}
            made = _with_held(wanted, found, held)
            self._found = found
            return None if check(made) else made
        self._found = found
        return made

    def problems(self, node: str) -> tuple[Problem, ...]:
        """Each with the object that asks for it."""
        return tuple(_problem(session, node, why) for session, why in self._found.values())


def _with_held(wanted: Router, found: Collection[str], held: Router | None) -> Router:
    """The same where nothing of it is refused; else in place of what is, by name, the sessions that are held."""
    if not found:
        return wanted
    before = {one.name: one for one in held.sessions} if held else {}
    kept = (before.get(one.name) if one.name in found else one for one in wanted.sessions)
    return replace(wanted, sessions=tuple(one for one in kept if one is not None))


def _wrong(check: Check, wanted: Router, sessions: tuple[Session, ...]) -> Iterator[tuple[Session, str]]:
    """Those of the sessions that are refused, by halves: few of many are wrong."""
    why = check(replace(wanted, sessions=sessions)) if sessions else ""
    if why and len(sessions) == 1:
        yield sessions[0], why
    elif why:
        half = len(sessions) // 2
        yield from _wrong(check, wanted, sessions[:half])
        yield from _wrong(check, wanted, sessions[half:])


def _problem(session: Session, node: str, why: str) -> Problem:
    kind, _, name = session.about.partition(" ")
    text = f"BIRD on Node {node} refused the session with {session.address}, so that the one before holds: {why}"
    if kind == "BGPPeer":
        return Problem(kind, ObjectName("", name), "spec", text)
    return Problem("Node", ObjectName("", node), session.about, text)
