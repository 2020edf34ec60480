"""What of the hardware may be handed out at all, by a resource's type.

Never: a PF that has VFs, since they live by it, and what the node's default routes leave by.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from agent.devices.config import DeviceType, Resource
from agent.devices.selector import Candidate
from agent.model.device import Hardware, PciFunction

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


def _network(hardware: Hardware) -> Iterator[Candidate]:
    for function in hardware.functions.values():
        if function.base_class == NETWORK and not function.vfs and not _is_nodes(hardware, function.netdevs):
            yield _of_function(hardware, function)


def _accelerators(hardware: Hardware) -> Iterator[Candidate]:
    for function in hardware.functions.values():
        if function.base_class == ACCELERATOR and not function.vfs:
            yield _of_function(hardware, function)


def _subfunctions(hardware: Hardware) -> Iterator[Candidate]:
    for one in hardware.subfunctions.values():
        parent = hardware.functions.get(one.parent)
        if parent is not None and not _is_nodes(hardware, one.netdevs):
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


def _is_nodes(hardware: Hardware, names: Iterable[str]) -> bool:
    """Whether the node itself lives by one of these network devices."""
    return any(name in hardware.netdevs and hardware.netdevs[name].has_default_route for name in names)


def _link_types(hardware: Hardware, names: Iterable[str]) -> frozenset[str]:
    return frozenset(hardware.netdevs[name].link_type for name in names if name in hardware.netdevs)
