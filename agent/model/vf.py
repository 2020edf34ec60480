"""A virtual function (VF) of an SR-IOV card: what is asked of it for a pod, and how it is.

It is known by its PCI address, as sysfs has it (``0000:03:02.0``): names of devices change when a VF goes into a pod
and comes back. What its physical function (PF) keeps for it stands in :class:`VfSettings`, of a spec as of what is
there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from agent.model.netdev import Netdev

NO_MAC = "00:00:00:00:00:00"  # of a VF whose PF has set none
VFIO = "vfio-pci"


class VfKind(StrEnum):
    """How a pod has its VF."""

    NETDEV = "sriov"  # as a network device of its namespace
    DPDK = "dpdk"  # by VFIO, without the kernel


class LinkState(StrEnum):
    """Whether a VF's link follows that of its PF."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"


class VlanProtocol(StrEnum):
    """The tag's kind."""

    C_TAG = "802.1q"
    S_TAG = "802.1ad"


@dataclass(frozen=True, slots=True)
class VfSettings:
    """What the PF keeps for a VF. None: of a spec, left as it is; of what is there, the driver does not tell."""

    vlan: int | None = None  # 0: untagged
    vlan_qos: int | None = None
    vlan_proto: VlanProtocol | None = None
    mac: str | None = None  # lower case; NO_MAC: the VF chooses
    spoofchk: bool | None = None
    trust: bool | None = None
    link_state: LinkState | None = None
    min_tx_rate: int | None = None  # Mbit/s; 0: none
    max_tx_rate: int | None = None  # Mbit/s; 0: none


@dataclass(frozen=True, slots=True)
class IommuGroup:
    """What one VFIO file gives access to: all of its functions, or none."""

    number: str
    others: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # PCI address: driver; no bridges


@dataclass(frozen=True, slots=True)
class Vf:
    """A VF as it is found. *netdev* is None where it has none on the node: another driver, or a pod has it."""

    address: str
    pf: str  # PCI address
    pf_device: str  # the PF's network device
    pf_driver: str
    pf_mtu: int
    number: int  # among the PF's VFs, from 0
    driver: str  # empty: none
    driver_override: str  # empty: none
    settings: VfSettings
    netdev: Netdev | None = None
    group: IommuGroup | None = None  # None: the node has no IOMMU in use


@dataclass(frozen=True, slots=True)
class NodeOwner:
    """Who may open a VFIO group's file, beside root."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class VfSpec:
    """What a pod's definition asks of its VF; *mtu* None: as the PF has it."""

    kind: VfKind
    settings: VfSettings
    mtu: int | None = None
    owner: NodeOwner | None = None
