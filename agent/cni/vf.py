"""The kinds ``sriov`` and ``dpdk`` of our plugin: a definition read as a VF spec, and the answer to ADD.

Keys are those of sriov-cni, so that its definitions hold here; an absent one means that nothing is touched.

Sources: sriov-cni 2.10, docs/configuration-reference.md; CNI specification 1.1.0, section 5, "Success".
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.cni.error import CniError, Code
from agent.cni.request import Request
from agent.model.vf import LinkState, NodeOwner, VfKind, VfSettings, VfSpec, VlanProtocol
from agent.pods.vf_record import VfRecord
from agent.pods.vf_request import VfRequest

VLANS, PRIORITIES = range(4095), range(8)
RATES = range(1 << 32)  # Mbit/s, as the kernel has them
IDS = range((1 << 32) - 1)  # of users and groups
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_PLUGIN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_SWITCH = {"on": True, "off": False}


def vf_request(request: Request) -> VfRequest:
    """What an ADD of a kind of :class:`VfKind` asks for.

    Raises:
        CniError: a key has a value that cannot be; it is named.
    """
    config = request.config
    runtime = _object(config, "runtimeConfig")
    address, where = _device(config, runtime)
    if not _PCI.fullmatch(address):
        raise _bad(where, f"{address!r} is no PCI address, as 0000:03:02.0")
    _check_ipam(config)
    return VfRequest(
        address=address,
        spec=VfSpec(VfKind(request.kind), _settings(config, request), _number(config, "mtu", None), _owner(config)),
        network=request.network,
        container_id=request.container_id,
        interface=request.interface,
        netns=request.netns,
        pod=request.pod,
        pod_uid=request.pod_uid,
        config=config,
        device_info=_text(runtime, "CNIDeviceInfoFile", "runtimeConfig."),
        asked_at_ns=request.asked_at_ns,
    )


def added(request: Request, record: VfRecord) -> bytes:
    """The result of ADD."""
    interface: dict[str, Any] = {"name": record.interface, "sandbox": record.netns}
    if record.mac:
        interface["mac"] = record.mac
    if request.version >= "1.1.0":
        interface |= {"mtu": record.mtu, "pciID": record.address}
    result: dict[str, Any] = dict(request.previous or {})
    interfaces = [*(result.get("interfaces") or ()), interface]
    ips = [_ip(one, len(interfaces) - 1, request.version) for one in record.given.get("ips") or ()]
    result |= {
        "cniVersion": request.version,
        "interfaces": interfaces,
        "ips": [*(result.get("ips") or ()), *ips],
        "routes": [*(result.get("routes") or ()), *(record.given.get("routes") or ())],
        "dns": record.given.get("dns") or dict(request.dns),
    }
    return msgspec.json.encode(result)


def _ip(one: Mapping[str, Any], interface: int, version: str) -> Mapping[str, Any]:
    ip = {**one, "interface": interface}
    ip.pop("version", None)
    if version < "1.0.0":
        ip["version"] = "6" if ":" in str(one.get("address")) else "4"
    return ip


def _device(config: Mapping[str, Any], runtime: Mapping[str, Any]) -> tuple[str, str]:
    """The VF's address and the key that says it: who asks for this pod goes before the definition."""
    for found, key, prefix in (
        (runtime, "deviceID", "runtimeConfig."),
        (config, "deviceID", ""),
        (config, "pciBusID", ""),
    ):
        if value := _text(found, key, prefix):
            return value.lower(), prefix + key
    raise _bad("deviceID", "is missing; a device plugin's resource gives it, or name the VF's PCI address")


def _settings(config: Mapping[str, Any], request: Request) -> VfSettings:
    vlan = _number(config, "vlan", VLANS)
    qos = _number(config, "vlanQoS", PRIORITIES)
    proto = _word(config, "vlanProto", {str(one): one for one in VlanProtocol})
    if not vlan and (qos or proto is VlanProtocol.S_TAG):
        raise _bad("vlanQoS" if qos else "vlanProto", "means something with a vlan other than 0 alone")
    least, most = _number(config, "min_tx_rate", RATES), _number(config, "max_tx_rate", RATES)
    if least is not None and most and least > most:
        raise _bad("min_tx_rate", f"{least} Mbit/s is more than max_tx_rate, {most}")
    return VfSettings(
        vlan=vlan,
        vlan_qos=qos if vlan else None,
        vlan_proto=proto if vlan else None,
        mac=request.asked.mac or _mac(config),
        spoofchk=_word(config, "spoofchk", _SWITCH),
        trust=_word(config, "trust", _SWITCH),
        link_state=_word(config, "link_state", {str(one): one for one in LinkState}),
        min_tx_rate=least,
        max_tx_rate=most,
    )


def _check_ipam(config: Mapping[str, Any]) -> None:
    """The plugin is executed by its name, so that must be one."""
    ipam = _object(config, "ipam")
    kind = _text(ipam, "type", "ipam.")
    if ipam and not _PLUGIN.fullmatch(kind):
        raise _bad("ipam.type", f"{kind!r} is no name of a plugin, as host-local; or leave ipam out")


def _owner(config: Mapping[str, Any]) -> NodeOwner | None:
    uid, gid = _number(config, "uid", IDS), _number(config, "gid", IDS)
    return None if uid is None and gid is None else NodeOwner(uid or 0, gid or 0)


def _mac(config: Mapping[str, Any]) -> str | None:
    text = _text(config, "mac").lower().replace("-", ":")
    if not text:
        return None
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1 or not text.strip("0:"):
        raise _bad("mac", f"{text!r} is no MAC address of a single device")
    return text


def _number(config: Mapping[str, Any], key: str, among: range | None) -> int | None:
    value = config.get(key)
    if value is None:
        return None
    if type(value) is not int or value < 0 or (among is not None and value not in among):
        limits = f"a number from 0 to {among[-1]}" if among is not None else "a number"
        raise _bad(key, f"{value!r} is not {limits}")
    return value


def _word(config: Mapping[str, Any], key: str, words: Mapping[str, Any]) -> Any:
    value = config.get(key)
    if value in (None, ""):
        return None
    found = words.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise _bad(key, f"{value!r} is none of {', '.join(words)}")
    return found


def _text(config: Mapping[str, Any], key: str, prefix: str = "") -> str:
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise _bad(prefix + key, f"{value!r} is no string")
    return value or ""


def _object(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise _bad(key, f"{value!r} is no object")
    return value or {}


def _bad(where: str, text: str) -> CniError:
    return CniError(Code.CONFIG, f"{where}: {text}")
