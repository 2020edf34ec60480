"""Reading and writing tables by packed records, many at a time."""

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from maps.table import TableLike

AnyTable = TableLike[Any, Any]


def read(table: AnyTable) -> dict[bytes, bytes]:
    """All entries."""
    key_size, value_size = table.spec.key.SIZE, table.spec.value.SIZE
    found: dict[bytes, bytes] = {}
    for keys, values in table.packed_items():
        found.update(zip(cut(keys, key_size), cut(values, value_size), strict=True))
    return found


def write(table: AnyTable, entries: Mapping[bytes, bytes]) -> None:
    """Write entries, new or in place of old ones."""
    if entries:
        table.update_packed(b"".join(entries), b"".join(entries.values()), len(entries))


def remove(table: AnyTable, keys: Collection[bytes]) -> None:
    """Delete entries; those that are not there are no error."""
    if keys:
        table.delete(table.spec.key.unpack_many(b"".join(keys)))


def pieces(entries: Mapping[bytes, bytes], size: int) -> Iterator[dict[bytes, bytes]]:
    """The entries, *size* at a time."""
    left = iter(entries.items())
    while piece := dict(islice(left, size)):
        yield piece


def cut(data: bytes, size: int) -> list[bytes]:
    """The parts of *size* bytes that stand end to end in *data*."""
    return [data[at : at + size] for at in range(0, len(data), size)]
