"""The file of ranges from which nothing is let in: its lines as the map has them, and what is wrong with others."""

import re
import struct
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_pton

from agent.compile.prefix import IPV4, KEY_BITS, MAPPED_BITS
from agent.model.denied import Denied
from agent.model.name import ObjectName, Problem
from maps import abi

MOST = abi.DENIED_PREFIXES.max_entries
TOLD = 20  # lines that cannot be used, each told by itself
SHOWN = 60  # characters of such a line
MAPPED = bytes(10) + b"\xff\xff"  # before IPv4 in ::ffff:0:0/96
KEY = struct.Struct("=IB3x16s")  # struct prefix_key: bits, family, address
_PREFIX = re.compile(r"([0-9a-fA-F.:]+)(?:/([0-9]{1,3}))?")


def parse(text: str, file: str) -> tuple[Denied, tuple[Problem, ...]]:
    """The ranges of a file's *text*, a range or an address a line, and what is wrong with other lines.

    Of a range that is named twice the first line counts.
    """
    lines: dict[bytes, int] = {}
    wrong: list[tuple[int, str]] = []
    left_out = 0
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        try:
            key = prefix_key_of(content)
        except ValueError as error:
            wrong.append((number, str(error)))
            continue
        if key not in lines and len(lines) == MOST:
            left_out += 1
        else:
            lines.setdefault(key, number)
    denied = Denied(b"".join(lines), abi.DeniedPrefix.pack_many([abi.DeniedPrefix(n) for n in lines.values()]))
    return denied, tuple(_problems(ObjectName("", file), wrong, left_out))


def prefix_key_of(text: str) -> bytes:
    """The map's key of a range or an address.

    Raises:
        ValueError: it is neither, or a range with bits set behind its length.
    """
    is_v6 = ":" in text
    width = 128 if is_v6 else 32
    found = _PREFIX.fullmatch(text)
    octets = _octets(found[1], is_v6=is_v6) if found else b""
    if found is None or not octets or int(found[2] or 0) > width:
        raise ValueError(f"{_shown(text)} is no range; write 192.0.2.0/24 or 2001:db8::/32")
    bits = int(found[2]) if found[2] else width
    if int.from_bytes(octets) & ((1 << width - bits) - 1):
        raise ValueError(f"{_shown(text)} has bits set behind its length; write the range's first address")
    if is_v6 and octets.startswith(MAPPED):
        raise ValueError(f"{_shown(text)} is IPv4 in IPv6; write the IPv4 range")
    if is_v6:
        return KEY.pack(KEY_BITS + bits, 6, octets)
    return KEY.pack(KEY_BITS + MAPPED_BITS + bits, IPV4, MAPPED + octets)


def _octets(address: str, *, is_v6: bool) -> bytes:
    """An address's; none where it is none."""
    try:
        return inet_pton(AF_INET6 if is_v6 else AF_INET, address)
    except OSError:
        return b""


def _problems(name: ObjectName, wrong: list[tuple[int, str]], left_out: int) -> Iterator[Problem]:
    """The first lines one by one, and how many more there are."""
    for number, text in wrong[:TOLD]:
        yield Problem("File", name, f"line {number}", text)
    if len(wrong) > TOLD:
        yield Problem("File", name, "", f"{len(wrong) - TOLD} more lines are no ranges; the rest of the file counts")
    if left_out:
        yield Problem("File", name, "", f"has more than {MOST} ranges; the last {left_out} are not denied")


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
