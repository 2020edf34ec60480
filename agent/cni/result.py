"""What a CNI command answers, in exactly the version that was asked for.

Last step of every CNI command; pure. A later version's fields are left out of an earlier version's answer.

Source: CNI specification 1.1.0, section 5, and its predecessors' section "Result".
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from agent.cni.error import CniError
from agent.cni.request import VERSIONS, Request
from agent.model.address import ANY
from agent.model.attachment import Attachment
from agent.pods.veth_spec import GATEWAY4, GATEWAY6, HOST_MAC, MadeVeth

_BARE_IPS = "1.0.0"  # ips have no family from here on
_DETAILED = "1.1.0"  # interfaces and routes have more than these
_INTERFACE, _ROUTE = frozenset({"name", "mac", "sandbox"}), frozenset({"dst", "gw"})


def added(request: Request, veth: MadeVeth, attachment: Attachment) -> bytes:
    """The result of ADD: the previous plugin's, with our two interfaces behind its own."""
    addresses = attachment.addresses
    result: dict[str, Any] = dict(request.previous or {})
    interfaces = list(result.get("interfaces") or ())
    ours = len(interfaces) + 1  # the pod's end, behind the node's
    interfaces += [
        {"name": veth.link.host_device, "mac": HOST_MAC},
        {"name": request.interface, "mac": veth.mac, "sandbox": request.netns},
    ]
    if request.version >= "1.1.0":
        for interface in interfaces[-2:]:
            interface["mtu"] = veth.mtu
    ips = [_ip(address, ours, request.version) for address in addresses]
    routes = [{"dst": str(ANY[a.version]), "gw": str(GATEWAY4 if a.version == 4 else GATEWAY6)} for a in addresses]  # noqa: PLR2004
    if not attachment.is_first:  # the pod's default routes are those of its first
        routes = []
    result |= {
        "cniVersion": request.version,
        "interfaces": interfaces,
        "ips": [*(result.get("ips") or ()), *ips],
        "routes": [*(result.get("routes") or ()), *routes],
    }
    result.setdefault("dns", dict(request.dns))
    return msgspec.json.encode(result)


def as_version(result: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Another plugin's result, of whatever version, as *version* of ours has it: runtimes know no later one.

    Source: containernetworking/cni 1.3, pkg/types/040/types.go, 100/types.go, create and convert.
    """
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


def passed_on(request: Request) -> bytes:
    """The result of ADD where the interface is another plugin's: what that one answered."""
    return msgspec.json.encode({**(request.previous or {}), "cniVersion": request.version})


def _ip(address: Any, interface: int, version: str) -> Mapping[str, Any]:
    gateway = GATEWAY4 if address.version == 4 else GATEWAY6  # noqa: PLR2004
    ip = {"address": f"{address}/{address.max_prefixlen}", "gateway": str(gateway), "interface": interface}
    if version < "1.0.0":
        ip["version"] = str(address.version)
    return ip


def failed(version: str, error: CniError) -> bytes:
    """An error, as runtimes read it from standard output."""
    answer = {"cniVersion": version, "code": int(error.code), "msg": str(error)}
    if error.details:
        answer["details"] = error.details
    return msgspec.json.encode(answer)


def versions() -> bytes:
    """The answer to VERSION; the shim gives the same one by itself."""
    return msgspec.json.encode({"cniVersion": VERSIONS[-1], "supportedVersions": VERSIONS})
