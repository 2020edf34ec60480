"""The keys of a definition of the kinds ``macvlan``, ``ipvlan``, ``vlan`` and ``host-device``, read or refused.

They are those of the reference plugins, so that their definitions hold here with another ``type`` and a ``kind``.

Source: containernetworking/plugins 1.6, the pages of main/macvlan, main/ipvlan, main/vlan and main/host-device.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from agent.compile.network_refused import NetworkRefused
from agent.compile.vf_config import check_ipam, mac_of, number_of, object_of, text_of
from agent.model.nic import IpvlanMode, MacvlanMode, NicKind, NicSpec

VLANS = range(1, 4095)
MTUS = range(1 << 16)
QUEUES = range(1 << 32)
HOST_DEVICE_KEYS = ("device", "hwaddr", "kernelpath")  # beside deviceID and pciBusID: which device it is
NAME_MOST = 15  # octets of a device's name: IFNAMSIZ less the NUL
W = TypeVar("W", bound=StrEnum)


def nic_spec(kind: NicKind, config: Mapping[str, Any], mac: str = "", *, may_be_given: bool = False) -> NicSpec:
    """What a definition asks for; *mac* is what the pod asks for, which goes first.

    *may_be_given*: the device of a host-device may still be one of a resource that its pod is given.

    Raises:
        NetworkRefused: a key has a value that cannot be.
    """
    check_ipam(config)
    if config.get("linkInContainer"):
        raise NetworkRefused("linkInContainer", "true is not for kinds of ours, whose master is a device of the node")
    if kind is NicKind.HOST_DEVICE:
        return _host_device(config, may_be_given=may_be_given)
    vlan = number_of(config, "vlanId", VLANS) if kind is NicKind.VLAN else 0
    if vlan is None:
        raise NetworkRefused("vlanId", "is missing; a number from 1 to 4094 says which VLAN it is")
    if kind is NicKind.VLAN and not config.get("master"):
        raise NetworkRefused("master", "is missing; name the device of the node whose VLAN it is")
    own_mac = (mac or mac_of(config) or "") if kind is NicKind.MACVLAN else ""
    if kind is not NicKind.MACVLAN and (mac or config.get("mac")):
        raise NetworkRefused("mac", f"is not for the kind {kind}, which has that of its master")
    return NicSpec(
        kind,
        device=_device_name(config, "master"),
        macvlan_mode=_mode(config, MacvlanMode.BRIDGE) if kind is NicKind.MACVLAN else MacvlanMode.BRIDGE,
        ipvlan_mode=_ipvlan_mode(config) if kind is NicKind.IPVLAN else IpvlanMode.L2,
        broadcast_queue=(number_of(config, "bcqueuelen", QUEUES) or None) if kind is NicKind.MACVLAN else None,
        vlan=vlan,
        mtu=number_of(config, "mtu", MTUS) or None,
        mac=own_mac,
    )


def _host_device(config: Mapping[str, Any], *, may_be_given: bool) -> NicSpec:
    """By the first that is said, in the reference plugin's order; what a device plugin gave goes before them."""
    given = text_of(object_of(config, "runtimeConfig"), "deviceID", "runtimeConfig.") or text_of(config, "deviceID")
    spec = NicSpec(
        NicKind.HOST_DEVICE,
        device=_device_name(config, "device"),
        hardware_address=mac_of(config, "hwaddr") or "",
        path=text_of(config, "kernelpath"),
        pci_address=(given or text_of(config, "pciBusID")).lower(),
    )
    if not (may_be_given or spec.device or spec.hardware_address or spec.path or spec.pci_address):
        raise NetworkRefused("device", "is missing; say it, hwaddr, kernelpath or pciBusID, or name a resource")
    return spec


def _device_name(config: Mapping[str, Any], key: str) -> str:
    name = text_of(config, key)
    if len(name.encode()) > NAME_MOST or "/" in name or any(map(str.isspace, name)):
        raise NetworkRefused(key, f"{name!r} is no name of a device")
    return name


def _ipvlan_mode(config: Mapping[str, Any]) -> IpvlanMode:
    if text_of(config, "mode") == "l3s":
        text = "'l3s' is not there, for its packets pass no program in the pod; l3 routes as well, or type ipvlan"
        raise NetworkRefused("mode", text)
    return _mode(config, IpvlanMode.L2)


def _mode(config: Mapping[str, Any], default: W) -> W:
    """One of the words that *default* is of."""
    word = text_of(config, "mode")
    if not word:
        return default
    try:
        return type(default)(word)
    except ValueError:
        raise NetworkRefused("mode", f"{word!r} is none of {', '.join(type(default))}") from None
