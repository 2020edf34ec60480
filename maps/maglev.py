"""Which backend of a set serves which hash: the set's lookup tables, filled in C (maps/shim_maglev.c).

The tables come from the backends' addresses and ports alone, so every node fills the same ones, in whatever order it
knows them.
"""

from array import array
from collections.abc import Collection
from ipaddress import IPv6Address

from maps._libbpf import ffi, lib
from maps.abi import MAGLEV_SLOTS

MOST_BACKENDS = 0xFFFF  # struct service counts them in 16 bits
PART_BYTES = 2 * MAGLEV_SLOTS


def tables(backends: Collection[tuple[IPv6Address | bytes, int]], slots: Collection[int]) -> tuple[bytes, ...]:
    """The tables, one per part in the order of parts: one for up to 10 backends, a power of two for more.

    A table is MAGLEV_SLOTS u16 in the machine's order, each the slot of the backend that serves an equal share of the
    flows. ``slots`` has the number that stands for each of *backends*; an IPv4 address is ``::ffff:a.b.c.d``.

    A backend that comes or goes moves about its own share of the flows, whatever the number of parts is then: at most
    twice its share and half a per cent, in all that was measured from 1 to 2,000 backends. Up to 5,120 backends the
    busiest and the idlest are within a tenth of the mean.

    Raises:
        ValueError: more than 65,535 backends, or not as many slots.

    Source: maps/shim_maglev.c names the papers; docs/decisions/0027-maglev.md has the measurements.
    """
    n = len(slots)
    if n != len(backends) or n > MOST_BACKENDS:
        raise ValueError(f"{len(backends)} backends, {n} slots: at most {MOST_BACKENDS} of each are wanted")
    if not n:
        return ()
    keys = b"".join([_packed(address) + port.to_bytes(2, "big") for address, port in backends])
    parts = lib.shim_maglev_parts(n)
    made = ffi.new("uint16_t[]", parts * MAGLEV_SLOTS)
    numbers = ffi.from_buffer("uint16_t[]", array("H", slots))
    if lib.shim_maglev(ffi.from_buffer("uint8_t[]", keys), numbers, n, made, MAGLEV_SLOTS):
        raise MemoryError
    whole = bytes(ffi.buffer(made))
    return tuple(whole[start : start + PART_BYTES] for start in range(0, len(whole), PART_BYTES))


def _packed(address: IPv6Address | bytes) -> bytes:
    return address if isinstance(address, bytes) else address.packed
