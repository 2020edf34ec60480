"""Equal values kept once: 100,000 endpoints name the same few nodes, zones and ports."""

from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T", bound=Hashable)

MOST = 1 << 16  # values remembered; beyond them all are forgotten, and those that come again are kept once again


class Shared:
    """A memory of values that repeat, for the threads of all watches."""

    def __init__(self) -> None:
        self._values: dict[object, object] = {}

    def one(self, value: T) -> T:
        """The first value that was equal to this one."""
        return self._remembered(value, value)

    def made(self, make: Callable[..., T], *fields: Hashable) -> T:
        """``make(*fields)``, made once for equal fields."""
        key = (make, fields)
        found = self._values.get(key)
        return found if found is not None else self._remembered(key, make(*fields))  # type: ignore[return-value]

    def _remembered(self, key: object, value: T) -> T:
        if len(self._values) >= MOST:
            self._values.clear()
        return self._values.setdefault(key, value)  # type: ignore[return-value]
