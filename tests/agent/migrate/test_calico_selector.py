"""Calico's selectors: what they mean, and which label selectors say the same."""

from typing import Any

import pytest

from agent.migrate.calico_selector import Unsaid, holds, label_selector, parse

EVERYTHING: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("all()", [EVERYTHING], id="everything"),
        pytest.param("!all()", [], id="nothing"),
        pytest.param("app == 'web'", [{"matchLabels": {"app": "web"}}], id="a value"),
        pytest.param('app=="web"', [{"matchLabels": {"app": "web"}}], id="double quotes, no spaces"),
        pytest.param(
            "app != 'web'",
            [{"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}],
            id="another value, or none",
        ),
        pytest.param(
            "app in {'a', 'b'}",
            [{"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}],
            id="one of",
        ),
        pytest.param(
            "app not in {'a'}",
            [{"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}],
            id="none of",
        ),
        pytest.param(
            "has(k8s.io/role)", [{"matchExpressions": [{"key": "k8s.io/role", "operator": "Exists"}]}], id="any value"
        ),
        pytest.param(
            "!has(role)", [{"matchExpressions": [{"key": "role", "operator": "DoesNotExist"}]}], id="no value"
        ),
        pytest.param("a == 'x' && b == 'y'", [{"matchLabels": {"a": "x", "b": "y"}}], id="both"),
        pytest.param(
            "a == 'x' || b == 'y'",
            [{"matchLabels": {"a": "x"}}, {"matchLabels": {"b": "y"}}],
            id="either: two selectors",
        ),
        pytest.param(
            "!(a == 'x' || b == 'y')",
            [
                {
                    "matchExpressions": [
                        {"key": "a", "operator": "NotIn", "values": ["x"]},
                        {"key": "b", "operator": "NotIn", "values": ["y"]},
                    ]
                }
            ],
            id="neither",
        ),
        pytest.param(
            "(a == 'x' || b == 'y') && c == 'z'",
            [{"matchLabels": {"a": "x", "c": "z"}}, {"matchLabels": {"b": "y", "c": "z"}}],
            id="either, and one more",
        ),
    ],
)
def test_label_selectors(text: str, wanted: list[dict[str, Any]]) -> None:
    assert [label_selector(one) for one in parse(text)] == wanted


@pytest.mark.parametrize(
    "text",
    [
        "app starts with 'w'",
        "app contains 'w'",
        "app ==",
        "app == web",
        "(app == 'a'",
        "app == 'a' b",
        "&& a == 'b'",
        "global()",
        "app == 'a' ;",
        "",
        "has()",
    ],
)
def test_what_is_no_label_selector_is_refused(text: str) -> None:
    with pytest.raises(Unsaid):
        parse(text)


def test_a_selector_that_grows_without_end_is_refused() -> None:
    with pytest.raises(Unsaid, match="alternatives"):
        parse(" && ".join(f"(a{i} == 'x' || b{i} == 'y')" for i in range(20)))


def test_a_negated_value_holds_without_the_label() -> None:
    assert holds(parse("app != 'web'"), {})
    assert not holds(parse("app == 'web'"), {})
