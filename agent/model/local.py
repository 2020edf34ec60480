"""What this node itself has: addresses, devices, and the interfaces attached to pods."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from agent.model.address import Address, Network
from agent.model.name import ObjectName

AttachmentKey = tuple[str, str]  # container id, interface name


@dataclass(frozen=True, slots=True)
class Device:
    """A network device of the node that is no pod's."""

    ifindex: int
    name: str
    addresses: tuple[Address, ...] = ()
    networks: tuple[Network, ...] = ()  # the subnets it is on
    mtu: int = 0  # 0: not known
    default_route: bool = False
    loopback: bool = False  # its addresses are the node's, but no packet comes in by it from outside


@dataclass(frozen=True, slots=True)
class Attachment:
    """An interface that CNI ADD gave to a container, known by container id and interface name."""

    container_id: str
    interface: str
    endpoint_id: int
    netns: str  # path
    netns_cookie: int
    host_device: str
    ifindex: int  # of the node's end
    mac: str  # of the pod's end
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    pod: ObjectName | None = None

    @property
    def key(self) -> AttachmentKey:
        """What identifies it."""
        return self.container_id, self.interface

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses it has."""
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)


@dataclass(frozen=True, slots=True)
class Local:
    """The node's own state, as netlink and the attachment store tell it."""

    devices: tuple[Device, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    netns_cookie: int = 0
    port_range: tuple[int, int] = (32768, 60999)  # ip_local_port_range
    reserved_ports: tuple[tuple[int, int], ...] = ()  # ip_local_reserved_ports
    not_masqueraded: tuple[Network, ...] = ()  # as the file of --masquerade-config says
