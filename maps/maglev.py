"""Which backend serves which hash: one Maglev lookup table, filled in C (maps/shim_maglev.c).

The table comes from the backends' addresses and ports alone, so every node fills the same one, in whatever order it
knows them. Parting a large set over several tables is the compiler's business.
"""

from array import array
from collections.abc import Sequence
from ipaddress import IPv6Address

from maps._libbpf import ffi, lib
from maps.abi import MAGLEV_SLOTS

KEY_BYTES = 18  # address and port, in network order


def key(address: IPv6Address | bytes, port: int) -> bytes:
    """A backend's identity, as :func:`fill_packed` wants it; IPv4 as ``::ffff:a.b.c.d``."""
    packed = address if isinstance(address, bytes) else address.packed
    return packed + port.to_bytes(2, "big")


def fill(backends: Sequence[tuple[IPv6Address | bytes, int]], slots: Sequence[int]) -> bytes:
    """The table, MAGLEV_SLOTS u16 in the machine's order: entry ``i`` is the slot of the backend that serves it.

    ``slots[i]`` is the number that stands for ``backends[i]``.

    Raises:
        ValueError: there is no backend, or there are more than entries.

    Source: Eisenbud et al., Maglev, NSDI 2016, section 3.4.
    """
    return fill_packed(b"".join([key(address, port) for address, port in backends]), slots)


def fill_packed(keys: bytes, slots: Sequence[int]) -> bytes:
    """As :func:`fill`, from the backends' keys end to end: for those who keep them."""
    n = len(slots)
    if not 1 <= n <= MAGLEV_SLOTS or len(keys) != n * KEY_BYTES:
        raise ValueError(f"{len(keys) / KEY_BYTES:g} backends, {n} slots: 1 to {MAGLEV_SLOTS} of each are wanted")
    numbers = ffi.from_buffer("uint16_t[]", array("H", slots))
    table = ffi.new("uint16_t[]", MAGLEV_SLOTS)
    if lib.shim_maglev(ffi.from_buffer("uint8_t[]", keys), numbers, n, table, MAGLEV_SLOTS):
        raise MemoryError
    return bytes(ffi.buffer(table))
