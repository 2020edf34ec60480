"""Which device is which resource's, and in what state: the hardware and the configuration, taken together.

A device belongs to one resource. What the kubelet has given away stays where it was given from; else the first
resource that selects it has it; and one that none selects any more, as it lost its driver or is gone, stays unhealthy.
What could be used and is not selected any more, as by a changed configuration, goes once its pod has gone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.devices.candidates import candidates, is_in_pod, slots
from agent.devices.config import KIND, Resource
from agent.devices.health import trouble
from agent.devices.selector import Candidate, DeviceSet
from agent.model.device import NO_NODE, Hardware
from agent.model.name import ObjectName, Problem

Owners = Mapping[str, str]  # names of resources by their devices' ids


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a pool."""

    id: str
    numa_node: int  # or NO_NODE
    root: str  # the PF's PCI address
    trouble: str  # why no pod can have it; empty: healthy


@dataclass(frozen=True, slots=True)
class Pool:
    """A resource with its devices, by id."""

    resource: Resource
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Pools:
    """All of them, in the configuration's order, and what a user should know of it."""

    pools: tuple[Pool, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def owners(self) -> Owners:
        """Whose each device is."""
        return {device.id: pool.resource.name for pool in self.pools for device in pool.devices}


def arrange(resources: Sequence[Resource], hardware: Hardware, given: Owners, earlier: Owners) -> Pools:
    """The pools of now. *given* is what the kubelet has given away, *earlier* what the last call came to."""
    found = {resource.name: _selected(resource, hardware) for resource in resources}
    names = {resource.name: resource for resource in resources}
    first = {device: name for name in reversed(found) for device in found[name]}
    owners = {id_: name for id_, name in earlier.items() if name in names and _stays(names[name], id_, hardware)}
    owners |= first
    owners |= {id_: name for id_, name in given.items() if name in names}
    pools = tuple(_pool(resource, found[resource.name], owners, hardware) for resource in resources)
    return Pools(pools, (*_absent(resources, hardware), *_overlaps(resources, found)))


def _stays(resource: Resource, device: str, hardware: Hardware) -> bool:
    """Whether a device stays a resource's that does not select it now."""
    return is_in_pod(hardware, device) or bool(trouble(resource, device, hardware))


def _selected(resource: Resource, hardware: Hardware) -> Mapping[str, Candidate]:
    if resource.slots:
        return slots(resource)
    there = candidates(resource.kind, hardware)
    chosen = resource.selectors
    return {id_: one for id_, one in there.items() if not chosen or any(each.matches(one) for each in chosen)}


def _pool(resource: Resource, found: Mapping[str, Candidate], owners: Owners, hardware: Hardware) -> Pool:
    own = sorted((id_ for id_, name in owners.items() if name == resource.name), key=_numbered)
    return Pool(resource, tuple(_device(resource, found.get(id_) or Candidate(id_), hardware) for id_ in own))


def _device(resource: Resource, one: Candidate, hardware: Hardware) -> Device:
    numa_node = one.numa_node if resource.has_topology else NO_NODE
    return Device(one.id, numa_node, one.root or one.id, trouble(resource, one.id, hardware))


def _numbered(id_: str) -> tuple[str, int, str]:
    """The order of ids: that of the numbers at their ends."""
    stem = id_.rstrip("0123456789")
    return stem, int(id_[len(stem) :] or 0), id_


def _absent(resources: Iterable[Resource], hardware: Hardware) -> Iterator[Problem]:
    """Of PFs that are named and not there."""
    functions = hardware.functions.values()
    pfs = {*hardware.netdevs, *(name for function in functions for name in function.netdevs)}
    for resource in resources:
        for selector in resource.selectors:
            yield from _missing(resource, "pfNames", selector.pf_names, pfs, "network device")
            yield from _missing(resource, "rootDevices", selector.root_devices, set(hardware.functions), "PCI function")


def _missing(
    resource: Resource, field: str, wanted: Iterable[DeviceSet], there: set[str], what: str
) -> Iterator[Problem]:
    for name in sorted({one.name for one in wanted} - there):
        text = f"this node has no {what} {name}; its devices join when it comes"
        yield Problem(KIND, ObjectName("", resource.name), f"selectors.{field}", text)


def _overlaps(resources: Sequence[Resource], found: Mapping[str, Mapping[str, Candidate]]) -> Iterator[Problem]:
    for index, resource in enumerate(resources):
        for before in resources[:index]:
            if shared := sorted(set(found[resource.name]) & set(found[before.name])):
                text = f"{', '.join(shared)}: {before.name}, which is before it, has them too, and keeps them"
                yield Problem(KIND, ObjectName("", resource.name), "selectors", text)
