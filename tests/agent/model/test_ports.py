"""Ranges of ports are read and written as the kernel has them."""

import pytest

from agent.model.ports import port_ranges, written


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        pytest.param("\n", (), id="none"),
        pytest.param("8080\n", ((8080, 8080),), id="a lone port is a range of one"),
        pytest.param("8080,9148-9150\n", ((8080, 8080), (9148, 9150)), id="several"),
    ],
)
def test_reserved_ports(text: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert port_ranges(text) == ranges


@pytest.mark.parametrize(
    ("ranges", "text"),
    [
        pytest.param((), "", id="none"),
        pytest.param(((9148, 9150), (8080, 8080)), "8080,9148-9150", id="sorted"),
        pytest.param(((32768, 32800), (29999, 29999), (30000, 32767)), "29999-32800", id="those that touch are one"),
        pytest.param(((1, 65535), (30000, 32767)), "1-65535", id="one within another"),
    ],
)
def test_written(ranges: tuple[tuple[int, int], ...], text: str) -> None:
    assert written(ranges) == text
