"""A plan is desired minus actual, and applying it leaves nothing to plan."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maps import abi
from maps.apply import Delete, Update, Write, apply, apply_all
from maps.errors import MapFull
from maps.memory import MemoryTable
from maps.plan import Changes, difference, entries, plan, refuse_overflow

Grouped = dict[str, dict[int, int]]

tables = st.dictionaries(st.integers(0, 30), st.integers(0, 3))


@st.composite
def groupings(draw: st.DrawFn) -> Grouped:
    """A table's records, each key with one owner."""
    grouped: Grouped = {}
    for key, value in draw(tables).items():
        grouped.setdefault(draw(st.sampled_from("abc")), {})[key] = value
    return grouped


def flat(grouped: Grouped) -> dict[int, int]:
    return {key: value for records in grouped.values() for key, value in records.items()}


def applied(changes: Changes[int, int], actual: dict[int, int]) -> dict[int, int]:
    left = {key: value for key, value in actual.items() if key not in changes.delete}
    return left | dict(changes.update)


@given(groupings(), groupings())
def test_a_plan_turns_actual_into_desired(desired: Grouped, actual: Grouped) -> None:
    assert applied(plan(desired, actual), flat(actual)) == flat(desired)


@given(groupings(), groupings())
def test_a_plan_writes_only_what_differs(desired: Grouped, actual: Grouped) -> None:
    changes = plan(desired, actual)
    assert set(changes.delete) == flat(actual).keys() - flat(desired).keys()
    moved = {k for k in flat(desired) if owner_of(k, desired) != owner_of(k, actual)}
    differing = {k for k, v in flat(desired).items() if flat(actual).get(k) != v}
    assert differing <= changes.update.keys() <= differing | moved


def owner_of(key: int, grouped: Grouped) -> str:
    return next((owner for owner, records in grouped.items() if key in records), "")


@given(tables, tables)
def test_whole_tables_differ_by_their_entries(desired: dict[int, int], actual: dict[int, int]) -> None:
    changes = difference(desired, actual)
    assert applied(changes, actual) == desired
    assert bool(changes) == (desired != actual)


def test_an_identical_owner_is_not_looked_at() -> None:
    class Untouchable(dict[int, int]):
        def items(self) -> None:  # type: ignore[override]
            raise AssertionError

    same = Untouchable({1: 1})
    assert plan({"a": same, "b": {2: 2}}, {"a": same}).update == {2: 2}


def test_too_much_is_refused_with_the_flag_to_raise() -> None:
    refuse_overflow("services", 65536, 65536, "--max-services")
    with pytest.raises(MapFull) as full:
        refuse_overflow("services", 65536, 65601, "--max-services")
    assert str(full.value) == "services is full: 65536 entries, 65601 wanted; raise --max-services"


def test_entries_are_counted_over_all_owners() -> None:
    assert entries({"a": {1: 1, 2: 2}, "b": {3: 3}}) == 3


def backends(*numbers: int) -> dict[abi.BackendKey, abi.Backend]:
    return {abi.BackendKey(1, i): abi.Backend(IPv6Address(i), 80, 0) for i in numbers}


def writes(
    table: MemoryTable[abi.BackendKey, abi.Backend], changes: Changes[abi.BackendKey, abi.Backend]
) -> list[Write]:
    return [Update(table, changes), Delete(table, changes)]


def test_after_a_plan_was_applied_the_next_is_empty() -> None:
    table = MemoryTable(abi.BACKENDS)
    table.update(backends(1, 2, 3).items())
    desired = backends(2, 3, 4)
    assert apply_all(writes(table, difference(desired, dict(table.items())))) == 2
    assert not difference(desired, dict(table.items()))


def test_writes_come_in_slices_with_room_between_for_others() -> None:
    table = MemoryTable(abi.BACKENDS)
    steps = apply(writes(table, difference(backends(*range(10)), {})), size=4)
    seen = [(size, table.count()) for size in steps]
    assert seen == [(4, 4), (4, 8), (2, 10)]


def test_a_full_table_exchanges_its_entries_nonetheless() -> None:
    table = MemoryTable(abi.BACKENDS, 4)
    table.update(backends(1, 2, 3, 4).items())
    desired = backends(3, 4, 5, 6)
    apply_all(writes(table, difference(desired, dict(table.items()))))
    assert dict(table.items()) == desired


def test_what_cannot_fit_at_all_is_an_error() -> None:
    table = MemoryTable(abi.BACKENDS, 4)
    with pytest.raises(MapFull):
        apply_all(writes(table, difference(backends(*range(5)), {})))
