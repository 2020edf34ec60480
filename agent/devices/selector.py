"""Which devices a resource means: each key that is given must agree, by one of its values.

Devices of every type are looked at in one form, :class:`Candidate`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from agent.model.device import NO_NODE
from agent.options.number import decimal

MOST_VF = 0xFFFF
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "isRdma": "RDMA devices are not handed out; leave it out, or false, for functions without them",
        "vdpaType": "vDPA devices are not handed out; select the functions by their drivers",
        "ddpProfiles": "profiles of a NIC's parser are not read; select the functions by pfNames or rootDevices",
        "pKeys": "InfiniBand partitions are not read; select the functions by pfNames or rootDevices",
    }
)


@dataclass(frozen=True, slots=True)
class DeviceSet:
    """A device, or of what is below it some numbers: ``eth0#0-3,5``."""

    name: str
    ranges: tuple[range, ...] = ()  # empty: all, and the device itself

    def has(self, names: frozenset[str], number: int | None) -> bool:
        """Whether it means what is below one of *names* under *number*; None: the device itself."""
        if self.name not in names:
            return False
        return not self.ranges or (number is not None and any(number in each for each in self.ranges))


def device_set(text: str) -> DeviceSet:
    """Read one.

    Raises:
        ValueError: it has another form.
    """
    name, sign, numbers = text.partition("#")
    if not name or (sign and not numbers):
        raise ValueError(f"{text!r} is none; write it as eth0, or eth0#0-3,5 for some of its functions")
    return DeviceSet(name, tuple(_range(part.strip(), text) for part in numbers.split(",")) if sign else ())


def _range(part: str, whole: str) -> range:
    first, _, last = part.partition("-")
    least, most = decimal(first, MOST_VF), decimal(last or first, MOST_VF)
    if least is None or most is None or least > most:
        raise ValueError(f"{part!r} in {whole!r} is no range of functions; write it as 0-3 or 5, the lower one first")
    return range(least, most + 1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that a resource may have."""

    id: str
    vendor: str = ""
    device: str = ""
    driver: str = ""
    parents: frozenset[str] = frozenset()  # network devices of the PF; of what is no VF its own
    root: str = ""  # the PF's PCI address, or its own
    number: int | None = None  # of the VF or subfunction
    link_types: frozenset[str] = frozenset()
    acpi_index: str = ""
    aux_type: str = ""
    numa_node: int = NO_NODE


@dataclass(frozen=True, slots=True)
class Selector:
    """Keys that all must agree; one that is empty asks for nothing."""

    vendors: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    drivers: frozenset[str] = frozenset()
    pci_addresses: frozenset[str] = frozenset()
    acpi_indexes: frozenset[str] = frozenset()
    pf_names: tuple[DeviceSet, ...] = ()
    root_devices: tuple[DeviceSet, ...] = ()
    link_types: frozenset[str] = frozenset()
    aux_types: frozenset[str] = frozenset()
    needs_vhost_net: bool = False

    def matches(self, one: Candidate) -> bool:
        """Whether the resource may have it."""
        return all(self._answers(one))

    def _answers(self, one: Candidate) -> Iterator[bool]:
        yield not self.vendors or one.vendor in self.vendors
        yield not self.devices or one.device in self.devices
        yield not self.drivers or one.driver in self.drivers
        yield not self.pci_addresses or one.id in self.pci_addresses
        yield not self.acpi_indexes or one.acpi_index in self.acpi_indexes
        yield not self.pf_names or any(each.has(one.parents, one.number) for each in self.pf_names)
        yield not self.root_devices or any(each.has(frozenset({one.root}), one.number) for each in self.root_devices)
        yield not self.link_types or bool(one.link_types & self.link_types)
        yield not self.aux_types or one.aux_type in self.aux_types
