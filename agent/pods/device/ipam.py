"""Addresses of a pod's device by another IPAM plugin of the node, which keeps its own books; its answer made values.

Source: CNI specification 1.1.0, sections 4 and 5 ("IPAM plugins").
"""

import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any, Protocol

from agent.kernel.device.netdev import PodAddresses
from agent.log import logger
from agent.model.address import Address
from agent.model.netdev import NetdevRoute
from agent.model.network import OUR_PLUGIN
from agent.pods.device.record import DeviceRecord
from agent.pods.device.request import DeviceRequest
from agent.pods.errors import DeviceUnusable, NoFreeAddress
from agent.pods.plugin import PluginFailed, Plugins

log = logger(__name__)

WAIT_S = 20.0  # of the shim's 55
NEWEST = "1.0.0"  # plugins in distributions know no later one, and what they answer is the same
SCOPES, NUMBERS = range(1 << 8), range(1 << 32)  # of what a route has
ON_LINK = range(253, 256)  # scopes without a gateway: RT_SCOPE_LINK and those behind it, linux/rtnetlink.h


class OwnIpam(Protocol):
    """Our IPAM plugin, without a process: ``agent.cni.ipam_commands.IpamInProcess``, or a test's."""

    def __call__(self, environment: Mapping[str, str], config: Mapping[str, Any]) -> Any:
        """As ``Plugins.run`` for ADD, DEL and CHECK."""


class AddressPlugin(Protocol):
    """:class:`DeviceIpam`, or a test's."""

    def add(self, record: DeviceRecord) -> Mapping[str, Any]:
        """What the plugin gives."""

    def delete(self, record: DeviceRecord | DeviceRequest[Any]) -> None:
        """What it gave, taken back."""

    def check(self, record: DeviceRecord) -> str:
        """Why it is not the device's any more."""


class DeviceIpam:
    """The IPAM plugins of one node."""

    def __init__(self, plugins: Plugins, own: OwnIpam | None = None) -> None:
        """*own* is ours, which is no process."""
        self._plugins = plugins
        self._own = own

    def add(self, record: DeviceRecord) -> Mapping[str, Any]:
        """What the plugin gives; nothing where the definition names none: the network is layer 2 alone.

        Raises:
            DeviceUnusable: the plugin says that its configuration cannot be used; the message is its own.
            NoFreeAddress: it refuses, as what has none to give now.
        """
        if not _kind(record):
            return {}
        try:
            return self._run("ADD", record) or {}
        except PluginFailed as error:
            why = f"ipam: {error}"
            raise (DeviceUnusable(why) if error.is_of_configuration else NoFreeAddress(why)) from error

    def delete(self, record: DeviceRecord | DeviceRequest[Any]) -> None:
        """Have it take back what it gave. One that the node has no more has no books either.

        Raises:
            PluginFailed: it does not.
        """
        if not _kind(record):
            return
        if self._own is None and _kind(record) == OUR_PLUGIN:
            return  # the node is cleaned, and the books go as a whole
        if self._is_own(record) or not self._plugins.lack(_kind(record)):
            self._run("DEL", record)
        else:
            log.warning("IPAM plugin is gone, with what it gave", plugin=_kind(record), device=record.address)

    def check(self, record: DeviceRecord) -> str:
        """Why the addresses are not the VF's any more; empty: they are."""
        if not _kind(record):
            return ""
        try:
            self._run("CHECK", record)
        except PluginFailed as error:
            return f"ipam: {error}"
        return ""

    def _is_own(self, record: DeviceRecord | DeviceRequest[Any]) -> bool:
        return self._own is not None and _kind(record) == OUR_PLUGIN

    def _run(self, command: str, record: DeviceRecord | DeviceRequest[Any]) -> Any:
        config = dict(record.config)
        config["cniVersion"] = min(str(config.get("cniVersion", NEWEST)), NEWEST)
        if command == "CHECK" and isinstance(record, DeviceRecord):
            config["prevResult"] = {"cniVersion": config["cniVersion"], **record.given}
        args = ""
        if record.pod is not None:
            args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={record.pod.namespace};K8S_POD_NAME={record.pod.name}"
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": record.container_id,
            "CNI_NETNS": record.netns,
            "CNI_IFNAME": record.interface,
            "CNI_ARGS": args,
        }
        if self._own is not None and self._is_own(record):
            return self._own(environment, config)
        return self._plugins.run(_kind(record), environment, config, time.monotonic() + WAIT_S)


def addresses(given: Mapping[str, Any]) -> PodAddresses:
    """What the device in the pod is to have.

    Raises:
        ValueError: the plugin's answer has something else in place of an address or a number.
    """
    gateways: dict[int, Address] = {
        g.version: g for one in _objects(given, "ips") if one.get("gateway") for g in [ip_address(one["gateway"])]
    }
    return PodAddresses(interfaces(given), tuple(_route(one, gateways) for one in _objects(given, "routes")))


def interfaces(given: Mapping[str, Any]) -> tuple[IPv4Interface | IPv6Interface, ...]:
    """Its addresses alone: a record may be of a version that looked at less of what routes say.

    Raises:
        ValueError: the plugin's answer has something else in place of an address.
    """
    return tuple(ip_interface(str(one.get("address"))) for one in _objects(given, "ips"))


def _objects(given: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found = given.get(key) or []
    if not isinstance(found, list | tuple) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{key}: {found!r} is no list of objects")
    return found


def _route(one: Mapping[str, Any], gateways: Mapping[int, Address]) -> NetdevRoute:
    """A route without a gateway goes by that of the addresses, unless its scope says that it leads to the link."""
    destination = ip_network(str(one.get("dst")), strict=False)
    scope = None if one.get("scope") is None else _number(one, "scope", SCOPES)
    near = None if scope in ON_LINK else gateways.get(destination.version)
    return NetdevRoute(
        destination,
        ip_address(one["gw"]) if one.get("gw") else near,
        priority=_number(one, "priority", NUMBERS),
        table=_number(one, "table", NUMBERS),
        scope=scope,
        mtu=_number(one, "mtu", NUMBERS),
        advmss=_number(one, "advmss", NUMBERS),
    )


def _number(one: Mapping[str, Any], key: str, among: range) -> int:
    value = one.get(key) or 0
    if type(value) is not int or value not in among:
        raise ValueError(f"routes[].{key}: {value!r} is not a number from 0 to {among[-1]}")
    return value


def _kind(record: DeviceRecord | DeviceRequest[Any]) -> str:
    return str((record.config.get("ipam") or {}).get("type") or "")
