"""Why a device cannot be given to a pod now; empty while it can."""

from collections.abc import Iterable

from agent.devices.candidates import reserved
from agent.devices.config import DeviceType, Resource
from agent.model.device import Hardware, PciFunction

VFIO = "vfio-pci"


def trouble(resource: Resource, device: str, hardware: Hardware) -> str:
    """Of a device that is a resource's: gone, the node's, without its driver or a link, not alone in its group."""
    match resource.kind:
        case DeviceType.NET | DeviceType.ACCELERATOR:
            return _of_function(resource, hardware.functions.get(device), hardware)
        case DeviceType.AUXILIARY:
            return _of_subfunction(resource, device, hardware)
        case DeviceType.AFXDP:
            return ""  # a slot is no hardware


def _of_function(resource: Resource, function: PciFunction | None, hardware: Hardware) -> str:
    if function is None:
        return "it is not on the PCI bus"
    return (
        reserved(hardware, function)
        or _driver(resource, function.driver)
        or _group(function)
        or _link(hardware, function.pf or function.address, is_parent=bool(function.pf))
    )


def _of_subfunction(resource: Resource, device: str, hardware: Hardware) -> str:
    one = hardware.subfunctions.get(device)
    if one is None:
        return "it is not on the auxiliary bus"
    return reserved(hardware, one) or _driver(resource, one.driver) or _link(hardware, one.parent, is_parent=True)


def _driver(resource: Resource, driver: str) -> str:
    wanted = sorted({name for selector in resource.selectors for name in selector.drivers})
    if not driver:
        return f"no driver is bound{_wanted(wanted)}"
    has_wish = wanted and all(selector.drivers for selector in resource.selectors)
    return f"{driver} is bound{_wanted(wanted)}" if has_wish and driver not in wanted else ""


def _wanted(drivers: Iterable[str]) -> str:
    names = " or ".join(drivers)
    return f", not {names}" if names else ""


def _group(function: PciFunction) -> str:
    """A pod that has one function of a group could reach the others' memory."""
    if function.driver != VFIO:
        return ""
    if not function.iommu_group:
        return "it has no IOMMU group; switch the IOMMU on"
    others = [member for member in function.group_members if member != function.address]
    return f"its IOMMU group {function.iommu_group} has {', '.join(others)} too" if others else ""


def _link(hardware: Hardware, address: str, *, is_parent: bool) -> str:
    """Of what stands between a device and its cable; a device that is its own is down until a pod has it."""
    parent = hardware.functions.get(address)
    found = [hardware.netdevs[name] for name in (parent.netdevs if parent else ()) if name in hardware.netdevs]
    if is_parent and found and not any(one.is_up for one in found):
        return f"{found[0].name} is down"
    up = [one for one in found if one.is_up]
    return _no_carrier(up[0].name) if up and not any(one.has_carrier for one in up) else ""


def _no_carrier(name: str) -> str:
    return f"{name} has no carrier"
