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
