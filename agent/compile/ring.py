"""A backend set as a ring, in which the datapath takes turns or looks for who has least."""

from array import array
from collections.abc import Sequence
from itertools import cycle, islice
from math import ceil

from maps import abi
from maps.maglev import scaled

MOST_PLACES = (
    65536  # 256 KiB of a set; larger rings are scaled down, so that their shares are right but for a few in a thousand
)


def turns(weights: Sequence[int]) -> list[int]:
    """Indices of *weights* in the order of their turns: each as often as its weight says, and as evenly spread.

    The k-th of w turns comes at (k + 1/2) / w of the round, and those that come at once in the order of *weights*: with
    equal weights one after the other. Equal quotients are equal as floats, which are rounded correctly.
    """
    shares = scaled(weights, MOST_PLACES)
    order = sorted(((2 * k + 1) / share, i) for i, share in enumerate(shares) for k in range(share))
    return [index for _, index in order]


def most_parts(backends: int, heaviest: int = 1) -> int:
    """How many values the ring of so many backends has at most, of which none weighs more than *heaviest*."""
    return ceil(min(backends * heaviest, MOST_PLACES + backends) / abi.RING_PLACES)


def ring_values(slots: Sequence[int], weights: Sequence[int]) -> list[bytes]:
    """The values of ``rings``, part by part, of a ring with these places; a part is filled up from the ring's start."""
    if not slots:
        return []
    places, length = abi.RING_PLACES, len(slots)
    parts = ceil(length / places)
    columns = [array("H", islice(cycle(column), parts * places)).tobytes() for column in (slots, weights)]
    steps = range(0, 2 * parts * places, 2 * places)
    return [abi.Ring(length, *(column[at : at + 2 * places] for column in columns)).pack() for at in steps]
