"""Flows carried from one generation's table into the next one's, while programs of both are at work."""

from pathlib import Path
from typing import Any, Self

from maps.abi import FlowFlag
from maps.carry import check_alike
from maps.errors import LayoutMismatch
from maps.flow_arrays import buckets_of
from maps.flow_table import FlowTable
from maps.pins import held
from maps.spec import MapSpec

ENDS = FlowFlag.FLOW_FIN_ORIGIN | FlowFlag.FLOW_FIN_REPLY | FlowFlag.FLOW_RESET


class FlowCarry:
    """Both tables, held open: each :meth:`carry` brings what has become of flows since the one before."""

    def __init__(self, old: FlowTable[Any, Any], new: FlowTable[Any, Any], *, is_latest: bool = True) -> None:
        """Take over both tables.

        *is_latest*: of flows that the new table's programs did not begin nobody knows more than the old table.
        """
        self._old, self._new, self._key_size = old, new, old.spec.key.SIZE
        self._write = new.settle_packed if is_latest else new.add_packed

    @classmethod
    def open(cls, spec: MapSpec[Any, Any], source: Path, target: Path, writers: Path, *, is_latest: bool) -> Self:
        """The same of pinned tables; *writers* is the object that writes to one.

        Raises:
            LayoutMismatch: they differ in more than their sizes.
        """
        for one, other in ((source, target), (buckets_of(source), buckets_of(target))):
            if one is None or other is None:
                raise LayoutMismatch(spec.name, "one of both has no buckets")
            with held(one) as old_fd, held(other) as new_fd:
                check_alike(old_fd, new_fd)
        old = FlowTable.open(spec, source)
        try:
            new = FlowTable.open(spec, target)
        except BaseException:
            old.close()
            raise
        new.written_by(writers)
        return cls(old, new, is_latest=is_latest)

    def carry(self, *, ending: bool = True) -> int:
        """Bring flows that have not come before, or of which more is known. Returns how many entries that changed.

        Without those that are *ending*, which another flow may follow under the same key before the next call. What a
        program has taken up to delete never comes: nobody else would delete it.

        Raises:
            MapFull: the new table is.
        """
        without = int(FlowFlag.FLOW_ENDED if ending else FlowFlag.FLOW_ENDED | ENDS)
        news = self._old.packed_news(without)
        return sum(self._write(keys, values, len(keys) // self._key_size) for keys, values in news)

    def close(self) -> None:
        """Close both tables; they live on by their pins."""
        self._old.close()
        self._new.close()
