"""``k8s.v1.cni.cncf.io/network-status``: what a pod's interfaces are, from the results of those who made them. Pure.

Source: NPWG multi-network specification 1.3, section 5; CNI specification 1.1.0, section 5, for results.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

import msgspec

Entry = Mapping[str, Any]
Result = Mapping[str, Any]


def entries(  # noqa: PLR0913  what an entry has
    name: str,
    interface: str,
    result: Result,
    *,
    is_default: bool = False,
    gateways: Iterable[str] | None = None,
    device_info: Mapping[str, Any] | None = None,
) -> Iterator[Entry]:
    """An entry for each interface in the pod of which *result* tells; *interface* is its name where it tells of none.

    Of several the one of that name, or the first, is the pod's default where *is_default*, and has the addresses that
    are said to be of none of them. *gateways* of its default routes: None: those of the result.
    """
    inside: dict[int, Mapping[str, Any]]
    inside = {at: one for at, one in enumerate(_objects(result, "interfaces")) if one.get("sandbox")} or {0: {}}
    own = next((at for at, one in inside.items() if one.get("name") == interface), next(iter(inside)))
    ways = list(gateways if gateways is not None else _gateways(result))
    for index, one in inside.items():
        found: dict[str, Any] = {"name": name, "interface": one.get("name", interface)}
        ips = list(_addresses(result, index, inside, own))
        found |= {"ips": ips} if ips else {}
        found |= {key: one[key] for key in ("mac", "mtu") if one.get(key)}
        found |= {"default": True} if is_default and index == own else {}
        found["dns"] = result.get("dns") or {}
        found |= {"device-info": device_info} if device_info else {}
        found |= {"gateway": ways} if ways else {}
        yield found


def annotation(every: Iterable[Entry]) -> str:
    """The annotation's text."""
    return msgspec.json.format(msgspec.json.encode(list(every))).decode()


def _addresses(result: Result, index: int, inside: Collection[int], own: int) -> Iterator[str]:
    """The addresses of an interface, without their lengths; what is of none that is *inside* is its *own* one's."""
    for ip in _objects(result, "ips"):
        said = ip.get("interface")
        if index == (said if type(said) is int and said in inside else own):
            yield from _bare(ip.get("address"))
    for key in ("ip4", "ip6") if index == own else ():  # of results before 0.3.0
        older = result.get(key)
        yield from _bare(older.get("ip")) if isinstance(older, dict) else ()


def _bare(text: object) -> Iterator[str]:
    try:
        yield str(ip_interface(str(text)).ip)
    except ValueError:
        return


def _gateways(result: Result) -> Iterator[str]:
    for route in _objects(result, "routes"):
        if _is_default(route.get("dst")) and route.get("gw"):
            yield str(route["gw"])


def _is_default(destination: object) -> bool:
    try:
        return ip_network(str(destination)).prefixlen == 0
    except ValueError:
        return False


def _objects(result: Result, key: str) -> list[Mapping[str, Any]]:
    found = result.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
