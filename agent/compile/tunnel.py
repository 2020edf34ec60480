"""The device that encapsulates, and the MTU that pods have because of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from agent.compile.settings import NetworkSettings
from agent.model.local import Device
from agent.options.choices import Encapsulation
from agent.options.values import LEAST_MTU

NAME = "swtunnel"
SEGMENTER = "swtunnel-peer"  # a veth's other end, by which GSO packets become packets
DEFAULT_MTU = 1500  # of a node without uplink


class DeviceKind(StrEnum):
    """What a device is to the kernel."""

    VXLAN = "vxlan"
    GENEVE = "geneve"
    VETH = "veth"  # encapsulates nothing: the programs do, and take its MTU


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The one device by which encapsulated packets leave, as it should be."""

    kind: DeviceKind
    port: int  # 0: receives nothing from the network
    mtu: int


@dataclass(frozen=True, slots=True)
class TunnelLinks:
    """The devices of the encapsulation as they are, by ifindex; 0: none."""

    tunnel: int = 0
    segmenter: int = 0


def tunnel(network: NetworkSettings, overhead: int, uplinks: Iterable[Device]) -> Tunnel | None:
    """The device that this node needs; None where nothing is encapsulated.

    *overhead* is the octets that encapsulation adds to a packet at most.
    """
    if not network.has_tunnel:
        return None
    room = max(_narrowest(uplinks) - overhead, LEAST_MTU)
    mtu = min(network.mtu or room, room) if network.is_native else network.mtu or room  # natively that is pods' alone
    return Tunnel(_kind(network), network.udp_port, mtu)


def tunnel_links(network: NetworkSettings, devices: Iterable[Device]) -> TunnelLinks:
    """Those of the node's devices that are the tunnel's, where the options ask for one."""
    if not network.has_tunnel:
        return TunnelLinks()
    by_name = {device.name: device.ifindex for device in devices}
    segmenter = by_name.get(SEGMENTER, 0) if _kind(network) is DeviceKind.VETH else 0
    return TunnelLinks(by_name.get(NAME, 0), segmenter)


def pod_mtu(network: NetworkSettings, wanted: Tunnel | None, uplinks: Iterable[Device]) -> int:
    """The MTU of pods' interfaces: the option's, else the tunnel's where there is one, else the narrowest uplink's.

    Never less than IPv6 needs: the kernel takes the addresses of an interface with less.
    """
    if network.mtu:
        return network.mtu
    return wanted.mtu if wanted is not None else max(_narrowest(uplinks), LEAST_MTU)


def _narrowest(uplinks: Iterable[Device]) -> int:
    return min((device.mtu for device in uplinks if device.mtu), default=DEFAULT_MTU)


def _kind(network: NetworkSettings) -> DeviceKind:
    """The VXLAN device does Geneve's work where the kernel has none: the headers are of one size."""
    if network.is_ipip:
        return DeviceKind.VETH
    is_geneve = network.encapsulation is Encapsulation.GENEVE and network.has_geneve
    return DeviceKind.GENEVE if is_geneve else DeviceKind.VXLAN
