"""What of a node can be handed to a pod as a device, and what the kubelet has handed out.

A PCI address is written as sysfs has it, ``0000:03:02.0``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NO_NODE = -1  # of memory: the device is as near to one as to another


@dataclass(frozen=True, slots=True)
class Netdev:
    """A network device of the node's own namespace; one that a pod has is not seen."""

    name: str
    mac: str
    link_type: str  # "ether", "infiniband", or the number of ARPHRD_*
    is_up: bool  # by its administrator
    has_carrier: bool
    driver: str = ""  # empty: a device of the kernel's own, as a bridge
    has_default_route: bool = False  # of the node's, or one on top of it has
    above: tuple[str, ...] = ()  # names of devices of the node above it, or that it is a port of


@dataclass(frozen=True, slots=True)
class PciFunction:
    """A function on the PCI bus: a whole device, a PF or a VF."""

    address: str
    vendor: str  # "8086"
    device: str  # "154c"
    base_class: int  # PCI's base class, 0x02: network
    driver: str  # empty: none is bound
    numa_node: int  # or NO_NODE
    netdevs: tuple[str, ...] = ()
    pf: str = ""  # of a VF
    vf: int | None = None  # its number, from 0
    vfs: tuple[str, ...] = ()  # of a PF, in order
    total_vfs: int = 0  # that the hardware can have
    iommu_group: str = ""  # its number
    group_members: tuple[str, ...] = ()  # all but bridges, this function too
    is_noiommu: bool = False
    uio: str = ""  # "uio0"
    acpi_index: str = ""


@dataclass(frozen=True, slots=True)
class Subfunction:
    """A device of the auxiliary bus, below a PCI function."""

    name: str  # "mlx5_core.sf.4"
    kind: str  # "sf"
    number: int | None  # sfnum
    driver: str
    parent: str  # PCI address
    netdevs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hardware:
    """All that sysfs shows at one time, by address or name."""

    functions: Mapping[str, PciFunction] = field(default_factory=lambda: MappingProxyType({}))
    subfunctions: Mapping[str, Subfunction] = field(default_factory=lambda: MappingProxyType({}))
    netdevs: Mapping[str, Netdev] = field(default_factory=lambda: MappingProxyType({}))
    has_vhost_net: bool = False
    has_tun: bool = False


@dataclass(frozen=True, slots=True)
class Allocated:
    """One device that the kubelet has given to a container."""

    namespace: str
    pod: str
    container: str
    resource: str  # "intel.com/sriov"
    device: str  # its id: a PCI address, or a name


@dataclass(frozen=True, slots=True)
class DeviceState:
    """One device of a resource, as the device plugin has told the kubelet."""

    resource: str
    device: str
    trouble: str  # why it is Unhealthy; empty: Healthy
