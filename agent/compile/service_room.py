"""How much of the maps one Service may ask for: not more than all together have, which is known before it is made.

What a Service is reached at is its addresses times its ports, and what it leads to its ports times its endpoints. An
object has room for ten thousand of each, so that what follows of one could be more than the agent's memory.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceRoom:
    """Entries that maps have; 0: for all."""

    services: int = 0
    backends: int = 0
    ranges: int = 0  # sources that load balancers' addresses serve


NO_END = ServiceRoom()


class TooMuch(Exception):  # noqa: N818  the name says what is wrong
    """One Service alone asks for more than there is room for."""

    def __init__(self, what: str, room: int, option: str) -> None:
        super().__init__(f"asks for more {what} than the {room} there is room for; leave some out, or raise {option}")


class Counted:
    """How much has been asked for of one of the maps."""

    def __init__(self, what: str, room: int, option: str) -> None:
        self._what, self._room, self._option, self._asked = what, room, option, 0

    def add(self, number: int) -> None:
        """So much more.

        Raises:
            TooMuch: than there is room for.
        """
        self._asked += number
        if self._room and self._asked > self._room:
            raise TooMuch(self._what, self._room, self._option)
