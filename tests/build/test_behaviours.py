"""Each behaviour asked of a kube-proxy replacement has a test that there is, or a reason, in docs/services.md."""

import re
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
NUMBERS = frozenset({*range(1, 85), *range(129, 145)})  # those between are of network policy
ROW = re.compile(
    r"^\| (?P<numbers>[0-9, -]*)\| (?P<behaviour>[^|]*)\|(?P<tests>[^|]*)\|(?P<reason>[^|]*)\|$", re.MULTILINE
)
TEST = re.compile(r"`(tests/[^:`]+)::(test_\w+)`")


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


def test_every_number_has_a_test_or_a_reason() -> None:
    told = [(number, bool(tests or reason)) for text, tests, reason in rows() for number in numbers(text)]
    assert {number for number, is_told in told if is_told} == NUMBERS


def test_every_test_that_is_named_is_there() -> None:
    named = [match for _, tests, _ in rows() for match in TEST.findall(tests)]
    assert len(named) > 50
    absent = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (CHECKOUT / path).read_text()]
    assert not absent
