"""The ranges of addresses from which nothing is let in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Denied:
    """What the file of ``--xdp-deny-cidrs-file`` says: packed as the map ``denied_prefixes`` has it.

    There may be 100,000, of which objects would take a hundred times the memory.
    """

    keys: bytes = b""  # one behind the other
    values: bytes = b""
