"""The resources that the node is to offer, read from the SR-IOV network device plugin's ``config.json``.

What is wrong in a resource is a Problem and costs that resource alone; a key that is not known is wrong, since a
selector that is not obeyed would hand out more than was meant. Beyond that plugin's types there is ``afxdp``.

Source: README of k8snetworkplumbingwg/sriov-network-device-plugin, v3.11.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from agent.devices.selector import REFUSED, DeviceSet, Selector, device_set
from agent.json_text import NOT_JSON
from agent.model.name import ObjectName, Problem

KIND = "DeviceResource"
MOST_SLOTS = 4096
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PREFIX = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_PCI = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_HEX = re.compile(r"[0-9a-f]{4}")
_RESERVED = re.compile(r"requests\.|.*kubernetes\.io$")  # IsExtendedResourceName() of Kubernetes


class DeviceType(StrEnum):
    """What a resource's devices are."""

    NET = "netDevice"
    ACCELERATOR = "accelerator"
    AUXILIARY = "auxNetDevice"
    AFXDP = "afxdp"  # slots that interfaces are bound to


_KEYS: Mapping[DeviceType, frozenset[str]] = MappingProxyType(
    {
        DeviceType.NET: frozenset(
            {"vendors", "devices", "drivers", "pciAddresses", "acpiIndexes", "pfNames", "rootDevices", "linkTypes"}
            | {"needVhostNet"}
        ),
        DeviceType.ACCELERATOR: frozenset({"vendors", "devices", "drivers", "pciAddresses", "acpiIndexes"}),
        DeviceType.AUXILIARY: frozenset(
            {"vendors", "devices", "drivers", "pfNames", "rootDevices", "linkTypes", "auxTypes", "needVhostNet"}
        ),
        DeviceType.AFXDP: frozenset(),
    }
)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the node."""

    name: str  # "intel.com/sriov"
    kind: DeviceType
    selectors: tuple[Selector, ...] = ()
    slots: int = 0  # of afxdp
    has_topology: bool = True
    info: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: MappingProxyType({})
    )  # by device, "*" for all

    @property
    def needs_vhost_net(self) -> bool:
        """Whether its containers have /dev/vhost-net and /dev/net/tun, too."""
        return any(selector.needs_vhost_net for selector in self.selectors)


_NONE = msgspec.Raw(b"null")


class _List(msgspec.Struct, forbid_unknown_fields=True):
    resources: list[msgspec.Raw] = msgspec.field(name="resourceList")


class _Resource(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    resource_name: str
    resource_prefix: str = ""
    device_type: DeviceType = DeviceType.NET
    exclude_topology: bool = False
    selectors: msgspec.Raw = _NONE  # one object, or a list
    additional_info: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    count: int = 0


class _Selector(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    vendors: list[str] = []
    devices: list[str] = []
    drivers: list[str] = []
    pci_addresses: list[str] = []
    acpi_indexes: list[str] = []
    pf_names: list[str] = []
    root_devices: list[str] = []
    link_types: list[str] = []
    aux_types: list[str] = []
    need_vhost_net: bool = False
    is_rdma: bool = False
    ddp_profiles: list[str] = []
    p_keys: list[str] = msgspec.field(name="pKeys", default=[])
    vdpa_type: str = ""


def parse(content: bytes, prefix: str) -> tuple[tuple[Resource, ...], tuple[Problem, ...]]:
    """The resources of a configuration, in its order, and what is wrong with it.

    *prefix* is of resources that name none.
    """
    try:
        listed = msgspec.json.decode(content, type=_List).resources
    except NOT_JSON as error:  # ValidationError too
        return (), (Problem(KIND, ObjectName("", "config"), *_place(error)),)
    resources: dict[str, Resource] = {}
    problems: list[Problem] = []
    for index, raw in enumerate(listed):
        where = f"resourceList[{index}]"
        try:
            resource = _resource(raw, prefix, resources)
            resources[resource.name] = resource
        except NOT_JSON as error:
            path, text = _place(error)
            problems.append(_problem(raw, where, path, text))
        except _Wrong as wrong:
            problems.append(_problem(raw, where, wrong.path, wrong.text))
    return tuple(resources.values()), tuple(problems)


class _Wrong(Exception):  # noqa: N818  a sentence about a field
    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path, self.text = path, text


def _resource(raw: msgspec.Raw, prefix: str, before: Collection[str]) -> Resource:
    given = msgspec.json.decode(raw, type=_Resource)
    _check_count(given)
    selectors = tuple(_selector(given.device_type, where, one) for where, one in _selectors(given.selectors))
    if not NAME.fullmatch(given.resource_name):
        text = f"{given.resource_name!r} is no name; use letters, digits, _ and - within, 63 characters at most"
        raise _Wrong("resourceName", text)
    prefix = given.resource_prefix or prefix
    if not _PREFIX.fullmatch(prefix) or _RESERVED.match(prefix):
        raise _Wrong("resourcePrefix", f"{prefix!r} cannot be one; use a DNS name of yours, as example.com")
    name = f"{prefix}/{given.resource_name}"
    if name in before:
        raise _Wrong("resourceName", f"{name} is there already; each resource needs a name of its own")
    return Resource(
        name,
        given.device_type,
        selectors,
        given.count,
        has_topology=not given.exclude_topology,
        info=given.additional_info,
    )


def _check_count(given: _Resource) -> None:
    is_afxdp = given.device_type is DeviceType.AFXDP
    if given.count and not is_afxdp:
        raise _Wrong("count", f"a {given.device_type} is counted by its selectors; take it out, or use afxdp")
    if is_afxdp and any(True for _ in _selectors(given.selectors)):
        text = "an interface with AF_XDP is a veth, and none of the node's devices is handed out for it; take them out"
        raise _Wrong("selectors", text)
    if is_afxdp and not given.count:
        raise _Wrong("count", "afxdp needs a number of slots")
    if not 0 <= given.count <= MOST_SLOTS:
        raise _Wrong("count", f"{given.count} is out of range; 1 to {MOST_SLOTS} slots can be offered")


def _selectors(raw: msgspec.Raw) -> Iterator[tuple[str, msgspec.Raw]]:
    """Each selector with its path."""
    if raw == _NONE:
        return
    if not bytes(raw).startswith(b"["):
        yield "selectors", raw
        return
    for index, one in enumerate(msgspec.json.decode(raw, type=list[msgspec.Raw])):
        yield f"selectors[{index}]", one


def _selector(kind: DeviceType, where: str, raw: msgspec.Raw) -> Selector:
    try:
        given = msgspec.json.decode(raw, type=_Selector)
    except NOT_JSON as error:
        path, text = _place(error)
        raise _Wrong(f"{where}.{path}".rstrip("."), text) from error
    there: dict[str, Any] = {name: value for name, value in msgspec.to_builtins(given).items() if value}
    for key in there:
        if key in REFUSED:
            raise _Wrong(f"{where}.{key}", REFUSED[key])
        if key not in _KEYS[kind]:
            raise _Wrong(f"{where}.{key}", f"a resource of {kind} has no such selector; take it out")
    for key, (form, example) in _FORMS.items():
        for value in there.get(key, ()):
            if not form(value):
                raise _Wrong(f"{where}.{key}", f"{value!r} is none; write it as {example}")
    return Selector(
        vendors=frozenset(given.vendors),
        devices=frozenset(given.devices),
        drivers=frozenset(given.drivers),
        pci_addresses=frozenset(given.pci_addresses),
        acpi_indexes=frozenset(given.acpi_indexes),
        pf_names=_sets(given.pf_names, f"{where}.pfNames"),
        root_devices=_sets(given.root_devices, f"{where}.rootDevices"),
        link_types=frozenset(given.link_types),
        aux_types=frozenset(given.aux_types),
        needs_vhost_net=given.need_vhost_net,
    )


_FORMS: Mapping[str, tuple[Callable[[str], object], str]] = MappingProxyType(
    {
        "vendors": (_HEX.fullmatch, "8086"),
        "devices": (_HEX.fullmatch, "154c"),
        "pciAddresses": (_PCI.fullmatch, "0000:03:02.0"),
        "rootDevices": (lambda value: _PCI.fullmatch(value.partition("#")[0]), "0000:03:00.0 or 0000:03:00.0#0-3"),
        "linkTypes": ({"ether", "infiniband"}.__contains__, "ether or infiniband"),
    }
)


def _sets(values: list[str], where: str) -> tuple[DeviceSet, ...]:
    try:
        return tuple(map(device_set, values))
    except ValueError as error:
        raise _Wrong(where, str(error)) from error


def _place(error: Exception) -> tuple[str, str]:
    """The field that msgspec names, without its root, and the sentence."""
    text, _, path = str(error).partition(" - at `$")
    return path.strip("`.[]"), text


def _problem(raw: msgspec.Raw, where: str, path: str, text: str) -> Problem:
    """A resource's problem, under its name where it has one."""
    try:
        name = str(msgspec.json.decode(raw).get("resourceName") or where)
    except (AttributeError, *NOT_JSON):
        name = where
    return Problem(KIND, ObjectName("", name), f"{where}.{path}".rstrip("."), text)
