"""The file of ranges to deny: what a line may be, and what is said of those that are none."""

import re
from ipaddress import ip_address, ip_network

import pytest

from agent.compile.prefix import prefix_key
from agent.watch.decode import denied
from agent.watch.decode.denied import MOST, parse
from maps import abi
from maps.record import cut


def lines(text: str) -> dict[bytes, int]:
    """The line that names each range, by its key."""
    found, problems = parse(text, "/d")
    assert problems == ()
    values = (abi.DeniedPrefix.unpack(value).line for value in cut(found.values, abi.DeniedPrefix.SIZE))
    return dict(zip(cut(found.keys, abi.PrefixKey.SIZE), values, strict=True))


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        pytest.param("", {}, id="an empty file denies nothing"),
        pytest.param("192.0.2.0/24\n2001:db8::/32\n", {"192.0.2.0/24": 1, "2001:db8::/32": 2}, id="a range a line"),
        pytest.param("\n # all of it\n192.0.2.0/24  # one\n\n", {"192.0.2.0/24": 3}, id="comments and empty lines"),
        pytest.param("192.0.2.7\n2001:DB8::7", {"192.0.2.7/32": 1, "2001:db8::7/128": 2}, id="an address is a range"),
        pytest.param("0.0.0.0/0\n::/0", {"0.0.0.0/0": 1, "::/0": 2}, id="everybody, by family"),
        pytest.param("192.0.2.0/24\r\n192.0.2.0/24", {"192.0.2.0/24": 1}, id="of two lines alike the first counts"),
        pytest.param("192.0.2.0/24\n192.0.2.0/25", {"192.0.2.0/24": 1, "192.0.2.0/25": 2}, id="a range in another"),
    ],
)
def test_what_is_denied(text: str, ranges: dict[str, int]) -> None:
    assert lines(text) == {prefix_key(ip_network(network)): line for network, line in ranges.items()}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        pytest.param("192.0.2.1/24", "bits set behind its length", id="host bits"),
        pytest.param("2001:db8::1/64", "bits set behind its length", id="host bits of IPv6"),
        pytest.param("192.0.2.0/33", "no range", id="too long"),
        pytest.param("2001:db8::/129", "no range", id="too long for IPv6"),
        pytest.param("192.0.2.0/-1", "no range", id="below zero"),
        pytest.param("192.0.2/24", "no range", id="three octets"),
        pytest.param("010.0.0.0/8", "no range", id="octal or not, nobody knows"),
        pytest.param("example.org", "no range", id="a name"),
        pytest.param("192.0.2.0/24 192.0.3.0/24", "no range", id="two in one line"),
        pytest.param("fe80::1%eth0", "no range", id="a zone"),
        pytest.param("::ffff:192.0.2.0/120", "IPv4 in IPv6", id="a mapped one"),
        pytest.param("x" * 500, r"x\.\.\.' is no range", id="a long line is cut"),
    ],
)
def test_a_line_that_is_none_is_told_with_its_number_and_the_rest_stands(line: str, why: str) -> None:
    found, (problem,) = parse(f"192.0.2.0/24\n{line}\n198.51.100.0/24\n", "/d")
    assert (str(problem.name), problem.field) == ("/d", "line 2")
    assert re.search(why, problem.text)
    assert len(found.keys) == 2 * abi.PrefixKey.SIZE


def test_of_many_bad_lines_the_first_are_told_and_the_rest_counted() -> None:
    _, problems = parse("what\n" * 100, "/d")
    assert [problem.field for problem in problems] == [*(f"line {n}" for n in range(1, 21)), ""]
    assert problems[-1].text.startswith("80 more lines")


def test_more_than_the_map_holds_are_left_out_and_counted() -> None:
    text = "".join(f"{ip_address(0x0A000000 + n)}\n" for n in range(MOST + 3))
    found, (problem,) = parse(text, "/d")
    assert len(found.values) == MOST * abi.DeniedPrefix.SIZE
    assert "the last 3" in problem.text


def test_the_key_is_the_maps() -> None:
    assert denied.KEY.size == abi.PrefixKey.SIZE
