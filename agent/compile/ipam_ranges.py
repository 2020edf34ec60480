"""Addresses in an ``ipam`` of the plugins ``host-local`` and ``static``, looked at before they are asked for any.

What these would refuse at a pod's start is told with its key. Text is read as they read it; what they are not known to
refuse passes.

Source: containernetworking/plugins 1.6, ipam/host-local (backend/allocator/range.go) and ipam/static.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from agent.compile.network_refused import NetworkRefused
from agent.compile.network_value import address_of, list_of, prefix_of

POD_CIDR = "usePodCidr"  # which the plugin calico puts the node's in the place of, as its usePodCidrIPv6
LEAST = 4  # addresses of a subnet: its own, its gateway's, one of a pod and the last
_RANGE = ("rangeStart", "rangeEnd", "gateway")


def check_addresses(ipam: Mapping[str, Any], where: str, *, is_told: bool = False) -> None:
    """Addresses can be given; *where* is the key of *ipam*, *is_told* whether a runtime may say its ranges.

    Raises:
        NetworkRefused: one cannot.
    """
    match ipam.get("type"):
        case "host-local":
            ranges = tuple(_ranges(ipam, where))
            if not ranges and not is_told:
                raise NetworkRefused(f"{where}.subnet", "is missing; give subnet, or ranges: [[{subnet}]]")
            for one, at in ranges:
                _check_range(one, at)
        case "static":
            for index, one in enumerate(list_of(ipam, "addresses", where)):
                _check_static(one, f"{where}.addresses[{index}]")
        case _:
            return


def _ranges(ipam: Mapping[str, Any], where: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each range, and its key: that of the older form stands in ipam itself."""
    if ipam.get("subnet") is not None:
        yield ipam, where
    for index, some in enumerate(list_of(ipam, "ranges", where)):
        at = f"{where}.ranges[{index}]"
        if not isinstance(some, list) or not some:
            raise NetworkRefused(at, f"{some!r} is no list of ranges; write [[{{...}}]]")
        for nth, one in enumerate(some):
            yield _object(one, f"{at}[{nth}]"), f"{at}[{nth}]"


def _check_range(one: Mapping[str, Any], at: str) -> None:
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
    for key in _RANGE:
        if (value := one.get(key)) in (None, ""):
            continue
        address = address_of(value)
        if address is None or address.version != subnet.version:
            raise NetworkRefused(f"{at}.{key}", f"{value!r} is no address of the family of {subnet}")
        if key != "gateway" and address not in subnet:
            raise NetworkRefused(f"{at}.{key}", f"{address} is not in {subnet}")


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
