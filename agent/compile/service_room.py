"""How much of the maps one Service may ask for: not more than all together have, which is known before it is made.

What a Service is reached at is its addresses times its ports, and what it leads to its ports times its endpoints. An
object has room for ten thousand of each, so that what follows of one could be more than the agent's memory.
"""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class ServiceRoom:
    """Entries that maps have; 0: for all."""

    services: int = 0
    backends: int = 0
    ranges: int = 0  # sources that load balancers' addresses serve
    tables: int = 0  # of backends, by hash
    rings: int = 0  # parts of them


NO_END = ServiceRoom()


class What(NamedTuple):
    """Something that maps have room for."""

    text: str
    option: str  # that gives them more


FRONTENDS = What("addresses with ports", "--max-services")
BACKENDS = What("backends", "--max-backends")
SOURCES = What("ranges of sources", "--max-services")
TABLES = What("lookup tables of backends", "--max-backends")
RINGS = What("places in rings of backends", "--max-services")


class TooMuch(Exception):  # noqa: N818  the name says what is wrong
    """One Service alone asks for more than there is room for."""

    def __init__(self, what: What, room: int) -> None:
        super().__init__(
            f"asks for more {what.text} than the {room} there is room for; leave some out, or raise {what.option}"
        )


def check(what: What, asked: int, room: int) -> None:
    """Whether there is room for so much.

    Raises:
        TooMuch: there is not.
    """
    if room and asked > room:
        raise TooMuch(what, room)
