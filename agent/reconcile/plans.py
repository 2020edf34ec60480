"""Plans: what turns the records that owners had into those that they have, map by map, as values.

Maps are written in the order that their declarations state, what is referred to before what refers to it; removals go
in reverse. So a packet that finds a service finds all of it, after every single write, and nothing names what was
removed.

Where old and new do not fit side by side, owners take turns (:class:`Stages`), and what one leaves is room for the
next. An owner for which there never is room beside its old self leaves whole and comes back: for a moment there is no
such service, never half of one. docs/decisions/0005-staged.md has the reasons.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from agent.compile.records import NOTHING, Owner, Records
from maps import abi
from maps.abi import MAPS
from maps.errors import MapFull
from maps.plan import Changes, difference
from maps.registry import agent_maps

# the agent's maps in the order of writing; the node's one record is Revision's to write, after all of them
ORDER = tuple(spec.name for spec in agent_maps() if spec.name != abi.NODE.name)
Contents = Mapping[str, Mapping[bytes, bytes]]  # by map
Plan = Mapping[str, Changes]  # by map, those that change
Numbers = Mapping[str, int]  # of records, by map
ByOwner = Mapping[Owner, Records]


def contents(records: Iterable[Records]) -> dict[str, dict[bytes, bytes]]:
    """All records of several owners, by map; without the node's."""
    found: dict[str, dict[bytes, bytes]] = {}
    for one in records:
        for name, packed in one.items():
            if name != "node":
                found.setdefault(name, {}).update(packed)
    return found


def plan(old: Contents, new: Contents) -> Plan:
    """What turns *old* into *new*."""
    every = {name: difference(new.get(name, {}), old.get(name, {})) for name in ORDER if name in old or name in new}
    return {name: changes for name, changes in every.items() if changes}


def fits(wanted: Plan, held: Numbers, rooms: Numbers) -> bool:
    """Whether there is room for old and new side by side."""
    return all(not changes.new or held[name] + changes.new <= rooms[name] for name, changes in wanted.items())


@dataclass(frozen=True, slots=True)
class Group:
    """Owners that change together, because a key passes between them; most groups are one owner."""

    owners: tuple[Owner, ...]
    old: Contents
    new: Contents
    plan: Plan

    @classmethod
    def of(cls, owners: tuple[Owner, ...], old: Contents, new: Contents) -> "Group":
        """A group with its plan."""
        return cls(owners, old, new, plan(old, new))

    def size(self) -> int:
        """Records that must find room before others leave it."""
        return sum(changes.new for changes in self.plan.values())

    def growth(self) -> int:
        """Records more, or fewer, that there are afterwards."""
        return sum(changes.growth for changes in self.plan.values())


class Stages:
    """The plans, one after the other, that bring owners from *old* to *new*; the maps hold *held* of *rooms* records.

    What does not fit in the end is *refused*, whole owners at a time, before the first plan; all else goes on.
    """

    def __init__(self, old: ByOwner, new: ByOwner, held: Numbers, rooms: Numbers) -> None:
        self.refused: dict[Owner, MapFull] = {}
        self._held, self._rooms = held, rooms
        self._groups: Sequence[Group] = ()
        # what an owner keeps is in no plan; with very many records most of the work would be to compare it
        left = contents(one.but(new.get(owner, NOTHING)) for owner, one in old.items())
        self._whole = plan(left, contents(one.but(old.get(owner, NOTHING)) for owner, one in new.items()))
        if not fits(self._whole, held, rooms):
            self._groups = self._accepted(sorted(groups(old, new), key=Group.growth))

    def __iter__(self) -> Iterator[Plan]:
        if not self._groups and not self.refused:
            yield self._whole
            return
        held, waiting = self._held, sorted(self._groups, key=Group.size)
        while waiting:
            taken, waiting = _side_by_side(waiting, held, self._rooms)
            if taken:
                turn = _merged(group.plan for group in taken)
            else:  # there is one: without any of the old, what waits fits
                at = next(at for at, group in enumerate(waiting) if any(group.old.values()))
                one = waiting[at]
                turn = plan(one.old, {})
                waiting = [*waiting[:at], Group.of(one.owners, {}, one.new), *waiting[at + 1 :]]
            held = {name: held[name] + turn[name].growth if name in turn else held[name] for name in held}
            yield turn

    def _accepted(self, wanted: Sequence[Group]) -> Sequence[Group]:
        """The groups that fit in the end, those that shrink first."""
        total = {name: self._held[name] + changes.growth for name, changes in self._whole.items()}
        if all(total[name] <= self._rooms[name] for name, changes in self._whole.items() if changes.growth > 0):
            return wanted
        held, accepted = dict(self._held), list[Group]()
        for group in wanted:
            growing = {name: changes.growth for name, changes in group.plan.items() if changes.growth > 0}
            full = next((name for name, more in growing.items() if held[name] + more > self._rooms[name]), None)
            if full is None:
                accepted.append(group)
                held |= {name: held[name] + changes.growth for name, changes in group.plan.items()}
            else:
                error = MapFull(full, self._rooms[full], total[full], MAPS[full].flag)
                self.refused |= dict.fromkeys(group.owners, error)
        return accepted


def groups(old: ByOwner, new: ByOwner) -> Iterator[Group]:
    """What changes, divided into the smallest groups of owners that can change alone."""
    left: dict[tuple[str, bytes], Owner] = {
        (name, key): owner for owner, records in old.items() for name, packed in records.items() for key in packed
    }
    leader: dict[Owner, Owner] = {}  # of an owner that is not its own group's first
    for owner, records in new.items():
        for name, packed in records.items():
            for key in packed:
                one, other = _first(leader, left.get((name, key), owner)), _first(leader, owner)
                if one != other:
                    leader[other] = one
    members: dict[Owner, list[Owner]] = {}
    for owner in dict.fromkeys(chain(old, new)):
        members.setdefault(_first(leader, owner), []).append(owner)
    for owners in members.values():
        before, after = (contents(side.get(owner, NOTHING) for owner in owners) for side in (old, new))
        yield Group.of(tuple(owners), before, after)


def _first(leader: Mapping[Owner, Owner], owner: Owner) -> Owner:
    """The owner that a group goes by."""
    while owner in leader:
        owner = leader[owner]
    return owner


def _side_by_side(waiting: Sequence[Group], held: Numbers, rooms: Numbers) -> tuple[list[Group], list[Group]]:
    """As many groups, smallest first, as fit beside everything that is there; and the others."""
    taken: list[Group] = []
    passed: list[Group] = []
    for at, group in enumerate(waiting):
        if fits(group.plan, held, rooms):
            held = {**held, **{name: held[name] + changes.new for name, changes in group.plan.items()}}
            taken.append(group)
        elif taken:
            return taken, [*passed, *waiting[at:]]
        else:
            passed.append(group)
    return taken, passed


def _merged(plans: Iterable[Plan]) -> Plan:
    """Several plans as one."""
    parts = tuple(plans)
    return {
        name: Changes(
            {key: value for part in parts if name in part for key, value in part[name].write.items()},
            tuple(key for part in parts if name in part for key in part[name].remove),
            sum(part[name].new for part in parts if name in part),
            sum(part[name].moved for part in parts if name in part),
        )
        for name in ORDER
        if any(name in part for part in parts)
    }
