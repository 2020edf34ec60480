"""Which backend of a set serves which hash: the set's lookup tables, filled in C (maps/shim_maglev.c).

The tables come from the backends' addresses and ports alone, so every node fills the same ones, in whatever order it
knows them.
"""

from array import array
from collections.abc import Collection
from ipaddress import IPv6Address
from math import gcd

from maps._libbpf import ffi, lib
from maps.abi import MAGLEV_SLOTS

MOST_BACKENDS = 0xFFFF  # struct service counts them in 16 bits
PART_BYTES = 2 * MAGLEV_SLOTS
KEY_BYTES = 18  # of a backend: its address and its port, as packets have them
MOST_SHARES = 256  # of backends that weigh differently, all together, or SHARES_EACH for each: bounds the tables
SHARES_EACH = 4


def tables(
    backends: Collection[tuple[IPv6Address | bytes, int]], slots: Collection[int], weights: Collection[int] = ()
) -> tuple[bytes, ...]:
    """The tables, one per part in the order of parts: one for up to 10 backends, a power of two for more.

    ``weights`` has how much each of *backends* weighs, 1 or more; all the same where it is empty. One that weighs three
    times as much as another claims as three backends do; where all claims together are more than MOST_SHARES and more
    than SHARES_EACH for each backend, they are scaled down to so many. Weights count in their lowest terms: a change
    that gives all of them other ones moves most flows to come.

    A table is MAGLEV_SLOTS u16 in the machine's order, each the slot of the backend that serves an equal share of the
    flows. ``slots`` has the number that stands for each of *backends*; an IPv4 address is ``::ffff:a.b.c.d``.

    A backend that comes or goes moves about its own share of the flows, whatever the number of parts is then: at most
    twice its share and half a per cent, in all that was measured from 1 to 2,000 backends. Up to 5,120 backends the
    busiest and the idlest are within a tenth of the mean, or with one set in ten thousand half a per cent more.

    Raises:
        ValueError: more than 65,535 backends, or not as many slots or weights.

    Source: maps/shim_maglev.c names the papers; docs/decisions/0027-maglev.md has the measurements.
    """
    keys = b"".join([_packed(address) + port.to_bytes(2, "big") for address, port in backends])
    whole = filled(keys, array("H", slots).tobytes(), weights)
    return tuple(whole[start : start + PART_BYTES] for start in range(0, len(whole), PART_BYTES))


def filled(keys: bytes, slots: bytes, weights: Collection[int] = ()) -> bytes:
    """As :func:`tables`, its parts end to end: *keys* have KEY_BYTES each, address and port, and *slots* are u16."""
    n = len(slots) // 2
    if n * KEY_BYTES != len(keys) or n > MOST_BACKENDS or len(weights) not in {0, n}:
        counts = f"{len(keys) // KEY_BYTES} backends, {n} slots, {len(weights)} weights"
        raise ValueError(f"{counts}: at most {MOST_BACKENDS} of each are wanted")
    if not n:
        return b""
    shares = scaled(weights, min(max(MOST_SHARES, SHARES_EACH * n), MOST_BACKENDS)) if weights else (1,) * n
    parts = lib.shim_maglev_parts(sum(shares))
    made = ffi.new("uint16_t[]", parts * MAGLEV_SLOTS)
    numbers = ffi.from_buffer("uint16_t[]", slots)
    claims = ffi.from_buffer("uint16_t[]", array("H", shares))
    if lib.shim_maglev(ffi.from_buffer("uint8_t[]", keys), numbers, claims, n, made, MAGLEV_SLOTS):
        raise MemoryError
    return bytes(ffi.buffer(made))


def most_parts(backends: int, heaviest: int = 1) -> int:
    """How many tables a set of so many backends has at most, of which none weighs more than *heaviest*."""
    if not backends:
        return 0
    claims = min(backends * heaviest, max(MOST_SHARES, SHARES_EACH * backends) + backends, 2 * MOST_BACKENDS)
    return int(lib.shim_maglev_parts(claims))


def scaled(weights: Collection[int], most: int) -> tuple[int, ...]:
    """Weights in their lowest terms, exactly; where these are more than *most* together, near it, and none below 1."""
    least = gcd(*weights) or 1
    reduced = tuple(weight // least for weight in weights)
    whole = sum(reduced)
    if whole <= most:
        return reduced
    return tuple(max(1, weight * most // whole) for weight in reduced)


def _packed(address: IPv6Address | bytes) -> bytes:
    return address if isinstance(address, bytes) else address.packed
