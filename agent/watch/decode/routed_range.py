"""The annotations by which a pod asks to route for ranges of addresses, and by which its Namespace allows it."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

from agent.model.address import Network, parse_network
from agent.model.node import ALLOWED_RANGES, ROUTED_RANGES
from agent.watch.decode.reader import Reader

ANY: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
ROUTED_FIELD, ALLOWED_FIELD = (f"metadata.annotations['{name}']" for name in (ROUTED_RANGES, ALLOWED_RANGES))
MOST = 64  # of one pod: it may ask for more than the map holds


def routed_ranges(read: Reader, annotations: Mapping[str, str] | None) -> tuple[Network, ...]:
    """What a Pod asks for, each range once."""
    found = tuple(dict.fromkeys(_ranges(read, (annotations or {}).get(ROUTED_RANGES, ""), ROUTED_FIELD)))
    if len(found) > MOST:
        read.refuse(
            ROUTED_FIELD, f"has {len(found)} ranges, of which the first {MOST} count; give fewer and larger ones"
        )
    return found[:MOST]


def allowed_ranges(read: Reader, annotations: Mapping[str, str] | None) -> tuple[Network, ...]:
    """What a Namespace allows; an asterisk is every address."""
    text = (annotations or {}).get(ALLOWED_RANGES, "")
    if text.strip() == "*":
        return ANY
    return tuple(dict.fromkeys(_ranges(read, text, ALLOWED_FIELD)))


def _ranges(read: Reader, text: str, where: str) -> Iterator[Network]:
    """The networks of a list with commas; one that is none is told of, the first alone, and the others count."""
    bad = []
    for word in filter(None, map(str.strip, text.split(","))):
        try:
            yield parse_network(word)
        except ValueError:
            bad.append(word)
    if bad:
        more = f", and {len(bad) - 1} more are none" if len(bad) > 1 else ""
        read.refuse(where, f"{bad[0][:64]!r} is no CIDR{more}; write them as 10.200.0.0/16, with commas between")
