"""Packed records into tables and out of them, many in one call, with pauses between calls for whoever asks.

The caller states the order of tables: what is referred to is written before what refers to it, and removed after.
Stopped half way, that order still holds; what was not written is in the next plan again.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
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


def writing(table: AnyTable, entries: Packed, most: int) -> Iterator[int]:
    """Write entries, at most *most* in a call; yields after each call how many it had. Raises as :func:`write`."""
    left = iter(entries.items())
    while piece := dict(islice(left, most)):
        write(table, piece)
        yield len(piece)


def removing(table: AnyTable, keys: Sequence[bytes], most: int) -> Iterator[int]:
    """Remove entries, at most *most* in a call; yields after each call how many it had. Raises as :func:`remove`."""
    for at in range(0, len(keys), most):
        piece = keys[at : at + most]
        remove(table, piece)
        yield len(piece)
