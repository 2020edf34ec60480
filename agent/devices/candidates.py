"""What of the hardware may be handed out at all, by a resource's type.

Never: a PF that has VFs, since they live by it, what the node's default routes leave by, and what the node has other
devices above, as a port of a bridge or a bond.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from agent.devices.config import DeviceType, Resource
from agent.devices.selector import Candidate
from agent.model.device import Hardware, PciFunction, Subfunction

NETWORK, ACCELERATOR = 0x02, 0x12  # PCI's base classes
STEM_MOST = 56  # of a slot's id, of which the kubelet takes 63 characters


def candidates(kind: DeviceType, hardware: Hardware) -> Mapping[str, Candidate]:
    """The devices of a type, by their ids, in order."""
    found = {one.id: one for one in _OF[kind](hardware)}
    return dict(sorted(found.items()))


def slots(resource: Resource) -> Mapping[str, Candidate]:
    """The devices of a resource that is a number of slots."""
    stem = resource.name.partition("/")[2][:STEM_MOST]
    return {(name := f"{stem}-{number}"): Candidate(name) for number in range(resource.slots)}


def remembered(hardware: Hardware, earlier: Hardware) -> Hardware:
    """*hardware*, in which a function whose network device is in a pod has the names that it had before."""
    functions = {
        address: replace(function, netdevs=earlier.functions[address].netdevs)
        if function.driver and not function.netdevs and address in earlier.functions
        else function
        for address, function in hardware.functions.items()
    }
    return replace(hardware, functions=functions)


def reserved(hardware: Hardware, device: PciFunction | Subfunction) -> str:
    """Why a device is the node's own, whatever selects it; empty: a pod may have it."""
    if isinstance(device, PciFunction) and device.vfs:
        return "it has VFs, which live by it"
    own = tuple(hardware.netdevs[name] for name in device.netdevs if name in hardware.netdevs)
    if name := next((one.name for one in own if one.has_default_route), ""):
        return f"the node's default route leaves by {name}"
    below = next((one for one in own if one.above), None)
    return f"{', '.join(below.above)} of the node would lose {below.name}" if below else ""


def is_in_pod(hardware: Hardware, device: str) -> bool:
    """Whether a function's network device has gone to a pod, with what a selector could see of it."""
    function = hardware.functions.get(device)
    return function is not None and bool(function.netdevs) and not any(n in hardware.netdevs for n in function.netdevs)


def _network(hardware: Hardware) -> Iterator[Candidate]:
    return _functions(hardware, NETWORK)


def _accelerators(hardware: Hardware) -> Iterator[Candidate]:
    return _functions(hardware, ACCELERATOR)


def _functions(hardware: Hardware, base_class: int) -> Iterator[Candidate]:
    for function in hardware.functions.values():
        if function.base_class == base_class and not reserved(hardware, function):
            yield _of_function(hardware, function)


def _subfunctions(hardware: Hardware) -> Iterator[Candidate]:
    for one in hardware.subfunctions.values():
        parent = hardware.functions.get(one.parent)
        if parent is not None and not reserved(hardware, one):
            yield Candidate(
                id=one.name,
                vendor=parent.vendor,
                device=parent.device,
                driver=one.driver,
                parents=frozenset(parent.netdevs),
                root=parent.address,
                number=one.number,
                link_types=_link_types(hardware, one.netdevs or parent.netdevs),
                aux_type=one.kind,
                numa_node=parent.numa_node,
            )


_OF = {
    DeviceType.NET: _network,
    DeviceType.ACCELERATOR: _accelerators,
    DeviceType.AUXILIARY: _subfunctions,
}


def _of_function(hardware: Hardware, function: PciFunction) -> Candidate:
    parent = hardware.functions.get(function.pf, function)
    return Candidate(
        id=function.address,
        vendor=function.vendor,
        device=function.device,
        driver=function.driver,
        parents=frozenset(parent.netdevs),
        root=parent.address,
        number=function.vf,
        link_types=_link_types(hardware, function.netdevs or parent.netdevs),
        acpi_index=function.acpi_index,
        numa_node=function.numa_node,
    )


def _link_types(hardware: Hardware, names: Iterable[str]) -> frozenset[str]:
    return frozenset(hardware.netdevs[name].link_type for name in names if name in hardware.netdevs)
