"""A backend set's tables once more, slowly: what maps/shim_maglev.c must come to, from its description alone."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor

from maps.abi import MAGLEV_SLOTS

WORD = (1 << 64) - 1
Name = tuple[bytes, int, int]  # address, port, and which of its claims it is where it weighs more than one


def tables(backends: dict[tuple[bytes, int], int], weights: Sequence[int] = ()) -> list[list[int]]:
    """The slot at each place of each part."""
    shares = weights or [1] * len(backends)
    slots = {
        (*backend, turn): slot
        for (backend, slot), share in zip(backends.items(), shares, strict=True)
        for turn in range(share)
    }
    parts = next((p for p in (1 << k for k in range(9)) if p * 10 >= len(slots)), 512)
    cell_at = cells(parts, len(slots))
    owners = given_out(sorted(slots, key=hashed), sorted(set(cell_at.values())), cell_at)
    return [[slots[owners[cell_at[part, i]]] for i in range(MAGLEV_SLOTS)] for part in range(parts)]


def cells(parts: int, backends: int) -> dict[tuple[int, int], tuple[tuple[int, int], ...]]:
    """The places, (part, index), that are given out together with each place: itself, or also its twin."""
    half = parts // 2
    places = [(part, index) for part in range(parts) for index in range(MAGLEV_SLOTS)]
    if not half:
        return {place: (place,) for place in places}
    grown = min(Fraction(backends, 10 * half) - 1, Fraction(1))  # since all cells of half the parts were one slot
    split = floor(half * MAGLEV_SLOTS * grown * (4 - grown) / 3)
    return {
        (part, index): ((part, index),)
        if (part % half) * MAGLEV_SLOTS + index < split
        else ((part % half, index), (part % half + half, index))
        for part, index in places
    }


def given_out(
    names: list[Name],
    free: list[tuple[tuple[int, int], ...]],
    cell_at: dict[tuple[int, int], tuple[tuple[int, int], ...]],
) -> dict[tuple[tuple[int, int], ...], Name]:
    """The owner of each cell: the first to claim it, and of the last cells the one with the highest weight there."""
    size, n = len(cell_at), len(names)
    parts = size // MAGLEV_SLOTS
    room = Fraction(max(size // 12, n), n)
    most, least = floor(Fraction(size, n) + room), ceil(Fraction(size, n) - room)
    held, state = dict.fromkeys(names, 0), {name: hashed(name) for name in names}
    owners: dict[tuple[tuple[int, int], ...], Name] = {}
    left = size
    while left > Fraction(size, 8 * n):
        due = ceil(Fraction(size, n) - room - Fraction(3 * left, n))
        for name in names:
            tries = 0
            while left and held[name] < most and (tries == 0 or held[name] < due):
                tries += 1
                state[name] = (state[name] * 6364136223846793005 + 1442695040888963407) & WORD
                flow = state[name] >> 32
                cell = cell_at[flow % parts, flow * MAGLEV_SLOTS >> 32]
                if cell not in owners:
                    owners[cell] = name
                    held[name] += len(cell)
                    left -= len(cell)
    for cell in free:
        if cell not in owners:
            part, index = cell[0]
            place = mixed(part * MAGLEV_SLOTS + index)
            name = max(
                (name for name in names if held[name] < most),
                key=lambda name: (held[name] < least, mixed(hashed(name) ^ place) >> 1),
            )
            owners[cell] = name
            held[name] += len(cell)
    return owners


def mixed(x: int) -> int:
    """Finalizer of splitmix64."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB & WORD
    return x ^ x >> 31


def hashed(name: Name) -> int:
    """A backend's hash, from its address and port in network order."""
    address, port, turn = name
    first, second = (int.from_bytes(address[at : at + 8]) for at in (0, 8))
    found = mixed(mixed(mixed((first + 0x9E3779B97F4A7C15) & WORD) ^ second) ^ port)
    return mixed(found ^ mixed(turn)) if turn else found
