"""The revisions by which flows know that they must look again: the node's, in its record, and the backend sets'.

They are written after all other maps. A flow that has an older one of the node's asks anew where its ends are, and
whether the address that it asked for is still the same service's; one that has an older one of its set's, whether its
backend is still there.
"""

from dataclasses import replace
from struct import Struct

from agent.compile.node import NODE_KEY
from agent.reconcile.plans import Plan
from maps import abi
from maps.abi import MAPS
from maps.apply import AnyTable, write
from maps.spec import Revises

REVISIONS = 1 << 32
_SET_ID = Struct("=I")  # what a backend's key begins with


class Revision:
    """The record as written last, and which flows have something to learn from the next."""

    def __init__(self, table: AnyTable, sets: AnyTable) -> None:
        """Read what an earlier agent left in the node's record, and the sets' revisions.

        Raises:
            MapsError: the kernel refused.
        """
        self._table, self._sets = table, sets
        self._written = abi.Node.unpack(bytes(abi.Node.SIZE))
        self._wanted: abi.Node | None = None  # None: the record as it is
        self._is_due = True  # an earlier agent may have ended between a change and its revision, of a set's too
        self._due: set[int] = set()  # the sets' whose revisions are
        self._numbers: dict[int, int] = {}
        self.read_again()

    @property
    def number(self) -> int:
        """The node's revision as last written."""
        return self._written.revision

    def read_again(self) -> None:
        """Take what is in the maps for what was written."""
        self._written = self._table.get(0) or self._written
        self._numbers = {index: found.number for index, found in self._sets.items()}

    def want(self, packed: bytes) -> None:
        """Have this record with the next write; its revision counts for nothing."""
        self._wanted = abi.Node.unpack(packed)

    def follow(self, plan: Plan) -> None:
        """Raise revisions with the next write where a plan, done or half done, concerns flows that there are."""
        for name, changes in plan.items():
            match MAPS[name].revises:
                case Revises.CHANGE:
                    self._is_due = True
                case Revises.KEYS:
                    self._is_due |= bool(changes.new or changes.moved or changes.remove)
                case Revises.SET:
                    self._due |= {_SET_ID.unpack_from(key)[0] % self._sets.max_entries for key in changes.remove}
                case Revises.NEVER:
                    pass

    def write(self) -> int:
        """Write the record where it differs or flows must look again; returns how many records that took."""
        sets = self._write_sets()
        number = self._written.revision
        wanted = replace(self._wanted or self._written, revision=number)
        if wanted == self._written and not self._is_due:
            return sets
        wanted = replace(wanted, revision=(number + 1) % REVISIONS)
        write(self._table, {NODE_KEY: wanted.pack()})
        self._written, self._is_due = wanted, False
        return sets + 1

    def _write_sets(self) -> int:
        """Raise the revisions of sets that have lost a backend; returns how many."""
        if not self._due:
            return 0
        raised = {index: (self._numbers.get(index, 0) + 1) % REVISIONS for index in self._due}
        pack = abi.SET_REVISIONS.key.pack
        write(self._sets, {pack(index): abi.SetRevision(number).pack() for index, number in raised.items()})
        self._numbers |= raised
        self._due.clear()
        return len(raised)
