"""``spec.config`` of a NetworkAttachmentDefinition, or a file of the node: read as a list of plugins, or refused.

Source: CNI specification 1.1.0, section 1; NPWG multi-network specification 1.3, section 3.2.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from agent.compile.afxdp_config import queues_and_capture
from agent.compile.ipam_ranges import check_addresses
from agent.compile.ipam_routes import check_routes
from agent.compile.network_refused import NetworkRefused
from agent.compile.nic_config import nic_spec
from agent.compile.own_keys import check_keys
from agent.compile.vf_config import refuse_dhcp, vf_spec
from agent.model.network import AFXDP, DEVICE_INFO_FILE, OUR_KINDS, OUR_PLUGIN, Plugin, PluginList
from agent.model.nic import NicKind
from agent.model.vf import VfKind

SYSTEM = "kube-system"  # where definitions of first interfaces are, as Multus' multusNamespace
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
UNSAID = "0.1.0"  # what a configuration without cniVersion means
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
POOL = re.compile(r" *[a-z0-9]([-a-z0-9.]*[a-z0-9])? *")  # an object's name, a DNS subdomain
OUR_IPAM = frozenset({"type", "pool", "routes", "socket"})  # keys of ipam where it is ours
OWN_VERSIONS = VERSIONS[3:]  # that our plugin speaks
VETH_HEEDS = frozenset({"ips", "mac", "portMappings", "bandwidth"})  # capabilities of our kinds, declared or not
VF_HEEDS = frozenset({"deviceID", DEVICE_INFO_FILE})  # an address is the definition's to allow
NIC_HEEDS = frozenset({"deviceID"})


def plugin_list(config: str, name: str, where: str = "spec.config", *, may_be_given: bool = True) -> PluginList:
    """The plugins of a configuration, or of a list of them; *name* is the network's where it says none.

    *may_be_given*: pods may be given the device of a resource; False where it is known that there is no resource.

    Raises:
        NetworkRefused: it is no such configuration.
    """
    try:
        found = msgspec.json.decode(config)
    except (msgspec.DecodeError, RecursionError) as error:
        raise NetworkRefused(where, f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise NetworkRefused(where, "is no JSON object; give a CNI configuration, or a list of plugins")
    is_list = "plugins" in found
    given = _name(found, name, where)
    version = _version(found, where)
    plugins = tuple(_plugins(found, where) if is_list else [_plugin(found, where)])
    if not may_be_given:
        _check_device(plugins[0], where)
    if len(plugins) > 1 and any(plugin.kind == OUR_PLUGIN for plugin in plugins):
        raise NetworkRefused(f"{where}.plugins", f"{OUR_PLUGIN} stands in no chain of a definition; leave it out")
    if plugins[0].own_kind and version not in OWN_VERSIONS:
        raise NetworkRefused(
            f"{where}.cniVersion", f"{version!r} is not one of {OUR_PLUGIN}, which has {', '.join(OWN_VERSIONS)}"
        )
    return PluginList(
        name=given,
        version=version,
        plugins=plugins,
        checks=not _switch(found, "disableCheck", where),
        collects=not _switch(found, "disableGC", where),
    )


def check_use(plugins: PluginList, namespace: str, where: str = "spec.config") -> None:
    """A definition of this namespace can be a pod's further network, or its first.

    Raises:
        NetworkRefused: it can be neither.
    """
    if plugins.is_ours and namespace != SYSTEM:
        text = f"is missing; {OUR_PLUGIN} without a kind is a pod's first interface, which {SYSTEM} alone defines"
        raise NetworkRefused(f"{where}.kind", text)


def _name(found: Mapping[str, Any], name: str, where: str) -> str:
    given = found.get("name", "") or name
    if not isinstance(given, str) or not NAME.fullmatch(given):
        raise NetworkRefused(f"{where}.name", f"{given!r} is no network name; use letters, digits, '_', '.' and '-'")
    return given


def _version(found: Mapping[str, Any], where: str) -> str:
    """The highest that we know of those that it offers."""
    one, more = found.get("cniVersion", ""), found.get("cniVersions") or []
    offered = [one or UNSAID, *(more if isinstance(more, list) else [more])]
    known = [version for version in VERSIONS if version in offered]
    if not known:
        raise NetworkRefused(f"{where}.cniVersion", f"{one!r} is not known; known are {', '.join(VERSIONS)}")
    return known[-1]


def _plugins(found: Mapping[str, Any], where: str) -> Iterator[Plugin]:
    plugins = found["plugins"]
    if not isinstance(plugins, list) or not plugins:
        raise NetworkRefused(f"{where}.plugins", "is no list of plugins; give at least one")
    for index, one in enumerate(plugins):
        at = f"{where}.plugins[{index}]"
        if not isinstance(one, dict):
            raise NetworkRefused(at, f"{one!r} is no object")
        yield _plugin(one, at)


def _plugin(one: Mapping[str, Any], where: str) -> Plugin:
    kind = one.get("type")
    if not isinstance(kind, str) or not kind:
        raise NetworkRefused(f"{where}.type", "is missing; name the plugin, as macvlan")
    if not NAME.fullmatch(kind):
        raise NetworkRefused(f"{where}.type", f"{kind!r} is no name of a plugin; give its file's name without a path")
    _object(one, "dns", where)
    _object(_object(one, "args", where), "cni", f"{where}.args")
    capabilities = _object(one, "capabilities", where)
    _ipam(one, where)
    for name, is_wanted in capabilities.items():
        if not isinstance(is_wanted, bool):
            raise NetworkRefused(f"{where}.capabilities.{name}", f"{is_wanted!r} is neither true nor false")
    wanted = frozenset(name for name, is_wanted in capabilities.items() if is_wanted)
    own_kind = _own_kind(one, where) if kind == OUR_PLUGIN else ""
    if own_kind:
        wanted |= _heeds(own_kind)
    check_addresses(_object(one, "ipam", where), f"{where}.ipam", is_told="ipRanges" in wanted)
    return Plugin(kind, wanted, msgspec.json.encode(one).decode(), own_kind)


def _own_kind(one: Mapping[str, Any], where: str) -> str:
    """The kind of interface that a configuration of our plugin asks for, whose keys are found sound."""
    kind = one.get("kind", "")
    if kind not in ("", *OUR_KINDS):
        raise NetworkRefused(f"{where}.kind", f"{kind!r} is none of {', '.join(OUR_KINDS)}")
    is_vf, is_nic = kind in frozenset(VfKind), kind in frozenset(NicKind)
    if kind and not (is_vf or is_nic) and one.get("ipam") and one["ipam"].get("type") != OUR_PLUGIN:
        text = f"is not for the kind {kind}, whose addresses are of the node's pod CIDRs; leave it out, or say"
        text += f" {OUR_PLUGIN} and a pool"
        raise NetworkRefused(f"{where}.ipam", text)
    try:
        if kind:
            check_keys(one, kind)
        if is_vf:
            vf_spec(VfKind(kind), one)
            refuse_dhcp(one)
        elif is_nic:
            nic_spec(NicKind(kind), one, may_be_given=True)
            refuse_dhcp(one)
        elif kind == AFXDP or "afxdp" in one:
            queues_and_capture(one.get("afxdp", {}), "afxdp")
    except NetworkRefused as refused:
        raise NetworkRefused(f"{where}.{refused.field}", refused.text) from None
    return str(kind)


def _check_device(plugin: Plugin, where: str) -> None:
    """A host-device that no resource gives is said in its configuration."""
    if plugin.own_kind == NicKind.HOST_DEVICE:
        try:
            nic_spec(NicKind.HOST_DEVICE, msgspec.json.decode(plugin.config))
        except NetworkRefused as refused:
            raise NetworkRefused(f"{where}.{refused.field}", refused.text) from None


def _heeds(own_kind: str) -> frozenset[str]:
    """What of a request one of our kinds heeds, whatever its definition declares."""
    if own_kind in frozenset(VfKind):
        return VF_HEEDS
    return NIC_HEEDS if own_kind in frozenset(NicKind) else VETH_HEEDS


def _ipam(one: Mapping[str, Any], where: str) -> None:
    ipam = _object(one, "ipam", where)
    kind = ipam.get("type", "")
    if not isinstance(kind, str) or (kind and not NAME.fullmatch(kind)):
        raise NetworkRefused(f"{where}.ipam.type", f"{kind!r} is no name of a plugin, as host-local")
    if ipam and not kind:
        raise NetworkRefused(f"{where}.ipam.type", "is missing; name the plugin, as host-local, or leave ipam out")
    check_routes(ipam, f"{where}.ipam")
    if kind != OUR_PLUGIN:
        return
    pool = ipam.get("pool")
    if not isinstance(pool, str) or not all(map(POOL.fullmatch, pool.split(","))):
        raise NetworkRefused(f"{where}.ipam.pool", f"{pool!r} is no name of an IPPool, nor names with commas between")
    if unknown := sorted(ipam.keys() - OUR_IPAM):
        raise NetworkRefused(f"{where}.ipam.{unknown[0]}", f"is not known; known are {', '.join(sorted(OUR_IPAM))}")


def _object(found: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = found.get(key)
    if value is not None and not isinstance(value, dict):
        raise NetworkRefused(f"{where}.{key}", f"{value!r} is no object")
    return value or {}


def _switch(found: Mapping[str, Any], key: str, where: str) -> bool:
    """A switch, which libcni takes as a text too."""
    value = found.get(key, False)
    if str(value).lower() not in {"true", "false"}:
        raise NetworkRefused(f"{where}.{key}", f"{value!r} is neither true nor false")
    return str(value).lower() == "true"
