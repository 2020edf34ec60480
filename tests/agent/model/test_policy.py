"""Label selectors, as Kubernetes' documentation has them, and what a policy says of a direction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.name import ObjectName
from agent.model.policy import Direction, Operator, PodPeer, Policy, Requirement, Rule, Selector


@pytest.mark.parametrize(
    ("requirement", "labels", "is_met"),
    [
        pytest.param(Requirement("a", Operator.IN, frozenset("xy")), {"a": "x"}, True, id="In: one of the values"),
        pytest.param(Requirement("a", Operator.IN, frozenset("xy")), {"a": "z"}, False, id="In: none of them"),
        pytest.param(Requirement("a", Operator.IN, frozenset("xy")), {"b": "x"}, False, id="In: no such label"),
        pytest.param(Requirement("a", Operator.IN, frozenset([""])), {"a": ""}, True, id="In: an empty value"),
        pytest.param(Requirement("a", Operator.IN, frozenset([""])), {}, False, id="In: an empty value is not none"),
        pytest.param(Requirement("a", Operator.NOT_IN, frozenset("xy")), {"a": "z"}, True, id="NotIn: another value"),
        pytest.param(Requirement("a", Operator.NOT_IN, frozenset("xy")), {"a": "x"}, False, id="NotIn: one of them"),
        pytest.param(Requirement("a", Operator.NOT_IN, frozenset("xy")), {"b": "x"}, True, id="NotIn: no such label"),
        pytest.param(Requirement("a", Operator.EXISTS), {"a": ""}, True, id="Exists: whatever the value"),
        pytest.param(Requirement("a", Operator.EXISTS), {"b": "x"}, False, id="Exists: no such label"),
        pytest.param(Requirement("a", Operator.DOES_NOT_EXIST), {"a": ""}, False, id="DoesNotExist: it is there"),
        pytest.param(Requirement("a", Operator.DOES_NOT_EXIST), {"b": "x"}, True, id="DoesNotExist: it is not"),
    ],
)
def test_a_requirement_is_met(requirement: Requirement, labels: dict[str, str], is_met: bool) -> None:  # noqa: FBT001
    assert requirement.is_met(labels) is is_met


KEYS = st.sampled_from("abc")
LABELS = st.dictionaries(KEYS, st.sampled_from("xyz"))
REQUIREMENTS = st.builds(
    Requirement, KEYS, st.sampled_from(Operator), st.frozensets(st.sampled_from("xyz"), min_size=1)
)
OPPOSITES = {
    Operator.IN: Operator.NOT_IN,
    Operator.NOT_IN: Operator.IN,
    Operator.EXISTS: Operator.DOES_NOT_EXIST,
    Operator.DOES_NOT_EXIST: Operator.EXISTS,
}


@given(REQUIREMENTS, LABELS)
def test_of_a_requirement_and_its_opposite_one_is_met(requirement: Requirement, labels: dict[str, str]) -> None:
    opposite = Requirement(requirement.key, OPPOSITES[requirement.operator], requirement.values)
    assert requirement.is_met(labels) is not opposite.is_met(labels)


@given(st.lists(REQUIREMENTS, max_size=4), LABELS)
def test_a_selector_asks_for_all_its_requirements(found: list[Requirement], labels: dict[str, str]) -> None:
    each = [Selector((requirement,)).selects(labels) for requirement in found]
    assert Selector(tuple(found)).selects(labels) is (False not in each)


def test_a_direction_without_rules_is_told_from_one_that_is_not_the_policys() -> None:
    policy = Policy(ObjectName("default", "x"), PodPeer(), ingress=(Rule(),), egress=())
    assert policy.rules(Direction.INGRESS) == (Rule(),)
    assert policy.rules(Direction.EGRESS) == ()
    assert Policy(policy.name, PodPeer()).rules(Direction.EGRESS) is None
