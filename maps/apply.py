"""Packed records into tables and out of them, many in one call; the caller decides which table comes first."""

from collections.abc import Sequence
from typing import Any

from maps.record import Packed, cut
from maps.table import TableLike

AnyTable = TableLike[Any, Any]


def read(table: AnyTable) -> dict[bytes, bytes]:
    """All entries; of an array those that are not zeros."""
    spec, key_size, value_size = table.spec, table.spec.key.SIZE, table.spec.value.SIZE
    zeros = bytes(value_size)
    found: dict[bytes, bytes] = {}
    for keys, values in table.packed_items():
        entries = zip(cut(keys, key_size), cut(values, value_size), strict=True)
        if spec.kind.is_array:
            found.update((key, value) for key, value in entries if value != zeros and any(spec.at_rest(value)))
        else:
            found.update(entries)
    return found


def count(table: AnyTable) -> int:
    """How many entries take room: none of an array, which has room for all its indices."""
    return 0 if table.spec.kind.is_array else table.count()


def write(table: AnyTable, entries: Packed) -> None:
    """Write entries, new or in place of old ones, in one call.

    Raises:
        MapsError: the kernel refused; those before the failing one are written.
    """
    table.update_packed(b"".join(entries), b"".join(entries.values()), len(entries))


def remove(table: AnyTable, keys: Sequence[bytes]) -> None:
    """Remove entries in one call; those that are not there are no error. An array has zeros there afterwards.

    Raises:
        MapsError: the kernel refused; those before the failing one are removed.
    """
    if table.spec.kind.is_array:
        write(table, dict.fromkeys(keys, bytes(table.spec.value.SIZE)))
        return
    table.delete_packed(b"".join(keys), len(keys))
