"""A backend set's lookup tables: one below 257 backends, more (a power of two) above, so that shares stay even.

The tables follow from addresses and ports alone, so every node sends a flow to the same backend.
"""

from collections.abc import Mapping
from zlib import crc32

from agent.compile.ids import BackendName
from maps import maglev

PART_BACKENDS = 256  # MAGLEV_SLOTS is about four times this: shares differ by a quarter at most


def tables(slots: Mapping[BackendName, int]) -> tuple[bytes, ...]:
    """One table per part, in the order of parts; none for an empty set."""
    if not slots:
        return ()
    names = sorted(slots)
    if len(names) <= PART_BACKENDS:
        return (maglev.fill(names, [slots[name] for name in names]),)
    return tuple(maglev.fill(part, [slots[name] for name in part]) for part in parts(names))


def parts(names: list[BackendName]) -> list[list[BackendName]]:
    """The backends dealt out by a hash of their own; never an empty part, which would lose its flows."""
    count = 1 << ((len(names) - 1) // PART_BACKENDS).bit_length()
    while True:
        dealt: list[list[BackendName]] = [[] for _ in range(count)]
        for address, port in names:
            dealt[crc32(address + port.to_bytes(2, "big")) & (count - 1)].append((address, port))
        if all(dealt):
            return dealt
        count //= 2
