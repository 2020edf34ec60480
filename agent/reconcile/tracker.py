"""What the agent's maps hold, by owner, brought to what a Desired asks for: the only writer of maps.

What was written last is kept as a value, so a round costs the owners that changed. After a failure that value is
unknown, and the next round reads the maps back instead (``resync``); so does the first, which adopts what an earlier
agent left. Long writes pause after each piece, and what cannot wait is written in between.
"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

from agent.compile.desired import Desired
from agent.compile.node import NODE_KEY
from agent.compile.records import NOTHING, Owner, Records
from agent.reconcile.plans import ORDER, ByOwner, Plan, Stages, contents
from agent.reconcile.plans import plan as plan_of
from agent.reconcile.resync import Comparison
from agent.reconcile.revision import Revision
from maps.abi import MAPS
from maps.apply import AnyTable, count, remove, write
from maps.errors import MapFull

HELD_BACK_FROM = MAPS["pod_classes"].order  # who is which peer is written from here on, after what rules say
PIECE = 512  # records of one call: under a millisecond, so a pod that waits does not wait long


class Tracker:
    """The agent's maps. The constructor reads the node's record."""

    def __init__(self, tables: Mapping[str, AnyTable], node: Owner) -> None:
        self._tables = {name: tables[name] for name in ORDER}
        self._rooms = {name: table.max_entries for name, table in self._tables.items()}
        self._node = node
        self._revision = Revision(tables["node"], tables["set_revisions"])
        self._desired = Desired()
        self._actual: dict[Owner, Records] = {}
        self._pending: set[Owner] = set()
        self._left: dict[Owner, Records] = {}  # of owners who left: what may be there
        self._counts: dict[str, int] = {}  # of entries
        self._is_known = False  # whether the maps hold exactly what _actual says
        self._overtaken: set[tuple[str, bytes]] = set()  # keys written, or removed, while a longer write paused
        self._newer: set[Owner] = set()  # their owners
        self._under_way: ByOwner = {}  # what the longer write is for
        self._is_broken = False  # whether that went wrong
        self._held_back: ByOwner = {}
        self._refused: Mapping[Owner, MapFull] = {}

    @property
    def revision(self) -> int:
        """The revision of the node's state as last written."""
        return self._revision.number

    @property
    def is_current(self) -> bool:
        """Whether the maps hold what was last asked for."""
        return self._is_known and not self._pending

    def records(self, owner: Owner) -> Records | None:
        """What the maps hold of an owner; None while that is not known."""
        return self._actual.get(owner) if self._is_known and owner not in self._pending else None

    def want(self, desired: Desired) -> None:
        """Work towards this Desired, made from the one before, from now on."""
        self._pending |= desired.changed
        self._desired = desired

    def forget(self, owner: Owner, records: Records) -> None:
        """Remove with the next write what an owner who left had; an earlier agent may have written it."""
        self._left[owner] = records
        self._pending.add(owner)

    def hold_back(self, owners: ByOwner) -> None:
        """Write these records, too, as late as may be: before anything says anew who is which peer."""
        self._held_back = owners

    def write_now(self, owners: Collection[Owner]) -> int:
        """Write what these owners have now, in one go and before all else; returns how many records that took.

        Raises:
            MapFull: the records of some owner do not fit, and were not touched.
            MapsError: the kernel refused; what the maps hold is read back with the next :meth:`write`.
        """
        old, new = self._old(owners), self._new(owners)
        stages = Stages(old, new, self._held(old, new), self._rooms)
        count = 0
        with self._writing():
            self._write_held_back()
            for plan in stages:
                count += sum(self._apply(plan))
                self._overtaken |= {(name, key) for name, part in plan.items() for key in (*part.write, *part.remove)}
            count += self._write_node()
        done = frozenset(owners) - stages.refused.keys()
        self._overtake(done, old)
        self._newer |= done
        self._advance(done, new)
        if stages.refused:
            raise next(iter(stages.refused.values()))
        return count

    def write(self) -> Iterator[int]:
        """Bring the maps to the Desired; yields after each piece how many records it had.

        Before every source has synced nothing is removed but what was written since.

        Raises:
            MapFull: the records of some owners do not fit; all else is written.
            MapsError: the kernel refused; what the maps hold is read back with the next call.
        """
        yield from self._adopt() if self._desired.synced and not self._is_known else self._follow()
        if self._refused:
            raise next(iter(self._refused.values()))

    def resync(self) -> Iterator[int]:
        """Read the maps back and put right what someone else changed; yields records put right, piece by piece.

        Raises:
            MapFull, MapsError: as :meth:`write`.
        """
        if self._is_known:
            self._is_known = False
            self._revision.read_again()
            yield from self.write()

    def _begun(self, owner: Owner) -> Records:
        """What a longer write has begun to write for an owner for whom nothing newer was written since."""
        return NOTHING if owner in self._newer else self._under_way.get(owner, NOTHING)

    def _overtake(self, owners: Iterable[Owner], old: ByOwner) -> None:
        """A longer write leaves out what it would still write for these owners, of whom *old* was there.

        In the end it counts that as written, whole.
        """
        for owner in owners:
            begun = self._begun(owner)
            self._overtaken |= {(name, key) for name, packed in begun.items() for key in packed}
            if begun is not NOTHING and self._is_known:
                for records, sign in ((old[owner], 1), (begun, -1)):
                    for name, number in records.counts():
                        if name in self._counts:  # the node's record is none of them
                            self._counts[name] += sign * number

    def _follow(self) -> Iterator[int]:
        """Write what changed."""
        owners = frozenset(self._pending)
        old, new = self._old(owners), self._new(owners)
        stages = Stages(old, new, self._held(old, new), self._rooms)
        self._begin({owner: records for owner, records in new.items() if owner not in stages.refused})
        with self._writing(owners):
            for plan in stages:
                yield from self._apply(plan, self._overtaken)
            yield self._write_node()
        self._refused = stages.refused
        self._advance(owners - self._newer - stages.refused.keys(), new)
        self._pending |= stages.refused.keys() - self._newer
        self._under_way = {}

    def _adopt(self) -> Iterator[int]:
        """Compare all records with what the maps hold."""
        there, wanted = self._actual, self._desired.owners
        owners = {o: wanted[o] for o in there if o in wanted} | dict(wanted)  # those that are there keep their room
        comparison = Comparison(owners, self._tables, self._rooms)
        self._begin(owners)
        self._actual = {owner: records for owner, records in owners.items() if owner not in comparison.refused}
        with self._writing():
            for _ in comparison.read():
                yield 0
            for plan in comparison.plans():
                yield from self._apply(plan, self._overtaken)
            yield self._write_node()
            self._counts = {name: count(table) for name, table in self._tables.items()}
            self._is_known = not self._is_broken
        self._left.clear()
        self._refused = comparison.refused
        self._pending |= comparison.refused.keys() - self._newer
        self._under_way = {}

    def _begin(self, under_way: ByOwner) -> None:
        """A longer write begins: from now on, who is written in between is newer."""
        self._under_way = under_way
        self._pending.clear()
        self._overtaken.clear()
        self._newer.clear()
        self._is_broken = False

    @contextmanager
    def _writing(self, owners: Iterable[Owner] = ()) -> Iterator[None]:
        """What ends the block early leaves maps of which nobody knows what they hold, and *owners* to be written."""
        try:
            yield
        except BaseException:
            self._is_known, self._is_broken = False, True
            self._pending.update(owners)
            raise

    def _old(self, owners: Iterable[Owner]) -> dict[Owner, Records]:
        """What the maps hold of owners; where that is not known, they are asked."""
        if not self._is_known:
            return {owner: self._there(owner) for owner in owners}
        known = {owner: self._actual[owner] for owner in owners if owner in self._actual}
        return known | {owner: self._there(owner) for owner in owners if self._begun(owner) is not NOTHING}

    def _there(self, owner: Owner) -> Records:
        """What is there under an owner's keys: the new ones, and of the old ones those that nobody else has taken.

        Of what a longer write has begun to write for it nobody knows how much is there, or of whom.
        """
        begun = contents((self._begun(owner),))
        known = (self._actual.get(owner), self._left.get(owner), self._begun(owner))
        old = contents(one for one in known if one is not None)
        new = contents((self._desired.owners.get(owner, NOTHING),))
        found: dict[str, dict[bytes, bytes]] = {}
        for name in old.keys() | new.keys():
            spec, table = MAPS[name], self._tables[name]
            before, after, own = old.get(name, {}), new.get(name, {}), begun.get(name, {})
            for key in before.keys() | after.keys():
                value = table.get(spec.key.unpack(key))
                packed = spec.at_rest(spec.value.pack(value)) if value is not None else None
                is_own = key in after or packed == before[key] or (key in own and (name, key) not in self._overtaken)
                if packed is not None and is_own:
                    found.setdefault(name, {})[key] = packed
        return Records.of(found)

    def _new(self, owners: Iterable[Owner]) -> dict[Owner, Records]:
        return {owner: self._desired.owners[owner] for owner in owners if owner in self._desired.owners}

    def _held(self, old: ByOwner, new: ByOwner) -> dict[str, int]:
        """The number of records in the maps that these owners concern."""
        names = {name for records in (*old.values(), *new.values()) for name, _ in records.counts() if name != "node"}
        return {name: self._counts[name] if self._is_known else count(self._tables[name]) for name in names}

    def _apply(self, plan: Plan, overtaken: Container[tuple[str, bytes]] = ()) -> Iterator[int]:
        """Do a plan, but for keys that have been overtaken; yields after each piece how many records it had."""
        try:
            for name in (name for name in ORDER if name in plan):
                if MAPS[name].order >= HELD_BACK_FROM:
                    self._write_held_back()
                left = ((key, value) for key, value in plan[name].write.items() if (name, key) not in overtaken)
                while piece := dict(islice(left, PIECE)):
                    write(self._tables[name], piece)
                    yield len(piece)
            self._write_held_back()
            for name in (name for name in reversed(ORDER) if name in plan):
                gone = (key for key in plan[name].remove if (name, key) not in overtaken)
                while keys := tuple(islice(gone, PIECE)):
                    remove(self._tables[name], keys)
                    yield len(keys)
        finally:
            self._revision.follow(plan)
        if self._is_known:
            self._counts |= {name: self._counts[name] + changes.growth for name, changes in plan.items()}

    def _write_held_back(self) -> None:
        held, self._held_back = self._held_back, {}
        if held:
            for _ in self._apply(plan_of({}, contents(held.values()))):
                pass

    def _write_node(self) -> int:
        """Write the node's record as it is asked for now."""
        found = self._desired.owners.get(self._node)
        if found is not None and (packed := found.of_map("node").get(NODE_KEY)):
            self._revision.want(packed)
        return self._revision.write()

    def _advance(self, owners: Iterable[Owner], new: ByOwner) -> None:
        """The maps hold what these owners have now."""
        for owner in owners:
            if owner in new:
                self._actual[owner] = new[owner]
            else:
                self._actual.pop(owner, None)
            self._pending.discard(owner)
            self._left.pop(owner, None)
