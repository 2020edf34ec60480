"""Which sessions and prefixes BIRD refuses, found by asking for parts: a mistake with one costs no other."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from agent.compile.bgp.router import Router, Session, Told
from agent.model.community import COMMUNITIES
from agent.model.name import ObjectName, Problem

Check = Callable[[Router], str]  # why BIRD refuses what is made of it; empty where it does not
T = TypeVar("T")


class Refused:
    """The sessions and prefixes that BIRD refused of what was wanted last."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Session, str]] = {}  # with BIRD's sentence, by their names
        self._prefixes: dict[Told, str] = {}  # likewise
        self._is_doubted = False

    def doubt(self) -> None:
        """Ask of them again, as of a BIRD that may be another one; from any thread."""
        self._is_doubted = True

    def taken(self, check: Check, wanted: Router, held: Router | None) -> Router | None:
        """What BIRD takes of it, of which it was asked last; None where it refuses more than sessions and prefixes.

        Whose session is refused keeps the one that it has by *held*, and so does a range of pods or an aggregate; a
        Service's address is not told. Of what stays as it was refused BIRD is not asked again: it delays no withdrawal.
        """
        is_known, self._is_doubted = not self._is_doubted, False
        found, prefixes = self._still(wanted) if is_known else ({}, {})
        made = _with_held(wanted, found, prefixes, held)
        if check(made):
            if check(replace(_with_held(wanted, {}, prefixes, held), sessions=())):
                bare = replace(wanted, sessions=(), pods=(), services=(), aggregates=())
                if check(bare):
                    return None
                rest = tuple(one for one in _prefixes(wanted) if one not in prefixes)
                prefixes |= _wrong(lambda some: check(_telling(bare, wanted, some)), rest)
            told = _with_held(wanted, {}, prefixes, held)
            others = tuple(one for one in wanted.sessions if one.name not in found)
            wrong = dict(_wrong(lambda some: check(replace(told, sessions=some)), others))
            found |= {one.name: (one, why) for one, why in wrong.items()}
            made = _with_held(wanted, found, prefixes, held)
            self._found, self._prefixes = found, prefixes
            return None if check(made) else made
        self._found, self._prefixes = found, prefixes
        return made

    def _still(self, wanted: Router) -> tuple[dict[str, tuple[Session, str]], dict[Told, str]]:
        """What is wanted now as it was refused."""
        known, told = self._found, frozenset(_prefixes(wanted) if self._prefixes else ())
        sessions = {one.name: known[one.name] for one in wanted.sessions if known.get(one.name, (None,))[0] == one}
        return sessions, {one: why for one, why in self._prefixes.items() if one in told}

    def problems(self, node: str) -> tuple[Problem, ...]:
        """Each with the object that asks for it."""
        sessions = (_problem(session, node, why) for session, why in self._found.values())
        return (*sessions, *(_not_told(told, node, why) for told, why in self._prefixes.items()))


def _prefixes(router: Router) -> tuple[Told, ...]:
    return tuple(dict.fromkeys((*router.pods, *router.services, *router.aggregates)))


def _telling(bare: Router, wanted: Router, some: Collection[Told]) -> Router:
    """One that tells some of what is wanted."""
    among = frozenset(some)
    return replace(
        bare,
        pods=tuple(one for one in wanted.pods if one in among),
        services=tuple(one for one in wanted.services if one in among),
        aggregates=tuple(one for one in wanted.aggregates if one in among),
    )


def _with_held(wanted: Router, found: Collection[str], prefixes: Collection[Told], held: Router | None) -> Router:
    """The same where nothing of it is refused; else in place of what is what is held of it."""
    if not found and not prefixes:
        return wanted
    before = {one.name: one for one in held.sessions} if held else {}
    kept = (before.get(one.name) if one.name in found else one for one in wanted.sessions)
    pods = _told_before(wanted.pods, prefixes, held.pods if held else ())
    aggregates = _told_before(wanted.aggregates, prefixes, held.aggregates if held else ())
    return replace(
        wanted,
        sessions=tuple(one for one in kept if one is not None),
        pods=pods,
        services=tuple(one for one in wanted.services if one not in prefixes),
        aggregates=aggregates,
    )


def _told_before(wanted: Iterable[Told], refused: Collection[Told], held: Iterable[Told]) -> tuple[Told, ...]:
    """With what is held of a range, if anything, in place of what is refused of it."""
    before = {one.network: one for one in held}
    kept = (before.get(one.network) if one in refused else one for one in wanted)
    return tuple(one for one in kept if one is not None)


def _wrong(refuses: Callable[[tuple[T, ...]], str], asked: tuple[T, ...]) -> Iterator[tuple[T, str]]:
    """Those that are refused, with BIRD's sentence, by halves: few of many are wrong."""
    why = refuses(asked) if asked else ""
    if why and len(asked) == 1:
        yield asked[0], why
    elif why:
        half = len(asked) // 2
        yield from _wrong(refuses, asked[:half])
        yield from _wrong(refuses, asked[half:])


def _problem(session: Session, node: str, why: str) -> Problem:
    kind, _, name = session.about.partition(" ")
    text = f"BIRD on Node {node} refused the session with {session.address}, so that the one before holds: {why}"
    if kind == "BGPPeer":
        return Problem(kind, ObjectName("", name), "spec", text)
    return Problem("Node", ObjectName("", node), session.field, text)


def _not_told(told: Told, node: str, why: str) -> Problem:
    text = f"BIRD on Node {node} refused {told}, which peers are not told with what it is to carry: {why}"
    if told.service is not None:
        return Problem("Service", told.service, f"metadata.annotations['{COMMUNITIES}']", text)
    return Problem("Node", ObjectName("", node), "--router", text)
