"""Fields that BGPPeers, BGPFilters and BGPConfigurations have in common."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from agent.model.address import Network
from agent.model.bgp import Bfd, PrefixRange, within
from agent.model.community import Community, named_community
from agent.model.policy import Selector
from agent.options.values import LAST_HOLD_S, LAST_INTERVAL_MS, LEAST_HOLD_S, MAX_ASN, MAX_MULTIPLIER, RESERVED_ASNS
from agent.watch.decode.reader import Reader
from agent.watch.decode.selector import LabelSelector, selector

MAX_PREPENDS = 16
_SELECTOR = msgspec.json.Decoder(LabelSelector)


class BfdFields(Struct, rename="camel", frozen=True):
    """``bfd``."""

    transmit_interval: int = 1000
    receive_interval: int = 1000
    multiplier: int = 3
    graceful: bool = False


class Prefix(Struct, rename="camel", frozen=True):
    """``prefixes[]``."""

    cidr: str = ""
    min_length: int | None = None
    max_length: int | None = None


class ImportFields(Struct, frozen=True):
    """``import`` of a peer, and of all."""

    prefixes: list[Prefix] | None = None
    limit: int = 0


def is_given(given: Raw) -> bool:
    """Whether a field is there that is read apart."""
    return bytes(given) != b"null"


def nodes(read: Reader, given: Raw) -> Selector | None:
    """A selector of Nodes; None: it cannot be read."""
    found = read.part(_SELECTOR, given, "spec.nodeSelector")
    return selector(read, found, "spec.nodeSelector") if found is not None else None


def number_within(read: Reader, number: int, where: str, least: int, most: int) -> int:
    """The number; one out of its bounds is a problem, and the nearest bound."""
    if least <= number <= most:
        return number
    said = "is missing; give" if number == 0 else f"{number} is out of range; give"
    read.refuse(where, f"{said} {least} to {most}")
    return min(max(number, least), most)


def asn(read: Reader, number: int, where: str) -> int:
    """The number of an AS; one that none can have is a problem."""
    found = number_within(read, number, where, 1, MAX_ASN)
    if found == number and number in RESERVED_ASNS:
        read.refuse(where, f"{number} is reserved, and no AS has it")
    return found


def hold(read: Reader, number: int) -> int:
    """A hold time, in seconds."""
    return number_within(read, number, "spec.holdTime", LEAST_HOLD_S, LAST_HOLD_S)


def bfd(read: Reader, given: BfdFields, where: str) -> Bfd:
    """How BFD is to be."""
    return Bfd(
        number_within(read, given.transmit_interval, f"{where}.transmitInterval", 10, LAST_INTERVAL_MS),
        number_within(read, given.receive_interval, f"{where}.receiveInterval", 10, LAST_INTERVAL_MS),
        number_within(read, given.multiplier, f"{where}.multiplier", 1, MAX_MULTIPLIER),
        given.graceful,
    )


def prefixes(read: Reader, given: Sequence[Prefix], where: str) -> Iterator[PrefixRange]:
    """Those that can be read: a mistake takes less, never more."""
    for index, one in enumerate(given):
        here = f"{where}[{index}]"
        network: Network | None = read.network(one.cidr, f"{here}.cidr")
        if network is None:
            continue
        bits = network.max_prefixlen
        alone = within(network)
        least = one.min_length if one.min_length is not None else network.prefixlen
        most = one.max_length if one.max_length is not None else max(alone.most, least)
        if not network.prefixlen <= least <= most <= bits:
            read.refuse(here, f"lengths from {least} to {most} are none of {network}; give {network.prefixlen}-{bits}")
            continue
        yield PrefixRange(network, least, most)


def communities(read: Reader, given: Sequence[str] | None, where: str) -> tuple[Community, ...]:
    """Those that can be read, some by names of which compile knows whether they are there."""
    return tuple(_communities(read, given or (), where))


def _communities(read: Reader, given: Sequence[str], where: str) -> Iterator[Community]:
    for index, text in enumerate(given):
        try:
            yield named_community(text)
        except ValueError as error:
            read.refuse(f"{where}[{index}]", str(error))


def prepends(read: Reader, given: Sequence[int] | None, where: str) -> tuple[int, ...]:
    """AS numbers."""
    found = tuple(given or ())
    if len(found) > MAX_PREPENDS or not all(1 <= asn <= MAX_ASN for asn in found):
        read.refuse(where, f"give {MAX_PREPENDS} AS numbers at most")
        return ()
    return found


def attribute(read: Reader, number: int | None, where: str) -> int | None:
    """MED or local preference."""
    if number is not None and not 0 <= number <= MAX_ASN:
        read.refuse(where, f"{number} is out of range; give 0 to {MAX_ASN}")
        return None
    return number
