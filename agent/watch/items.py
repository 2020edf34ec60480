"""A list's body, read as it arrives: its items one by one, and at the end what stands around them.

No JSON parser is asked before an item is whole, so a list of any length is never in memory at once.
"""

import re
from collections.abc import Iterator

# up to the next brace that is in no string; possessive, so that a text cut anywhere is given up at once
_BRACE = re.compile(rb'[^"{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}]*+)*+([{}])', re.DOTALL)
_BEGIN = re.compile(rb'"items"\s*:\s*\[\s*\Z')  # what stands before the first item
_NEXT = re.compile(rb"\s*,\s*")  # and before each other
_ITEM_DEPTH = 2  # the list's own brace, and the item's


class Items:
    """Finds the objects of ``items`` in a list's JSON."""

    def __init__(self) -> None:
        self._rest = b""  # not looked at yet, or begun and not whole
        self._at = 0  # where in it to look on
        self._depth = 0
        self._is_item = False  # what is open at that depth, or was last
        self._around: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The items that are whole with *chunk*."""
        self._rest += chunk
        start = 0  # of the text that belongs to nothing yet
        while found := _BRACE.match(self._rest, self._at):
            brace = found.start(1)
            self._at = found.end()
            if found.group(1) == b"{":
                self._depth += 1
                if self._depth == _ITEM_DEPTH and self._begins_item(self._rest[start:brace]):
                    start = brace
                continue
            self._depth -= 1
            if self._depth == _ITEM_DEPTH - 1:
                if self._is_item:
                    yield self._rest[start : self._at]
                else:
                    self._around.append(self._rest[start : self._at])
                start = self._at
        self._rest = self._rest[start:]
        self._at -= start

    def around(self) -> bytes:
        """The list without its items, when all has come; no JSON, if it was cut short."""
        return b"".join((*self._around, self._rest))

    def _begins_item(self, before: bytes) -> bool:
        """Whether a brace after this text opens an item; the text is kept, but for the comma between two items."""
        follows = self._is_item and _NEXT.fullmatch(before) is not None
        self._is_item = follows or _BEGIN.search(before) is not None
        if self._is_item and not follows:
            self._around.append(before)
        return self._is_item
