"""Communities of BGP: the marks on a route, as people write them, and what a Service's routes are given of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from agent.options.number import decimal

MOST_COMMUNITIES = 64  # of one route's own: a message of BGP's has 4,096 octets (RFC 4271 4)
COMMUNITIES, PREFERENCE = "sluiceway.io/bgp-communities", "sluiceway.io/bgp-local-preference"  # of Services
MAX_NUMBER = (1 << 32) - 1  # RFC 6793, of AS numbers; local preference has as many


class CommunityKind(StrEnum):
    """Of which length a community is, in BIRD's words for the attribute."""

    STANDARD = "bgp_community"  # RFC 1997
    EXTENDED = "bgp_ext_community"  # RFC 4360
    LARGE = "bgp_large_community"  # RFC 8092
    NAMED = "name"  # by one of BGPConfiguration's names, of which compile makes another kind


@dataclass(frozen=True, slots=True, order=True)
class Community:
    """A mark on a route: its numbers, of an extended one after its kind; or its name."""

    kind: CommunityKind
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return ":".join(self.parts)


WELL_KNOWN: Mapping[str, tuple[int, int]] = MappingProxyType(  # RFC 1997, 3765, 7999, 8326, 9494
    {
        "graceful-shutdown": (65535, 0),
        "accept-own": (65535, 1),
        "llgr-stale": (65535, 6),
        "no-llgr": (65535, 7),
        "blackhole": (65535, 666),
        "no-export": (65535, 65281),
        "no-advertise": (65535, 65282),
        "no-export-subconfed": (65535, 65283),
        "no-peer": (65535, 65284),
    }
)
_EXTENDED = ("rt", "ro")  # route target, route origin
_PAIR, _TRIPLE = 2, 3
_TWO_OCTETS = 0xFFFF
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def community(text: str) -> Community:
    """A community as people write it: 65000:100, 4259840100, 65000:1:2, rt:65000:100, no-export.

    Raises:
        ValueError: it is none.
    """
    given = text.strip().lower()
    if given in WELL_KNOWN:
        return Community(CommunityKind.STANDARD, tuple(map(str, WELL_KNOWN[given])))
    parts = given.split(":")
    if parts[0] in _EXTENDED and len(parts) == _TRIPLE and _are_numbers(parts[1:], MAX_NUMBER):
        if all(int(part) > _TWO_OCTETS for part in parts[1:]):
            raise ValueError(f"{text[:64]!r} has no room for both; one of them is 65535 at most (RFC 4360, 5668)")
        return Community(CommunityKind.EXTENDED, tuple(parts))
    if len(parts) == 1 and _are_numbers(parts, MAX_NUMBER):
        return Community(CommunityKind.STANDARD, (str(int(given) >> 16), str(int(given) & 0xFFFF)))
    if len(parts) == _PAIR and _are_numbers(parts, _TWO_OCTETS):
        return Community(CommunityKind.STANDARD, tuple(parts))
    if len(parts) == _TRIPLE and _are_numbers(parts, MAX_NUMBER):
        return Community(CommunityKind.LARGE, tuple(parts))
    known = ", ".join(WELL_KNOWN)
    raise ValueError(
        f"{text[:64]!r} is no community; write 65000:100, a large one as 65000:1:2, an extended one as rt:65000:100, "
        f"or one of {known}"
    )


def named_community(text: str) -> Community:
    """The same, or one of the names that BGPConfigurations give.

    Raises:
        ValueError: it is neither.
    """
    given = text.strip()
    if given not in WELL_KNOWN and is_community_name(given):
        return Community(CommunityKind.NAMED, (given,))
    return community(text)


def is_community_name(text: str) -> bool:
    """Whether a community can be called so."""
    return _NAME.fullmatch(text) is not None


def _are_numbers(parts: list[str], most: int) -> bool:
    return all(decimal(part, most) is not None for part in parts)


@dataclass(frozen=True, slots=True)
class Marks:
    """What routes carry wherever they are told outside the cluster."""

    communities: tuple[Community, ...] = ()
    local_preference: int | None = None  # to peers of the same AS alone
    is_known: bool = True  # False: something of it cannot be read, and what it is for is not told of


NO_MARKS = Marks()
