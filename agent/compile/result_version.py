"""A CNI result in the version of the specification that who is told it knows. Pure.

Source: containernetworking/cni 1.3, pkg/types/040/types.go, 100/types.go, create and convert; pkg/invoke/exec.go.
"""

from collections.abc import Mapping
from typing import Any

_LISTS = "0.3.0"  # of addresses, and of plugins; what came before is read by its reader alone
_BARE_IPS = "1.0.0"  # ips have no family from here on
_DETAILED = "1.1.0"  # interfaces and routes have more than these
_INTERFACE, _ROUTE = frozenset({"name", "mac", "sandbox"}), frozenset({"dst", "gw"})


def handed_on(result: Mapping[str, Any], version: str) -> Mapping[str, Any]:
    """A plugin's result as the others of its configuration of this *version* can read it.

    One that tells no version is of that one, as libcni has it; of another the reference plugins take none.
    """
    said = result.get("cniVersion")
    if said == version or (said and version < _LISTS):
        return result
    return as_version(result, version) if said else {**result, "cniVersion": version}


def as_version(result: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Another plugin's result, of whatever version, as *version* has it: runtimes know no later one."""
    said = str(result.get("cniVersion") or version)
    ips, routes = _objects(result.get("ips")), _objects(result.get("routes"))
    for key in ("ip4", "ip6"):  # before 0.3.0
        older = result.get(key)
        if isinstance(older, dict):
            ips.append({"address": older.get("ip"), **({"gateway": older["gateway"]} if older.get("gateway") else {})})
            routes += _objects(older.get("routes"))
    ips = [{key: value for key, value in one.items() if key != "version"} for one in ips]
    if version < _BARE_IPS:
        ips = [{"version": "6" if ":" in str(one.get("address")) else "4", **one} for one in ips]
    interfaces = _objects(result.get("interfaces"))
    if version < _DETAILED <= said:
        interfaces = [{key: value for key, value in one.items() if key in _INTERFACE} for one in interfaces]
        routes = [{key: value for key, value in one.items() if key in _ROUTE} for one in routes]
    others = {key: value for key, value in result.items() if key not in {"ip4", "ip6"}}
    parts = {"interfaces": interfaces, "ips": ips, "routes": routes}
    return {**others, **{key: value for key, value in parts.items() if value or key in result}, "cniVersion": version}


def _objects(value: object) -> list[dict[str, Any]]:
    return [dict(one) for one in value if isinstance(one, dict)] if isinstance(value, list) else []
