"""Numbers stay while what they stand for does, are given again last of all, and outlive the agent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.compile.policy_ids import LAST_LIST, Numbers, PolicyIds, recovered
from maps import abi


def numbers(first: int, last: int) -> Numbers[str]:
    return Numbers(first, last)


def test_what_stays_keeps_its_number_and_what_comes_gets_the_next() -> None:
    one = numbers(1, 100).of(["a", "b"])
    two = one.of(["b", "c"])
    assert (dict(one.known), dict(two.known)) == ({"a": 1, "b": 2}, {"b": 2, "c": 3})


def test_nothing_new_is_the_identical_value() -> None:
    one = numbers(1, 100).of(["a", "b"])
    assert one.of(["b", "a"]) is one


def test_a_number_that_became_free_is_given_after_all_the_others() -> None:
    found = numbers(1, 4).of(["a", "b"]).of(["b"])
    assert found.of(["b", "c"]).known["c"] == 3
    found = found.of(["b", "c"]).of(["b", "c", "d"])
    assert found.known["d"] == 4
    assert found.of(["b", "c", "d", "e"]).known["e"] == 1, "the others are taken"


def test_a_number_is_not_given_in_the_change_that_frees_it_unless_there_is_no_other() -> None:
    found = numbers(1, 3).of(["a", "b"])
    assert found.of(["b", "c"]).known["c"] == 3
    assert numbers(1, 2).of(["a", "b"]).of(["b", "c"]).known == {"b": 2, "c": 1}


def test_more_than_there_are_numbers_is_an_error() -> None:
    with pytest.raises(OverflowError, match="3 numbers wanted, 2 there are"):
        numbers(1, 2).of(["a", "b", "c"])


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=6), max_size=12))
def test_no_two_have_one_number_and_each_keeps_its_own(changes: list[set[str]]) -> None:
    found = numbers(3, 9)
    for names in changes:
        before, found = found, found.of(sorted(names))
        assert found.known.keys() == names
        assert len(set(found.known.values())) == len(names)
        assert all(3 <= number <= 9 for number in found.known.values())
        assert all(found.known[name] == number for name, number in before.known.items() if name in names)


def test_lists_of_ports_get_new_numbers_and_begin_again_at_the_end() -> None:
    first, ids = PolicyIds().lists(3)
    assert (first, ids.next_list) == (1, 4)
    assert ids.lists(0) == (4, ids)
    assert PolicyIds(next_list=LAST_LIST - 1).lists(2)[0] == 1


def test_what_the_maps_hold_is_recovered() -> None:
    digest = bytes(range(16))
    pack = abi.POLICIES.key.pack
    found = recovered(
        {pack(5): abi.PolicyName("NetworkPolicy x/p").pack(), pack(2): abi.PolicyName("NetworkPolicy x/q").pack()},
        {pack(7): abi.PolicyDigest(digest).pack()},
        {pack(9): abi.PolicyDigest(digest).pack()},
        [abi.PortVerdictKey(64, 4, 6, 80).pack()],
    )
    assert dict(found.policies.known) == {"NetworkPolicy x/p": 5, "NetworkPolicy x/q": 2}
    assert (dict(found.sets.known), dict(found.classes.known)) == ({digest: 7}, {digest: 9})
    assert found.next_list == 5
    assert found.policies.of([*found.policies.known, "NetworkPolicy x/r"]).known["NetworkPolicy x/r"] == 6
    assert found.sets.of([digest, b"new"]).known[b"new"] == 8


def test_empty_maps_begin_at_the_first_numbers() -> None:
    found = recovered({}, {}, {}, [])
    assert found.sets.of([b"one"]).known[b"one"] == abi.RULES_FIRST
    assert found.classes.of([b"one"]).known[b"one"] == 1, "0 is everybody's"
    assert found.policies.of(["one"]).known["one"] == 1, "0 is nobody's"
    assert found.next_list == 1
