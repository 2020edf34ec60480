"""Each behaviour asked of a kube-proxy replacement has a row of a test under its number, or a reason, in docs."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
NUMBERS = frozenset({*range(1, 85), *range(129, 145)})  # those between are of network policy
ROW = re.compile(
    r"^\| (?P<numbers>[0-9, -]*)\| (?P<behaviour>[^|]*)\|(?P<tests>[^|]*)\|(?P<reason>[^|]*)\|$", re.MULTILINE
)
TEST = re.compile(r"`(tests/[^:`]+)::(test_\w+)`")
ID = re.compile(r"((?:\d+ )+)\D")  # "24 26 where all end those that serve stand in"


def rows() -> Iterator[tuple[str, str, str]]:
    text = (CHECKOUT / "docs" / "services.md").read_text()
    _, _, tables = text.partition("## What is asked of a kube-proxy replacement")
    tables, _, _ = tables.partition("\n## ")
    for found in ROW.finditer(tables):
        yield found["numbers"].strip(), found["tests"].strip(), found["reason"].strip()


def numbers(text: str) -> Iterator[int]:
    for part in filter(None, text.split(", ")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


@cache
def shown(path: str) -> dict[str, frozenset[int]]:
    """The numbers with which the ids of each test's rows begin.

    They stand in ``shows``, or in the decorator next to the function, whose part of an id is the first, or in a table
    that it names.
    """
    body = ast.parse((CHECKOUT / path).read_text()).body
    tables = {
        target.id: node.value
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def texts(found: ast.expr) -> Iterator[str]:
        for node in ast.walk(found):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.Name) and node.id in tables:
                yield from texts(tables[node.id])

    def is_shows(found: ast.expr) -> bool:
        return isinstance(found, ast.Call) and isinstance(found.func, ast.Name) and found.func.id == "shows"

    return {
        node.name: frozenset(
            int(number)
            for decorator in [one for one in node.decorator_list if is_shows(one)] or node.decorator_list[-1:]
            for begins in map(ID.match, texts(decorator))
            if begins
            for number in begins[1].split()
        )
        for node in body
        if isinstance(node, ast.FunctionDef)
    }


def test_every_number_begins_an_id_or_has_a_reason() -> None:
    told = [
        (number, bool(reason) or any(number in shown(path)[name] for path, name in TEST.findall(tests)))
        for text, tests, reason in rows()
        for number in numbers(text)
    ]
    assert {number for number, _ in told} == NUMBERS
    assert sorted(NUMBERS - {number for number, is_told in told if is_told}) == []


def test_every_test_that_is_named_is_there() -> None:
    named = [match for _, tests, _ in rows() for match in TEST.findall(tests)]
    assert len(named) > 50
    assert [f"{path}::{name}" for path, name in named if name not in shown(path)] == []
