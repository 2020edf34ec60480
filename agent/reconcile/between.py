"""The maps of what lies between nodes: remotes, and the prefixes that are behind them or meet pods unmasqueraded."""

from agent.compile.records import BetweenRecords
from agent.reconcile.kernel import Tables
from agent.reconcile.order import FLAGS
from maps.apply import AnyTable, read, remove, write
from maps.plan import Changes, difference, refuse_overflow
from maps.record import Packed


class BetweenMaps:
    """What these maps hold, and the writing of it."""

    def __init__(self, tables: Tables) -> None:
        """Read back what is there.

        Raises:
            MapsError: the kernel refused.
        """
        self._tables = tables
        self._remotes: Packed = {}
        self._prefixes: Packed = {}
        self.read_again()

    def read_again(self) -> None:
        """Take what is in the maps for what was written."""
        self._remotes, self._prefixes = read(self._tables.remotes), read(self._tables.prefixes)

    def write(self, wanted: BetweenRecords) -> int:
        """Make the maps equal to *wanted*; returns how many records that took. Flows do not know of it yet.

        Raises:
            MapFull: one of the maps has no room; nothing was written.
            MapsError: the kernel refused; the next call writes again what may be missing.
        """
        if wanted.remotes is self._remotes and wanted.prefixes is self._prefixes:
            return 0
        remotes = _changes(self._tables.remotes, wanted.remotes, self._remotes)
        prefixes = _changes(self._tables.prefixes, wanted.prefixes, self._prefixes)
        try:
            # a prefix names a remote
            write(self._tables.remotes, remotes.write)
            write(self._tables.prefixes, prefixes.write)
            remove(self._tables.prefixes, prefixes.remove)
            remove(self._tables.remotes, remotes.remove)
        except BaseException:
            self.read_again()
            raise
        self._remotes, self._prefixes = wanted.remotes, wanted.prefixes
        return len(remotes) + len(prefixes)


def _changes(table: AnyTable, wanted: Packed, held: Packed) -> Changes:
    """The plan for one map; new records come before old ones go."""
    changes = difference(wanted, held)
    refuse_overflow(table.spec.name, table.max_entries, len(held) + changes.new, FLAGS[table.spec.name])
    return changes
