"""Numbers of others' texts: digits alone, of any length, and never an error."""

import pytest

from agent.options.number import decimal

MOST = 4294967295


@pytest.mark.parametrize(
    ("given", "number"),
    [
        pytest.param("0", 0, id="the least"),
        pytest.param(str(MOST), MOST, id="the most"),
        pytest.param("007", 7, id="leading zeros are decimal"),
        pytest.param("0" * 5000 + "7", 7, id="more zeros than int() reads"),
        pytest.param(7, 7, id="a number of YAML's or JSON's"),
        pytest.param(str(MOST + 1), None, id="one more"),
        pytest.param("9" * 5000, None, id="more digits than int() reads"),
        pytest.param(16**5000, None, id="a number of more digits than str() writes"),
        pytest.param("-1", None, id="a sign"),
        pytest.param(-1, None, id="less than nothing"),
        pytest.param("", None, id="nothing"),
        pytest.param("\u0663", None, id="digits of another alphabet"),
        pytest.param("\u00b2", None, id="a superscript"),
        pytest.param(True, None, id="a switch"),
        pytest.param([7], None, id="a list"),
    ],
)
def test_decimal(given: object, number: int | None) -> None:
    assert decimal(given, MOST) == number
