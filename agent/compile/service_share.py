"""Whose Services there is room for, where those of all namespaces ask for more than maps have.

Who may make Services in one namespace could else leave no place to those of others. So each namespace is sure of half
of an even share, which is what each could have where those that ask for more all had alike: its older Services have
that. What is left goes to older Services first, whosever they are: what worked goes on working beside somebody who
asks for very much, unless it is more than such a share itself.

It follows from objects alone, whoever came first to this node, so that all nodes whose maps have one size agree, and
an agent that starts anew with the one before it. Services of pods' host ports are a node's own, and not among these.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import gt, is_, itemgetter, sub
from typing import NamedTuple

from agent.compile.service_need import Need
from agent.compile.service_room import BACKENDS, FRONTENDS, RINGS, SOURCES, TABLES, ServiceRoom, TooMuch
from agent.model.name import MOST_TOLD, ObjectName
from agent.model.service import Service

WHAT = (FRONTENDS, BACKENDS, SOURCES, TABLES, RINGS)  # of a Need


class Asking(NamedTuple):
    """What a Service asks for, and since when."""

    age: tuple[str, str, str]  # of two the older sorts first; of one second the first by namespace and name
    need: Need

    @classmethod
    def of(cls, service: Service, asked: Need) -> "Asking":
        """What this one asks for."""
        return cls((service.created, service.name.namespace, service.name.name), asked)


ByNamespace = Mapping[str, Mapping[ObjectName, Asking]]


@dataclass(frozen=True, slots=True)
class Shares:
    """What all ask for by namespace, and why some have nothing, kept from one Desired to the next."""

    asking: ByNamespace = field(default_factory=dict)
    totals: Mapping[str, Need] = field(default_factory=dict)
    too_much: Mapping[ObjectName, str] = field(default_factory=dict)  # of those that alone ask for more than all have
    full: tuple[int, ...] = ()  # of which there is not enough, as indices of a Need
    crowded: Mapping[ObjectName, str] = field(default_factory=dict)  # beside others
    refused: Mapping[ObjectName, str] = field(default_factory=dict)  # both: they have nothing, and why; empty: not told


def shares(before: Shares, changes: Mapping[ObjectName, Asking | None], room: ServiceRoom) -> Shares:
    """The shares after *changes*, where None has gone; *room* is the same at each call."""
    rooms = Need(room.services, room.backends, room.ranges, room.tables, room.rings)
    too_much = dict(before.too_much)
    differing: dict[ObjectName, tuple[Asking | None, Asking | None]] = {}
    for name, asked in changes.items():
        text = _too_much(asked.need, rooms) if asked is not None else ""
        too_much.pop(name, None)
        if text:
            too_much[name] = text
        old, now = before.asking.get(name.namespace, {}).get(name), None if text else asked
        if old != now:
            differing[name] = old, now
    if not differing:
        if too_much == before.too_much:
            return before
        return replace(before, too_much=too_much, refused={**too_much, **before.crowded})
    asking, totals = _with(before.asking, before.totals, differing)
    full = tuple(at for at, of in enumerate(rooms) if of and sum(total[at] for total in totals.values()) > of)
    is_same = full == before.full and all(_of(old, full) == _of(now, full) for old, now in differing.values())
    if is_same and too_much == before.too_much:
        return replace(before, asking=asking, totals=totals)
    crowded = before.crowded if is_same else _crowded(asking, totals, rooms, full) if full else {}
    return Shares(asking, totals, too_much, full, crowded, {**too_much, **crowded})


def _too_much(asked: Need, rooms: Need) -> str:
    over = (TooMuch(WHAT[at], room) for at, room in enumerate(rooms) if room and asked[at] > room)
    return str(next(over, ""))


def _with(
    before: ByNamespace, totals: Mapping[str, Need], differing: Mapping[ObjectName, tuple[Asking | None, Asking | None]]
) -> tuple[dict[str, Mapping[ObjectName, Asking]], Mapping[str, Need]]:
    """What namespaces ask for, one by one and in all; those of which nothing differs have the identical values."""
    own = {name.namespace: dict(before.get(name.namespace, {})) for name in differing}
    sums = {namespace: [*totals.get(namespace, Need())] for namespace in own}
    for name, (old, now) in differing.items():
        for one, sign in ((old, -1), (now, 1)):
            for at, number in enumerate(one.need if one is not None else ()):
                sums[name.namespace][at] += sign * number
        if now is not None:
            own[name.namespace][name] = now
        else:
            own[name.namespace].pop(name)
    asking: dict[str, Mapping[ObjectName, Asking]] = {**before, **own}
    found = {**totals, **{namespace: Need(*one) for namespace, one in sums.items()}}
    gone = [namespace for namespace, names in own.items() if not names]
    for namespace in gone:
        del asking[namespace], found[namespace]
    return asking, found


def _of(asked: Asking | None, full: Iterable[int]) -> tuple[object, ...]:
    """What of a Service says who has a place, where there is not enough of *full*."""
    return (asked.age, *(asked.need[at] for at in full)) if asked is not None else ()


def _crowded(
    asking: dict[str, Mapping[ObjectName, Asking]], totals: Mapping[str, Need], rooms: Need, full: Sequence[int]
) -> dict[ObjectName, str]:
    """Those for which there is no place, and why; *full* is of what there is not enough.

    Of very many of a namespace the oldest are told, or each node would log them all; of the others nothing is said.
    What is sorted by age is left so in *asking*: there may be very many, of which one changes.
    """
    sure = [_even_share([total[at] for total in totals.values()], rooms[at]) // 2 for at in full]
    left = [rooms[at] for at in full]
    waiting: list[tuple[ObjectName, Asking]] = []
    for namespace, total in totals.items():
        taken = [total[at] for at in full]
        if any(map(gt, taken, sure)):
            older_first = sorted(asking[namespace].items(), key=_age)
            if not all(map(is_, asking[namespace], map(_name, older_first))):
                asking[namespace] = dict(older_first)
            room = [*sure]
            waiting += _placed(older_first, full, room)
            taken = [*map(sub, sure, room)]
        left = [*map(sub, left, taken)]
    refused = _placed(sorted(waiting, key=_age), full, left)
    found: dict[ObjectName, str] = {}
    told: Counter[str] = Counter()
    for name, one in refused:
        told[name.namespace] += 1
        at = next(at for at in full if one.need[at])
        found[name] = _why(name.namespace, at, rooms) if told[name.namespace] <= MOST_TOLD else ""
    return found


def _placed(
    waiting: Sequence[tuple[ObjectName, Asking]], full: Sequence[int], room: list[int]
) -> list[tuple[ObjectName, Asking]]:
    """Take *room* for those that wait, one after the other; returns those for which there is none."""
    refused = []
    # for one index alone itemgetter gives no tuple: the first stands there twice, and nobody looks behind *room*
    for item, asked in zip(waiting, map(itemgetter(*full, full[0]), map(_need, waiting)), strict=True):
        if any(map(gt, asked, room)):
            refused.append(item)
        else:
            room[:] = map(sub, room, asked)
    return refused


def _age(item: tuple[ObjectName, Asking]) -> tuple[str, str, str]:
    return item[1].age


def _need(item: tuple[ObjectName, Asking]) -> Need:
    return item[1].need


_name = itemgetter(0)


def _even_share(asked: Iterable[int], room: int) -> int:
    """What each has at most, where those that ask for less leave what they do not need to the others."""
    every = sorted(filter(None, asked))
    for at, one in enumerate(every):
        others = len(every) - at
        if one * others >= room:
            return room // others
        room -= one
    return room


@lru_cache(1 << 16)
def _why(namespace: str, at: int, rooms: Need) -> str:
    """The identical value for all of a namespace."""
    what, option = WHAT[at]
    return (
        f"is not served: Services of all namespaces ask for more {what} than the {rooms[at]} there is room for, and"
        f" those of {namespace!r} for more than their share; delete what is not needed there, or raise {option}"
        f" (of a namespace's the {MOST_TOLD} oldest are told)"
    )
