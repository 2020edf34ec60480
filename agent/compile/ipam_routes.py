"""``ipam.routes`` of a CNI configuration, looked at before a plugin is: what it refuses is told with the key.

Our IPAM plugin has the key, and of others those whose routes are as in a result.

Source: CNI specification 1.1.0, section 5; containernetworking/plugins 1.6, ipam/host-local and ipam/static.
"""

from collections.abc import Mapping
from typing import Any

from agent.compile.network_refused import NetworkRefused
from agent.compile.network_value import address_of, prefix_of
from agent.model.network import OUR_PLUGIN

WITH_ROUTES = frozenset({OUR_PLUGIN, "host-local", "static", "whereabouts"})
NUMBERS = {"mtu": 1 << 32, "advmss": 1 << 32, "priority": 1 << 32, "table": 1 << 32, "scope": 1 << 8}


def check_routes(ipam: Mapping[str, Any], where: str) -> None:
    """The routes can be set; *where* is the key of *ipam*.

    Raises:
        NetworkRefused: one cannot.
    """
    routes = ipam.get("routes")
    if ipam.get("type") not in WITH_ROUTES or routes is None:
        return
    if not isinstance(routes, list):
        raise NetworkRefused(f"{where}.routes", f"{routes!r} is no list of routes")
    for index, one in enumerate(routes):
        at = f"{where}.routes[{index}]"
        if not isinstance(one, dict):
            raise NetworkRefused(at, f"{one!r} is no object with dst, and gw where it is not the addresses' own")
        _check_route(one, at)


def _check_route(one: Mapping[str, Any], at: str) -> None:
    destination = prefix_of(one.get("dst"))
    if destination is None:
        has = repr(one["dst"]) if "dst" in one else "what is not there"
        raise NetworkRefused(f"{at}.dst", f"{has} is no prefix, as 10.8.0.0/16 or ::/0")
    if one.get("gw") not in (None, ""):  # what has no hash may stand there
        gateway = address_of(one["gw"])
        if gateway is None:
            raise NetworkRefused(f"{at}.gw", f"{one['gw']!r} is no address")
        if gateway.version != destination.version:
            raise NetworkRefused(f"{at}.gw", f"{gateway} is not of the family of {destination}, where it leads")
    for key, above in NUMBERS.items():
        value = one.get(key)
        if value is not None and (type(value) is not int or not 0 <= value < above):
            raise NetworkRefused(f"{at}.{key}", f"{value!r} is not a number from 0 to {above - 1}")
