"""A policy's counters begin at zero, and go on while it has its number."""

from dataclasses import replace

from agent.compile.desired import Desired
from agent.compile.policy_ids import Numbers
from agent.kernel.policy_counters import PolicyCountersPart
from maps import abi
from maps.memory import MemoryTable
from tests.dpctl import node as cast

SEVEN = abi.PolicyCounter(7, 7, 7)


def with_numbers(**numbers: int) -> Desired:
    found = cast.compiled()
    ids = replace(found.policies.ids, policies=Numbers(1, 9, numbers))
    return replace(found, policies=replace(found.policies, ids=ids))


def test_a_number_that_is_another_policy_s_now_counts_from_zero() -> None:
    names, counters = MemoryTable(abi.POLICIES), MemoryTable(abi.POLICY_COUNTERS)
    names.update([(1, abi.PolicyName("kept")), (2, abi.PolicyName("gone"))])
    counters.update((at, SEVEN) for at in range(2, 8))
    part = PolicyCountersPart(names, counters)

    def zeros(desired: Desired) -> list[int]:
        (*_,) = part.apply(part.wanted(desired) or {})
        return [at for at in range(2, 8) if (found := counters.get(at)) is None or not found.accepted]

    assert zeros(with_numbers(kept=1, new=2)) == [4, 5], "an earlier agent's"
    counters.update((at, SEVEN) for at in (4, 5))
    assert zeros(with_numbers(kept=1, new=2)) == []
    assert zeros(with_numbers(kept=1, newer=2, more=3)) == [4, 5, 6, 7], "this agent's"


def test_nothing_is_zeroed_while_policies_are_not_known() -> None:
    part = PolicyCountersPart(MemoryTable(abi.POLICIES), MemoryTable(abi.POLICY_COUNTERS))
    found = with_numbers(kept=1)
    assert part.wanted(replace(found, policies=replace(found.policies, is_known=False))) is None
