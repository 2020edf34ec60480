"""Addresses in an ``ipam`` of the plugins ``host-local`` and ``static``, looked at before they are asked for any.

What these would refuse at a pod's start is told with its key. Text is read as they read it; what they are not known to
refuse passes.

Source: containernetworking/plugins 1.6, ipam/host-local (backend/allocator: range.go, range_set.go) and ipam/static.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from agent.compile.network_refused import NetworkRefused
from agent.compile.network_value import address_of, list_of, prefix_of
from agent.model.address import Address, Network

POD_CIDR = "usePodCidr"  # which the plugin calico puts the node's in the place of, as its usePodCidrIPv6
LEAST = 4  # addresses of a subnet: its own, its gateway's, one of a pod and the last
_ENDS = ("rangeStart", "rangeEnd")
IPV4 = 4


def check_addresses(ipam: Mapping[str, Any], where: str, *, is_told: bool = False) -> None:
    """Addresses can be given; *where* is the key of *ipam*, *is_told* whether a runtime may say its ranges.

    Raises:
        NetworkRefused: one cannot.
    """
    match ipam.get("type"):
        case "host-local":
            sets = tuple(_sets(ipam, where))
            if not sets and not is_told:
                raise NetworkRefused(f"{where}.subnet", "is missing; give subnet, or ranges: [[{subnet}]]")
            _check_sets(sets)
        case "static":
            for index, one in enumerate(list_of(ipam, "addresses", where)):
                _check_static(one, f"{where}.addresses[{index}]")
        case _:
            return


@dataclass(frozen=True, slots=True)
class _Range:
    """Addresses from the first to the last, and the key that says them."""

    subnet: Network
    first: int
    last: int
    at: str

    def __str__(self) -> str:
        first, last = (str(type(self.subnet.network_address)(one)) for one in (self.first, self.last))
        return f"{first}-{last}"


def _sets(ipam: Mapping[str, Any], where: str) -> Iterator[list[_Range]]:
    """The ranges of each set, without those that nobody knows yet; that of the older form stands in ipam itself."""
    if ipam.get("subnet") is not None:
        yield list(_range(ipam, where))
    for index, some in enumerate(list_of(ipam, "ranges", where)):
        at = f"{where}.ranges[{index}]"
        if not isinstance(some, list) or not some:
            raise NetworkRefused(at, f"{some!r} is no list of ranges; write [[{{...}}]]")
        yield [it for nth, one in enumerate(some) for it in _range(_object(one, f"{at}[{nth}]"), f"{at}[{nth}]")]


def _check_sets(sets: Sequence[Sequence[_Range]]) -> None:
    """One address is given of each set, and no address is in two ranges."""
    for some in sets:
        for one in some:
            if one.subnet.version != some[0].subnet.version:
                text = f"{one.subnet} is of another family than {some[0].subnet}, and one set gives one address"
                raise NetworkRefused(f"{one.at}.subnet", f"{text}; write a set for each: [[{{...}}], [{{...}}]]")
    ordered = sorted(chain.from_iterable(sets), key=lambda one: (one.subnet.version, one.first))
    for before, one in pairwise(ordered):
        if before.subnet.version == one.subnet.version and one.first <= before.last:
            raise NetworkRefused(one.at, f"{one} overlaps {before} of {before.at}")


def _range(one: Mapping[str, Any], at: str) -> Iterator[_Range]:
    said = one.get("subnet")
    if isinstance(said, str) and said.startswith(POD_CIDR):
        return
    subnet = prefix_of(said)
    if subnet is None:
        raise NetworkRefused(f"{at}.subnet", f"{said!r} is no prefix, as 10.50.0.0/24")
    if address_of(str(said).partition("/")[0]) != subnet.network_address:
        raise NetworkRefused(f"{at}.subnet", f"{said} has host bits; the network is {subnet}")
    if subnet.num_addresses < LEAST:
        raise NetworkRefused(f"{at}.subnet", f"{subnet} is too small for host-local to give an address of")
    _address(one, "gateway", at, subnet)
    first, last = (_address(one, key, at, subnet) for key in _ENDS)
    for key, address in zip(_ENDS, (first, last), strict=True):
        if address is not None and address not in subnet:
            raise NetworkRefused(f"{at}.{key}", f"{address} is not in {subnet}")
    start = int(first or subnet.network_address + 1)
    if last is not None and int(last) < start:
        raise NetworkRefused(f"{at}.rangeEnd", f"{last} is before {first or subnet.network_address + 1}, the first")
    yield _Range(subnet, start, int(last or subnet.broadcast_address - (subnet.version == IPV4)), at)


def _address(one: Mapping[str, Any], key: str, at: str, subnet: Network) -> Address | None:
    if (value := one.get(key)) in (None, ""):
        return None
    address = address_of(value)
    if address is None or address.version != subnet.version:
        raise NetworkRefused(f"{at}.{key}", f"{value!r} is no address of the family of {subnet}")
    return address


def _check_static(one: object, at: str) -> None:
    said = _object(one, at)
    if prefix_of(said.get("address")) is None:
        raise NetworkRefused(f"{at}.address", f"{said.get('address')!r} is no address with its length, as 10.50.0.9/24")
    if said.get("gateway") not in (None, "") and address_of(said["gateway"]) is None:
        raise NetworkRefused(f"{at}.gateway", f"{said['gateway']!r} is no address")


def _object(value: object, at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise NetworkRefused(at, f"{value!r} is no object")
    return value
