"""A Pod's annotations and the definitions that they name: the interfaces that it is to have, or why it cannot.

Pure. Who makes them is ``agent.pods``; what is wrong is told with the field, before anything is made.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.compile.network_annotation import selections
from agent.compile.network_config import SYSTEM
from agent.compile.network_refused import NetworkRefused
from agent.compile.nic_config import HOST_DEVICE_KEYS
from agent.model.name import ObjectName, Problem
from agent.model.network import (
    AFXDP,
    DEFAULT_NETWORK,
    NETWORKS,
    OUR_PLUGIN,
    RESOURCE_NAME,
    VETH,
    InterfaceRequest,
    NetworkDefinition,
    NetworkRules,
    NetworkSelection,
    PluginList,
)
from agent.model.nic import NicKind
from agent.model.vf import VfKind

ANNOTATION = "metadata.annotations['{}']"
NETWORKS_FIELD, DEFAULT_FIELD = ANNOTATION.format(NETWORKS), ANNOTATION.format(DEFAULT_NETWORK)
Definitions = Mapping[ObjectName, NetworkDefinition]
Devices = Mapping[str, Sequence[str]]  # by resource: the ids that the pod's containers were given, in their order
NO_DEVICES: Devices = {}
_IN_CNI_ARGS = frozenset({str, int, float})  # whose text is theirs in JSON


@dataclass(frozen=True, slots=True)
class Asked:
    """What a Pod's annotations ask for."""

    default: NetworkSelection | None  # in place of our own first interface
    networks: tuple[NetworkSelection, ...]

    def __bool__(self) -> bool:
        return self.default is not None or bool(self.networks)

    @property
    def names(self) -> frozenset[ObjectName]:
        """The definitions that it needs."""
        every = (*((self.default,) if self.default else ()), *self.networks)
        return frozenset(one.name for one in every)


@dataclass(frozen=True, slots=True)
class PodInterfaces:
    """The interfaces of a pod, in the order in which they are made."""

    first: InterfaceRequest | None  # None: our own
    more: tuple[InterfaceRequest, ...] = ()

    @property
    def all(self) -> tuple[InterfaceRequest, ...]:
        """Those that plugins make."""
        return (*((self.first,) if self.first else ()), *self.more)


class DefinitionMissing(NetworkRefused):
    """There is no such definition; it may come."""


def asked(pod: ObjectName, annotations: Mapping[str, str]) -> Asked:
    """What a Pod asks for.

    Raises:
        NetworkRefused: an annotation cannot be read.
    """
    first = selections(annotations.get(DEFAULT_NETWORK, ""), SYSTEM, DEFAULT_FIELD)
    if len(first) > 1:
        raise NetworkRefused(DEFAULT_FIELD, f"names {len(first)} networks; a pod has one first interface")
    if first and first[0].name.namespace != SYSTEM:
        raise NetworkRefused(first[0].field, f"{first[0].name} is not in {SYSTEM}, where first networks are defined")
    if first and first[0].interface:
        raise NetworkRefused(f"{first[0].field}.interface", "is not free: the runtime names a pod's first interface")
    return Asked(first[0] if first else None, selections(annotations.get(NETWORKS, ""), pod.namespace, NETWORKS_FIELD))


def interfaces(  # noqa: PLR0913  what it depends on
    wanted: Asked,
    pod: ObjectName,
    definitions: Definitions,
    rules: NetworkRules,
    *,
    first_interface: str = "eth0",
    devices: Devices | None = NO_DEVICES,
    in_use: Collection[str] = (),
) -> PodInterfaces:
    """The interfaces of a pod that asks for *wanted*, each with a definition that has its plugins.

    *devices*: None while nobody knows them; *in_use* are those that the pod's other interfaces are made of.

    Raises:
        DefinitionMissing: there is no such definition.
        NetworkRefused: it cannot have them.
    """
    names = [one.interface or f"net{index}" for index, one in enumerate(wanted.networks, 1)]
    for one, name in zip(wanted.networks, names, strict=True):
        if name == first_interface or names.count(name) > 1:
            raise NetworkRefused(f"{one.field}.interface", f"{name} is another interface of the pod")
    routed = [one for one in (wanted.default, *wanted.networks) if one and one.default_route]
    if len(routed) > 1:
        raise NetworkRefused(f"{routed[1].field}.default-route", f"{routed[0].field} has one; a pod has one way out")
    named = frozenset(one.device for one in (wanted.default, *wanted.networks) if one and one.device)
    used = {*in_use}
    first = None
    if wanted.default is not None:
        found = _usable(wanted.default, definitions)
        if not found.is_ours:
            if found.own_kind in {VETH, AFXDP}:
                text = f"{wanted.default.name} is of the kind {found.own_kind}, on the cluster's network; leave it out"
                raise NetworkRefused(wanted.default.field, text)
            device = _device(wanted.default, definitions, devices, used, named)
            first = _interface(wanted.default, found, first_interface, device, definitions)
    more = []
    for one, name in zip(wanted.networks, names, strict=True):
        _reachable(one, pod, rules)
        found = _usable(one, definitions)
        if found.is_ours:
            text = f"{one.name} is of {OUR_PLUGIN} without a kind, which is a pod's first interface; add kind"
            raise NetworkRefused(one.field, text)
        device = _device(one, definitions, devices, used, named)
        more.append(_interface(one, found, name, device, definitions))
    return PodInterfaces(first, tuple(more))


def problems(
    pods: Mapping[ObjectName, Mapping[str, str]], definitions: Definitions, rules: NetworkRules
) -> Iterator[Problem]:
    """What is wrong with the annotations of pods, by their names; devices are known only when a pod starts."""
    for name, annotations in pods.items():
        try:
            interfaces(asked(name, annotations), name, definitions, rules, devices=None)
        except NetworkRefused as refused:
            yield Problem("Pod", name, refused.field, refused.text)


def _reachable(one: NetworkSelection, pod: ObjectName, rules: NetworkRules) -> None:
    namespace = one.name.namespace
    if rules.is_isolated and namespace != pod.namespace and namespace not in rules.global_namespaces:
        text = f"{one.name} is of another namespace, which --network-namespace-isolation forbids"
        raise NetworkRefused(one.field, text)


def _usable(one: NetworkSelection, definitions: Definitions) -> PluginList:
    """The plugins of the definition that is named."""
    found = definitions.get(one.name)
    if found is None:
        raise DefinitionMissing(one.field, f"there is no NetworkAttachmentDefinition {one.name}")
    if found.fault:
        raise NetworkRefused(one.field, f"NetworkAttachmentDefinition {one.name} cannot be used: {found.fault}")
    if found.plugins is None:
        text = "has no spec.config, and no file of this node has its name"
        raise NetworkRefused(one.field, f"NetworkAttachmentDefinition {one.name} {text}")
    if not _has_device(found, found.plugins):
        text = f"{one.name} has neither an annotation {RESOURCE_NAME} nor a key that says which device it is made of"
        raise NetworkRefused(one.field, text)
    return found.plugins


def _has_device(one: NetworkDefinition, plugins: PluginList) -> bool:
    """Whether it is said which device an interface is made of, where our plugin makes it of one."""
    kind = plugins.own_kind
    if (kind not in frozenset(VfKind) and kind != NicKind.HOST_DEVICE) or one.resource:
        return True
    config = msgspec.json.decode(plugins.plugins[0].config)
    keys = ("deviceID", "pciBusID", *(HOST_DEVICE_KEYS if kind == NicKind.HOST_DEVICE else ()))
    return any(config.get(key) for key in keys)


def _device(
    one: NetworkSelection, definitions: Definitions, devices: Devices | None, used: set[str], named: frozenset[str]
) -> str:
    """The device that the interface is made of: of its resource's, which the pod was given, the next or the named.

    A pod names no other: it would take the node's own, or another pod's. What is *named* for one interface is not the
    next of another.
    """
    resource = definitions[one.name].resource
    if one.device and not resource:
        text = f"names a device, and {one.name} has no annotation {RESOURCE_NAME} that the pod has it of"
        raise NetworkRefused(f"{one.field}.deviceID", text)
    if devices is None or not resource:
        return one.device
    given = devices.get(resource, ())
    free = [device for device in given if device not in used]
    if one.device and one.device not in free:
        text = f"the pod was not given {one.device} of {resource} for this interface"
        raise NetworkRefused(f"{one.field}.deviceID", text)
    chosen = one.device or next((device for device in free if device not in named), "")
    if not chosen:
        text = f"{one.name} is made of {resource}, of which the pod has {len(given)}; ask for it in spec.containers"
        raise NetworkRefused(one.field, text)
    used.add(chosen)
    return chosen


def _interface(
    one: NetworkSelection, plugins: PluginList, name: str, device: str, definitions: Definitions
) -> InterfaceRequest:
    runtime = {
        "ips": list(one.ips),
        "mac": one.mac,
        "portMappings": _read(one.port_mappings),
        "bandwidth": _read(one.bandwidth),
    }
    wanted = {key: value for key, value in runtime.items() if value}
    for capability in wanted:
        if capability not in plugins.capabilities:
            text = f"no plugin of {one.name} has the capability {capability!r}, so it would not be heard"
            raise NetworkRefused(f"{one.field}.{capability}", text)
    if device:
        wanted["deviceID"] = device
    return InterfaceRequest(
        network=one.name,
        interface=name,
        plugins=plugins,
        runtime=msgspec.json.encode(wanted).decode(),
        args=tuple(_args(one)),
        cni_args=one.cni_args,
        default_route=one.default_route,
        device=device,
        resource=definitions[one.name].resource if device else "",
        asked=asked_text(one),
    )


def asked_text(one: NetworkSelection) -> str:
    """What an element of the annotation asks for, whatever its interface is called and wherever it stands."""
    said = {
        "name": str(one.name),
        "ips": one.ips,
        "mac": one.mac,
        "default-route": list(map(str, one.default_route)),
        "portMappings": one.port_mappings,
        "bandwidth": one.bandwidth,
        "cni-args": one.cni_args,
        "deviceID": one.device,
    }
    return msgspec.json.encode({key: value for key, value in said.items() if value}).decode()


def _args(one: NetworkSelection) -> Iterator[tuple[str, str]]:
    """What is in CNI_ARGS too, as plugins have read it from before there were capabilities."""
    if one.mac:
        yield "MAC", one.mac
    for key, value in (_read(one.cni_args) or {}).items():
        if type(value) in _IN_CNI_ARGS and not {*f"{key}{value}"} & {*";=\0"}:
            yield key, str(value)


def _read(text: str) -> Any:
    return msgspec.json.decode(text) if text else None
