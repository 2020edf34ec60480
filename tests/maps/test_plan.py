"""The difference of two contents turns one into the other, and applying it leaves none."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maps import abi
from maps.apply import read, remove, write
from maps.errors import MapFull
from maps.memory import MemoryTable
from maps.plan import Changes, difference
from maps.record import Packed, cut

contents = st.dictionaries(st.binary(min_size=1, max_size=1), st.binary(max_size=1))


def backends(*numbers: int) -> dict[bytes, bytes]:
    return {abi.BackendKey(1, i).pack(): abi.Backend(IPv6Address(i), 80, 0, 1).pack() for i in numbers}


def table_with(entries: Packed, room: int = 64) -> MemoryTable[abi.BackendKey, abi.Backend]:
    table = MemoryTable(abi.BACKENDS, room)
    write(table, entries)
    return table


@given(contents, contents)
def test_the_difference_turns_actual_into_desired(desired: Packed, actual: Packed) -> None:
    changes = difference(desired, actual)
    left = {key: value for key, value in actual.items() if key not in changes.remove}
    assert left | dict(changes.write) == desired


@given(contents, contents)
def test_the_difference_writes_only_what_differs(desired: Packed, actual: Packed) -> None:
    changes = difference(desired, actual)
    assert changes.write.items() == desired.items() - actual.items()
    assert set(changes.remove) == actual.keys() - desired.keys()
    assert bool(changes) == (desired != actual)


@given(contents, contents)
def test_the_difference_knows_how_much_room_it_takes(desired: Packed, actual: Packed) -> None:
    changes = difference(desired, actual)
    assert len(actual) + changes.new == len(actual.keys() | desired.keys())
    assert len(actual) + changes.growth == len(desired)


def test_a_full_map_names_the_flag_to_raise() -> None:
    full = MapFull("services", 65536, 65601, "--max-services")
    assert str(full) == "services is full: 65536 entries, 65601 wanted; raise --max-services"


def test_after_the_difference_was_applied_there_is_none() -> None:
    table = table_with(backends(1, 2, 3))
    changes = difference(backends(2, 3, 4), read(table))
    write(table, changes.write)
    remove(table, changes.remove)
    assert difference(backends(2, 3, 4), read(table)) == Changes()


def test_what_does_not_fit_is_an_error_of_the_table() -> None:
    with pytest.raises(MapFull):
        write(table_with({}, room=4), backends(*range(5)))


def test_records_end_to_end_are_cut_apart() -> None:
    assert cut(b"aabbcc", 2) == [b"aa", b"bb", b"cc"]
