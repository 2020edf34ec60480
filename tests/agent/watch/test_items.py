"""A list's JSON, cut anywhere, gives its items as they become whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.watch.items import Items

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='{}[]",:\\ aé\n'),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["items", "a", "{"]), inner, max_size=3)
    ),
    max_leaves=12,
)
items = st.lists(st.dictionaries(st.text(max_size=4), json_values, max_size=3), max_size=4)


def read(content: bytes, size: int) -> tuple[list[object], bytes]:
    reader = Items()
    found = [item for at in range(0, len(content), size) for item in reader.feed(content[at : at + size])]
    return [json.loads(item) for item in found], reader.around()


@given(items, json_values, st.integers(1, 40), st.sampled_from([None, 1]))
def test_items_and_what_stands_around_them_are_told_apart(
    listed: list[dict[str, object]], other: object, size: int, indent: int | None
) -> None:
    whole = {"metadata": {"a": other}, "before": [{"b": other}], "items": listed, "after": [{}, other]}
    found, around = read(json.dumps(whole, indent=indent).encode(), size)
    assert found == listed
    assert json.loads(around) == {**whole, "items": []}


@pytest.mark.parametrize("content", [b'{"items":null,"metadata":{}}', b'{"metadata":{}}', b'{"items":[]}'])
def test_a_list_without_items_has_none(content: bytes) -> None:
    assert read(content, 5) == ([], content)


def test_an_item_is_told_before_the_list_ends() -> None:
    reader = Items()
    assert list(reader.feed(b'{"items":[{"a":{}},{"b"')) == [b'{"a":{}}']
    assert list(reader.feed(b":1")) == []
    assert list(reader.feed(b"}")) == [b'{"b":1}']


def test_a_list_that_is_cut_short_is_no_json_around_its_items() -> None:
    _, around = read(b'{"metadata":{},"items":[{"a":1},{"b":', 4)
    with pytest.raises(json.JSONDecodeError):
        json.loads(around)
