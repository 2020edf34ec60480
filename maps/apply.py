"""Packed records into tables and out of them, many in one call; the caller decides which table comes first."""

from collections.abc import Sequence
from typing import Any

from maps.record import Packed, cut
from maps.table import TableLike

AnyTable = TableLike[Any, Any]


def read(table: AnyTable) -> dict[bytes, bytes]:
    """All entries."""
    key_size, value_size = table.spec.key.SIZE, table.spec.value.SIZE
    found: dict[bytes, bytes] = {}
    for keys, values in table.packed_items():
        found.update(zip(cut(keys, key_size), cut(values, value_size), strict=True))
    return found


def write(table: AnyTable, entries: Packed) -> None:
    """Write entries, new or in place of old ones, in one call.

    Raises:
        MapsError: the kernel refused; those before the failing one are written.
    """
    table.update_packed(b"".join(entries), b"".join(entries.values()), len(entries))


def remove(table: AnyTable, keys: Sequence[bytes]) -> None:
    """Remove entries in one call; those that are not there are no error.

    Raises:
        MapsError: the kernel refused; those before the failing one are removed.
    """
    table.delete_packed(b"".join(keys), len(keys))
