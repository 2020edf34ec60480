"""YAML that others wrote: values, or one error of one line."""

import pytest

from agent.options.yaml_text import YamlError, read_yaml, read_yaml_documents

DEEP = 100_000


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a: b\n", id="UTF-8"),
        pytest.param(b"\xef\xbb\xbfa: b\n", id="with the mark that Windows begins it with"),
        pytest.param("a: b\n".encode("utf-16"), id="UTF-16, as PowerShell redirects it"),
        pytest.param(b"a: b\r\n", id="Windows' line ends"),
        pytest.param('{"a": "b"}', id="JSON"),
    ],
)
def test_the_encodings_of_a_file(content: bytes | str) -> None:
    assert read_yaml(content) == {"a": "b"}


def test_documents_by_their_lines() -> None:
    assert read_yaml_documents("a: 1\r\n---\r\n---\r\n- 2\r\n") == [{"a": 1}, None, [2]]
    assert read_yaml("") is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="cut short"),
        pytest.param("a: 2020-99-99", id="no such day"),
        pytest.param('!!int ""', id="a number without digits"),
        pytest.param("!!bool perhaps", id="neither true nor false"),
        pytest.param("!!timestamp x", id="no time"),
        pytest.param("1:" * 200 + "30.5", id="a number in sixties beyond measure"),
        pytest.param("9" * 5000, id="more digits than int() reads"),
        pytest.param("? [a]\n: b", id="a key that is a list"),
        pytest.param(b"\xff\xfea", id="half a character"),
        pytest.param(b"\x80", id="no character"),
        pytest.param("\ud800", id="half of a pair"),
        pytest.param("[" * DEEP, id="deeper than any stack"),
        pytest.param(("[" * DEEP).encode("utf-16"), id="the same in UTF-16"),
        pytest.param("- " * DEEP, id="as deep, in a block"),
        pytest.param("a\n---\nb", id="two documents"),
    ],
)
def test_whatever_is_wrong_is_one_error(text: str | bytes) -> None:
    with pytest.raises(YamlError) as caught:
        read_yaml(text)
    assert str(caught.value)
    assert "\n" not in str(caught.value)
