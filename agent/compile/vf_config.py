"""The keys of a definition of the kinds ``sriov`` and ``dpdk``, read as a VF spec or refused by their names.

Keys are those of sriov-cni, so that its definitions hold here; an absent one means that nothing is touched.

Source: sriov-cni 2.10, docs/configuration-reference.md.
"""

import re
from collections.abc import Mapping
from typing import Any

from agent.compile.network_refused import NetworkRefused
from agent.model.vf import LinkState, NodeOwner, VfKind, VfSettings, VfSpec, VlanProtocol

VLANS, PRIORITIES = range(4095), range(8)
RATES = range(1 << 32)  # Mbit/s, as the kernel has them
IDS = range((1 << 32) - 1)  # of users and groups
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_PLUGIN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_SWITCH = {"on": True, "off": False}


def vf_spec(kind: VfKind, config: Mapping[str, Any], mac: str = "") -> VfSpec:
    """What a definition asks of its VF; *mac* is what the pod asks for, which goes first.

    Raises:
        NetworkRefused: a key has a value that cannot be.
    """
    check_ipam(config)
    return VfSpec(kind, _settings(config, mac), number_of(config, "mtu", None), _owner(config))


def refuse_dhcp(config: Mapping[str, Any]) -> None:
    """A client of DHCP renews from no address, and our programs drop what is not from one of the pod's.

    So it is with VFs and with the kinds of :class:`agent.model.nic.NicKind`.

    Raises:
        NetworkRefused: the definition wants one; not asked where a VF is to be given back.
    """
    if object_of(config, "ipam").get("type") == "dhcp":
        text = "'dhcp' is not for kinds of ours: it could not renew; name an IPPool, or host-local or static"
        raise NetworkRefused("ipam.type", text)


def text_of(config: Mapping[str, Any], key: str, prefix: str = "") -> str:
    """A text, empty where there is none; *prefix* is where the key stands.

    Raises:
        NetworkRefused: it is none.
    """
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise NetworkRefused(prefix + key, f"{value!r} is no string")
    return value or ""


def object_of(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object, empty where there is none.

    Raises:
        NetworkRefused: it is none.
    """
    value = config.get(key)
    if value is not None and not isinstance(value, dict):
        raise NetworkRefused(key, f"{value!r} is no object")
    return value or {}


def _settings(config: Mapping[str, Any], mac: str) -> VfSettings:
    vlan = number_of(config, "vlan", VLANS)
    qos = number_of(config, "vlanQoS", PRIORITIES)
    proto = _word(config, "vlanProto", {str(one): one for one in VlanProtocol})
    if not vlan and (qos or proto is VlanProtocol.S_TAG):
        raise NetworkRefused("vlanQoS" if qos else "vlanProto", "means something with a vlan other than 0 alone")
    least, most = number_of(config, "min_tx_rate", RATES), number_of(config, "max_tx_rate", RATES)
    if least is not None and most and least > most:
        raise NetworkRefused("min_tx_rate", f"{least} Mbit/s is more than max_tx_rate, {most}")
    return VfSettings(
        vlan=vlan,
        vlan_qos=qos if vlan else None,
        vlan_proto=proto if vlan else None,
        mac=mac or mac_of(config),
        spoofchk=_word(config, "spoofchk", _SWITCH),
        trust=_word(config, "trust", _SWITCH),
        link_state=_word(config, "link_state", {str(one): one for one in LinkState}),
        min_tx_rate=least,
        max_tx_rate=most,
    )


def check_ipam(config: Mapping[str, Any]) -> None:
    """The plugin is executed by its name, so that must be one.

    Raises:
        NetworkRefused: it is none.
    """
    ipam = object_of(config, "ipam")
    kind = text_of(ipam, "type", "ipam.")
    if ipam and not _PLUGIN.fullmatch(kind):
        raise NetworkRefused("ipam.type", f"{kind!r} is no name of a plugin, as host-local; or leave ipam out")


def _owner(config: Mapping[str, Any]) -> NodeOwner | None:
    uid, gid = number_of(config, "uid", IDS), number_of(config, "gid", IDS)
    return None if uid is None and gid is None else NodeOwner(uid or 0, gid or 0)


def mac_of(config: Mapping[str, Any], key: str = "mac") -> str | None:
    """A device's address in lower case with colons; None where there is none.

    Raises:
        NetworkRefused: it is none, or a group's.
    """
    text = text_of(config, key).lower().replace("-", ":")
    if not text:
        return None
    if not _MAC.fullmatch(text) or int(text[:2], 16) & 1 or not text.strip("0:"):
        raise NetworkRefused(key, f"{text!r} is no MAC address of a single device")
    return text


def number_of(config: Mapping[str, Any], key: str, among: range | None) -> int | None:
    """A number, of those *among* which it has to be, if any; None where there is none.

    Raises:
        NetworkRefused: it is another, or none.
    """
    value = config.get(key)
    if value is None:
        return None
    if type(value) is not int or value < 0 or (among is not None and value not in among):
        limits = f"a number from {among[0]} to {among[-1]}" if among is not None else "a number"
        raise NetworkRefused(key, f"{value!r} is not {limits}")
    return value


def _word(config: Mapping[str, Any], key: str, words: Mapping[str, Any]) -> Any:
    value = config.get(key)
    if value in (None, ""):
        return None
    found = words.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise NetworkRefused(key, f"{value!r} is none of {', '.join(words)}")
    return found
