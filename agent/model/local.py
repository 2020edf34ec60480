"""What this node itself has: addresses, devices, and the interfaces attached to pods."""

from dataclasses import dataclass

from agent.model.address import Address, Network
from agent.model.attachment import Attachment


@dataclass(frozen=True, slots=True)
class Device:
    """A network device of the node that is no pod's."""

    ifindex: int
    name: str
    addresses: tuple[Address, ...] = ()
    networks: tuple[Network, ...] = ()  # the subnets it is on
    mtu: int = 0  # 0: not known
    default_route: bool = False
    is_paced: bool = False  # its queue sends each packet when the packet's time has come (fq)
    is_up: bool = True  # gateways behind it may be in reach
    has_ipv6: bool = True  # it is not switched off there
    kind: str = ""  # as the kernel names it that made it (veth, bond, vlan); empty: hardware has it
    is_bridge: bool = False  # of containers or virtual machines of this node, more often than of its network
    master: int = 0  # ifindex of the bond, bridge or team that it is a port of: what comes in by it is that one's
    has_ethernet: bool = True  # its frames begin with an Ethernet header; WireGuard's and TUN's begin with IP
    mac: bytes = b""  # 6 octets; none: it has no Ethernet address
    loopback: bool = False  # its addresses are the node's, but no packet comes in by it from outside
    sources: tuple[
        Address, ...
    ] = ()  # of its addresses, those fit for what leaves by it, the kernel's first choice first


@dataclass(frozen=True, slots=True)
class FarGateway:
    """A route by a gateway on no subnet of its device, as of nodes whose address is a /32 (clouds give such)."""

    network: Network
    gateway: Address
    device: str


@dataclass(frozen=True, slots=True)
class Local:
    """The node's own state, as netlink and the attachment store tell it."""

    devices: tuple[Device, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    netns_cookie: int = 0
    has_ipv6: bool = True  # the kernel has it
    port_range: tuple[int, int] = (32768, 60999)  # ip_local_port_range
    reserved_ports: tuple[tuple[int, int], ...] = ()  # ip_local_reserved_ports
    far_gateways: tuple[FarGateway, ...] = ()  # of the main table
    not_masqueraded: tuple[Network, ...] = ()  # as the file of --masquerade-config says

    @property
    def addresses(self) -> frozenset[Address]:
        """Those of all its devices."""
        return frozenset(address for device in self.devices for address in device.addresses)
