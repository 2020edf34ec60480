"""What has to be done to a VF so that it is as asked, or as it was: wanted minus actual, each attribute by itself.

A driver that lacks one attribute refuses that alone, so each is a change of its own, named by its key in a definition.
What the kernel sets together (a VLAN with its priority and protocol; both rates) is one change, and keeps what is there
of the part that is not asked for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from agent.compile.nic import in_use
from agent.model.nic import Nic
from agent.model.vf import NO_MAC, VFIO, LinkState, Vf, VfKind, VfSettings, VfSpec, VlanProtocol

LEAST_MTU = 68  # RFC 791


@dataclass(frozen=True, slots=True)
class SetVlan:
    """A VLAN that the PF puts on what the VF sends, and takes off; 0: none."""

    vlan: int
    qos: int
    proto: VlanProtocol
    field: str = "vlan"

    def __str__(self) -> str:
        return f"{self.vlan} (vlanQoS {self.qos}, vlanProto {self.proto})"


@dataclass(frozen=True, slots=True)
class SetMac:
    """The VF's address, which it cannot change then; NO_MAC: it may choose."""

    mac: str
    field: str = "mac"

    def __str__(self) -> str:
        return self.mac


@dataclass(frozen=True, slots=True)
class SetRate:
    """How much the VF may send, and is kept free for it: Mbit/s, 0 for none."""

    least: int
    most: int
    field: str = "max_tx_rate"

    def __str__(self) -> str:
        return f"{self.most} (min_tx_rate {self.least})"


@dataclass(frozen=True, slots=True)
class SetSpoofCheck:
    """Whether the PF drops what the VF sends under others' addresses."""

    on: bool
    field: str = "spoofchk"

    def __str__(self) -> str:
        return "on" if self.on else "off"


@dataclass(frozen=True, slots=True)
class SetTrust:
    """Whether the VF may change its address and receive what is not for it."""

    on: bool
    field: str = "trust"

    def __str__(self) -> str:
        return "on" if self.on else "off"


@dataclass(frozen=True, slots=True)
class SetLinkState:
    """The VF's link."""

    state: LinkState
    field: str = "link_state"

    def __str__(self) -> str:
        return self.state


Change = SetVlan | SetMac | SetRate | SetSpoofCheck | SetTrust | SetLinkState


def changes(wanted: VfSettings, actual: VfSettings) -> tuple[Change, ...]:
    """What makes *actual* what is *wanted*, in the order of doing; the address comes before what guards it."""
    return tuple(_changes(wanted, actual))


def _changes(wanted: VfSettings, actual: VfSettings) -> Iterator[Change]:
    merged = VfSettings(*(_first(getattr(wanted, f.name), getattr(actual, f.name)) for f in fields(VfSettings)))
    if _differs(wanted, actual, "vlan", "vlan_qos", "vlan_proto"):
        yield _vlan(merged)
    if wanted.mac is not None and wanted.mac != actual.mac:
        yield SetMac(wanted.mac)
    if _differs(wanted, actual, "min_tx_rate", "max_tx_rate"):
        low, high = merged.min_tx_rate or 0, merged.max_tx_rate or 0
        yield SetRate(low, high, "min_tx_rate" if wanted.max_tx_rate is None else "max_tx_rate")
    if wanted.spoofchk is not None and wanted.spoofchk != actual.spoofchk:
        yield SetSpoofCheck(wanted.spoofchk)
    if wanted.trust is not None and wanted.trust != actual.trust:
        yield SetTrust(wanted.trust)
    if wanted.link_state is not None and wanted.link_state != actual.link_state:
        yield SetLinkState(wanted.link_state)


def kept(asked: VfSettings, actual: VfSettings) -> VfSettings:
    """What of that which was *asked* the PF has now, in its own words: rates may be rounded.

    A VF that is trusted may have another address later.
    """
    found = {f.name: getattr(actual, f.name) for f in fields(VfSettings) if getattr(asked, f.name) is not None}
    return VfSettings(**found | ({"mac": None} if actual.trust else {}))


def done(change: Change, to: VfSettings) -> VfSettings:
    """The settings after a change."""
    match change:
        case SetVlan():
            proto = change.proto if change.vlan else VlanProtocol.C_TAG
            return replace(to, vlan=change.vlan, vlan_qos=change.qos, vlan_proto=proto)
        case SetMac():
            return replace(to, mac=change.mac)
        case SetRate():
            return replace(to, min_tx_rate=change.least, max_tx_rate=change.most)
        case SetSpoofCheck():
            return replace(to, spoofchk=change.on)
        case SetTrust():
            return replace(to, trust=change.on)
        case SetLinkState():
            return replace(to, link_state=change.state)


def spec_for(vf: Vf, spec: VfSpec, made_mac: str) -> VfSpec:
    """The spec with what follows from the VF that serves it.

    A VF that VFIO has already is handed over by VFIO. One without the kernel in between has its address fixed and its
    sender checked by the card, unless the definition says otherwise: nobody else could. *made_mac* is for one of which
    neither the PF nor a device of its own says an address: it would choose any.
    """
    if vf.driver == VFIO:
        spec = replace(spec, kind=VfKind.DPDK)
    if spec.kind is not VfKind.DPDK:
        return spec
    settings = spec.settings
    if settings.mac is None and vf.settings.mac in {None, NO_MAC}:
        settings = replace(settings, mac=vf.netdev.mac if vf.netdev is not None else made_mac)
    if settings.spoofchk is None:
        settings = replace(settings, spoofchk=True)
    if settings.trust is None:
        settings = replace(settings, trust=False)
    return replace(spec, settings=settings)


def refusal(vf: Vf, spec: VfSpec, nics: Iterable[Nic]) -> str:
    """Why this VF cannot serve a spec of :func:`spec_for`, with the field; empty when it can.

    *nics* are its network devices, with all that the node has of them.
    """
    if spec.mtu is not None and not LEAST_MTU <= spec.mtu <= vf.pf_mtu:
        return f"mtu: {spec.mtu} is not from {LEAST_MTU} to {vf.pf_mtu}, the MTU of its PF {vf.pf_device}"
    low = _first(spec.settings.min_tx_rate, vf.settings.min_tx_rate) or 0
    high = _first(spec.settings.max_tx_rate, vf.settings.max_tx_rate) or 0
    if high and low > high:
        return f"min_tx_rate: {low} Mbit/s is more than max_tx_rate, {high}"
    if why := next(filter(None, (in_use(nic, f"deviceID: {vf.address}") for nic in nics)), ""):
        return why
    if spec.kind is VfKind.DPDK:
        return _group_refusal(vf)
    if vf.netdev is None:
        has = f"is bound to {vf.driver}" if vf.driver else "has no driver"
        return (
            f"deviceID: {vf.address} {has} and has no network device on the node; a network driver makes one, "
            "or another container has it"
        )
    return ""


def _group_refusal(vf: Vf) -> str:
    if vf.group is None:
        return (
            f"deviceID: {vf.address} is in no IOMMU group, so VFIO cannot guard the node's memory; enable the IOMMU in "
            "the firmware and boot with intel_iommu=on or amd_iommu=on"
        )
    bound = [f"{address} ({driver})" for address, driver in sorted(vf.group.others.items()) if driver]
    if bound:
        return (
            f"deviceID: {vf.address} shares IOMMU group {vf.group.number} with {', '.join(bound)}, which the pod would "
            "get too; unbind them, or use a slot with ACS"
        )
    return ""


def _vlan(merged: VfSettings) -> SetVlan:
    """Without a VLAN there is no priority or protocol of one."""
    vlan = merged.vlan or 0
    if not vlan:
        return SetVlan(0, 0, VlanProtocol.C_TAG)
    return SetVlan(vlan, merged.vlan_qos or 0, merged.vlan_proto or VlanProtocol.C_TAG)


def _differs(wanted: VfSettings, actual: VfSettings, *names: str) -> bool:
    both = ((getattr(wanted, name), getattr(actual, name)) for name in names)
    return any(want is not None and want != has for want, has in both)


def _first(one: Any, other: Any) -> Any:
    return other if one is None else one
