"""The node's record, and in it the revision of the node's state by which flows know that they must look again.

It is written after all other maps. A flow that has an older revision asks anew where its ends are and whether its
backend is still there.
"""

from dataclasses import replace

from agent.compile.node import NODE_KEY
from agent.reconcile.plans import Plan
from maps import abi
from maps.abi import MAPS
from maps.apply import AnyTable, write
from maps.spec import Revises

REVISIONS = 1 << 32


class Revision:
    """The record as written last, and whether flows have something to learn from the next."""

    def __init__(self, table: AnyTable) -> None:
        """Read what an earlier agent left.

        Raises:
            MapsError: the kernel refused.
        """
        self._table = table
        self._written = abi.Node.unpack(bytes(abi.Node.SIZE))
        self._wanted: abi.Node | None = None  # None: the record as it is
        self._is_due = True  # an earlier agent may have ended between a removal and its revision
        self.read_again()

    @property
    def number(self) -> int:
        """The revision as last written."""
        return self._written.revision

    def read_again(self) -> None:
        """Take what is in the map for what was written."""
        self._written = self._table.get(0) or self._written

    def want(self, packed: bytes) -> None:
        """Have this record with the next write; its revision counts for nothing."""
        self._wanted = abi.Node.unpack(packed)

    def follow(self, plan: Plan) -> None:
        """Raise the revision with the next write where a plan, done or half done, concerns flows that there are."""
        for name, changes in plan.items():
            revises = MAPS[name].revises
            if revises is Revises.CHANGE or (revises is Revises.REMOVAL and changes.remove):
                self._is_due = True

    def write(self) -> int:
        """Write the record where it differs or flows must look again; returns how many records that took."""
        number = self._written.revision
        wanted = replace(self._wanted or self._written, revision=number)
        if wanted == self._written and not self._is_due:
            return 0
        wanted = replace(wanted, revision=(number + 1) % REVISIONS)
        write(self._table, {NODE_KEY: wanted.pack()})
        self._written, self._is_due = wanted, False
        return 1
