"""Label selectors as users write them."""

import json

import msgspec
import pytest

from agent.model.policy import EVERYTHING, Operator, Requirement, Selector
from agent.watch.decode.network_policy import NETWORK_POLICY
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.selector import MOST, LabelSelector, selector
from agent.watch.decode.shared import Shared

SELECTOR = msgspec.json.Decoder(LabelSelector)


def read(given: object, reader: Reader | None = None) -> tuple[Selector | None, list[str]]:
    """What is made of it, and the fields that were refused."""
    reader = reader or Reader(NETWORK_POLICY, Metadata("x"), Shared())
    found = reader.part(SELECTOR, msgspec.Raw(json.dumps(given).encode()), "s")
    return (None if found is None else selector(reader, found, "s")), [problem.field for problem in reader.problems]


def expression(operator: str, *values: str) -> dict[str, object]:
    return {"matchExpressions": [{"key": "a", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("given", "requirements"),
    [
        pytest.param({}, (), id="an empty one selects everything"),
        pytest.param({"matchLabels": None, "matchExpressions": None}, (), id="null is empty"),
        pytest.param(
            {"matchLabels": {"b": "2", "a": ""}},
            (Requirement("a", Operator.IN, frozenset([""])), Requirement("b", Operator.IN, frozenset(["2"]))),
            id="labels are all to be there",
        ),
        pytest.param(expression("In", "x", "y"), (Requirement("a", Operator.IN, frozenset("xy")),), id="In"),
        pytest.param(expression("NotIn", "x"), (Requirement("a", Operator.NOT_IN, frozenset("x")),), id="NotIn"),
        pytest.param(expression("Exists"), (Requirement("a", Operator.EXISTS),), id="Exists"),
        pytest.param(expression("DoesNotExist"), (Requirement("a", Operator.DOES_NOT_EXIST),), id="DoesNotExist"),
        pytest.param(
            {"matchLabels": {"a": "x"}, **expression("NotIn", "y")},
            (Requirement("a", Operator.IN, frozenset("x")), Requirement("a", Operator.NOT_IN, frozenset("y"))),
            id="labels and expressions together",
        ),
    ],
)
def test_a_selector(given: object, requirements: tuple[Requirement, ...]) -> None:
    assert read(given) == (Selector(requirements), [])


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param(expression("in", "x"), "s.matchExpressions[0].operator", id="an unknown operator"),
        pytest.param(expression("In"), "s.matchExpressions[0].values", id="In without values"),
        pytest.param(expression("NotIn"), "s.matchExpressions[0].values", id="NotIn without values"),
        pytest.param(expression("Exists", "x"), "s.matchExpressions[0].values", id="Exists with values"),
        pytest.param(
            {"matchExpressions": [{"operator": "Exists"}]}, "s.matchExpressions[0].key", id="an expression without key"
        ),
        pytest.param({"matchLabel": {"a": "x"}}, "s", id="a misspelt field, without which it would select everything"),
        pytest.param({"matchLabels": {"a": 1}}, "s.matchLabels[...]", id="a value that is a number"),
        pytest.param([], "s", id="a list"),
        pytest.param(None, "s", id="null"),
    ],
)
def test_a_selector_that_cannot_be_used_is_none(given: object, field: str) -> None:
    assert read(given) == (None, [field])


def test_equal_selectors_are_one_value() -> None:
    reader = Reader(NETWORK_POLICY, Metadata("x"), Shared())
    one, _ = read({"matchLabels": {"a": "x", "b": "y"}}, reader)
    other, _ = read({"matchExpressions": [
        {"key": "b", "operator": "In", "values": ["y"]},
        {"key": "a", "operator": "In", "values": ["x"]},
    ]}, reader)  # fmt: skip
    assert one is other
    assert one != EVERYTHING


@pytest.mark.parametrize("part", ["matchLabels", "matchExpressions"])
def test_a_selector_of_very_many_requirements_is_none_that_can_be_used(part: str) -> None:
    """Each would be asked of every pod: 20,000 took 40 s where 5,000 groups of pods were."""

    def made(count: int) -> object:
        if part == "matchLabels":
            return {part: {f"k{at}": "" for at in range(count)}}
        return {part: [{"key": f"k{at}", "operator": "DoesNotExist"} for at in range(count)]}

    found, refused = read(made(MOST))
    assert found is not None
    assert (len(found.requirements), refused) == (MOST, [])
    assert read(made(MOST + 1)) == (None, ["s"])
