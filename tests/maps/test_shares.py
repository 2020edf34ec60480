"""What a share says of who has it now."""

import pytest

from maps import abi
from maps.shares import NOBODYS, Held, held, open_now

NOW_S = 5000
NOW_NS = NOW_S << abi.SEEN_BITS
UNIT_S = (1 << abi.SEEN_BITS) / 1e9


def share(refused: int, refused_s: int, holder: int, portless: int = 0) -> abi.Share:
    return abi.Share(abi.Load(8, 5, 7), 0, refused, portless, refused_s, holder)


def test_a_number_is_that_of_the_run_or_of_the_one_before() -> None:
    load = abi.Load(5, 3, 7)
    assert [open_now(load, run) for run in (7, 8, 9, 6)] == [5, 3, 0, 0]
    assert open_now(abi.Load(5, 3, 2**32 - 1), 0) == 3


@pytest.mark.parametrize(
    ("given", "revision", "expected"),
    [
        pytest.param(share(0, 0, 0), 100, Held(8, 0, 0, None), id="nothing was refused"),
        pytest.param(share(3, NOW_S - 2, 100), 100, Held(8, 3, 0, 2 * UNIT_S), id="to the pod that is there"),
        pytest.param(share(3, NOW_S - 2, 100, 4), 103, Held(8, 3, 4, 2 * UNIT_S), id="whose policy has changed since"),
        pytest.param(share(3, NOW_S - 2, 100), 1 << 20, Held(8, 0, 0, None), id="to one that had the slot before"),
        pytest.param(share(3, NOW_S + 1, 0), 0, Held(8, 3, 0, 0.0), id="while this was read"),
    ],
)
def test_what_was_refused_is_whose_it_was(given: abi.Share, revision: int, expected: Held) -> None:
    assert held(given, 7, revision, NOW_NS) == expected


def test_a_slot_without_a_share_has_nothing() -> None:
    assert held(NOBODYS, 3, 9, NOW_NS) == Held(0, 0, 0, None)
