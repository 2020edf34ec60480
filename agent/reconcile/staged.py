"""A plan in one turn where the maps have room for old and new side by side, else in several.

Only what does not fit in the end is refused. Where the end fits but the way there does not, backend sets take turns:
each turn is a plan of its own in the order of order.py, and what it removes is room for the next. A set for which
there never is room beside its old self leaves with its frontends and comes back with them: for a moment there is no
such service, never half of one. docs/decisions/0005-turns.md has the reasons.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import starmap

from agent.reconcile.order import FLAGS, WRITES, Contents, Plan, plan
from maps import abi
from maps.plan import Changes, refuse_overflow
from maps.record import Packed

Numbers = Mapping[str, int]  # of records, by map
NOTHING: Contents = {name: {} for name in WRITES}


def turns(old: Contents, new: Contents, held: Numbers, rooms: Numbers) -> Iterator[Plan]:
    """The plans, one after the other, that turn *old* into *new* in maps that hold *held* of at most *rooms* records.

    Raises:
        MapFull: before the first plan: which map has no room for the end, and the flag that makes it larger.
    """
    whole = plan(old, new)
    if _fits(whole, held, rooms):
        yield whole
        return
    for name, changes in whole.items():
        if changes.growth > 0:
            refuse_overflow(name, rooms[name], held[name] + changes.growth, FLAGS[name])
    waiting: Sequence[_Group] = sorted(_groups(old, new), key=_Group.size)
    while waiting:
        taken, waiting = _side_by_side(waiting, held, rooms)
        if taken:
            turn = _merged(group.plan for group in taken)
        else:  # there is one: without any of the old, what waits fits
            at = next(at for at, group in enumerate(waiting) if any(group.old.values()))
            turn, fresh = plan(waiting[at].old, NOTHING), _Group(NOTHING, waiting[at].new)
            waiting = [*waiting[:at], fresh, *waiting[at + 1 :]]
        held = {name: held[name] + turn[name].growth for name in WRITES}
        yield turn


class _Group:
    """Backend sets that change together, because frontends pass between them; most groups are one set."""

    def __init__(self, old: Contents, new: Contents) -> None:
        self.old = old
        self.new = new
        self.plan = plan(old, new)

    def size(self) -> int:
        """Records that must find room before others leave it."""
        return sum(changes.new for changes in self.plan.values())


def _fits(wanted: Plan, held: Numbers, rooms: Numbers) -> bool:
    """Whether there is room for old and new side by side."""
    return all(not changes.new or held[name] + changes.new <= rooms[name] for name, changes in wanted.items())


def _side_by_side(
    waiting: Sequence[_Group], held: Numbers, rooms: Numbers
) -> tuple[Sequence[_Group], Sequence[_Group]]:
    """As many groups, smallest first, as fit beside everything that is there; and the others."""
    taken: list[_Group] = []
    passed: list[_Group] = []
    for at, group in enumerate(waiting):
        if _fits(group.plan, held, rooms):
            held = {name: held[name] + group.plan[name].new for name in WRITES}
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
            {key: value for part in parts for key, value in part[name].write.items()},
            tuple(key for part in parts for key in part[name].remove),
            sum(part[name].new for part in parts),
        )
        for name in WRITES
    }


def _groups(old: Contents, new: Contents) -> Iterator[_Group]:
    """What changes, divided into the smallest groups that can change alone."""
    led_before, led_after = _by_key(old["services"]), _by_key(new["services"])
    leader: dict[int, int] = {}  # of a set that is not its own group's first
    for key in led_before.keys() & led_after.keys():
        one, other = _first(leader, led_before[key]), _first(leader, led_after[key])
        if one != other:
            leader[other] = one
    parts: dict[int, tuple[dict[str, dict[bytes, bytes]], dict[str, dict[bytes, bytes]]]] = {}
    for side, whole in enumerate((old, new)):
        for name in WRITES:
            for (key, value), set_id in zip(whole[name].items(), _set_ids(name, whole[name]), strict=True):
                group = parts.setdefault(_first(leader, set_id), ({n: {} for n in WRITES}, {n: {} for n in WRITES}))
                group[side][name][key] = value
    yield from (group for group in starmap(_Group, parts.values()) if any(group.plan.values()))


def _first(leader: Mapping[int, int], set_id: int) -> int:
    """The set that a group goes by."""
    while set_id in leader:
        set_id = leader[set_id]
    return set_id


def _by_key(services: Packed) -> dict[bytes, int]:
    """The set behind each frontend."""
    return dict(zip(services, _set_ids("services", services), strict=True))


def _set_ids(name: str, records: Packed) -> Iterable[int]:
    """The set of each record."""
    match name:
        case "services":
            return (service.set_id for service in abi.Service.unpack_many(b"".join(records.values())))
        case "backend_sets":
            return abi.BACKEND_SETS.key.unpack_many(b"".join(records))
        case "maglevs":
            return (key.set_id for key in abi.MaglevKey.unpack_many(b"".join(records)))
        case _:
            return (key.set_id for key in abi.BackendKey.unpack_many(b"".join(records)))
