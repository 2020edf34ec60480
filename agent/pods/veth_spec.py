"""The veth pair that a pod is to have, as a value, and what is alike at every pod's.

Every pod sees one neighbour, the node, under the same link-local addresses and MAC, both written down for good:
no ARP, no duplicate address detection, nothing to wait for.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from agent.model.address import Address, link_local
from agent.model.attachment import AfXdp, Veth
from agent.pods.attachments import digest, host_device, made_mac
from maps import abi

HOST_MAC = abi.NODE_MAC.hex(":")
TABLES = 1000  # above those that people name
GATEWAY4 = IPv4Address("169.254.1.1")
GATEWAY6 = link_local(abi.NODE_MAC)


@dataclass(frozen=True, slots=True)
class VethSpec:
    """The pair to make."""

    container_id: str
    interface: str
    netns: str  # path
    may_be_host: bool
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    mac: str = ""  # empty: follows from the attachment
    is_first: bool = True  # of its container's: the one with the default route
    afxdp: AfXdp | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The pod's addresses."""
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)

    @property
    def host_device(self) -> str:
        """The name of the node's end."""
        return host_device(self.container_id, self.interface)

    @property
    def table(self) -> int:
        """The pod's routing table for what it sends from this interface's addresses, where that is not the main one."""
        return 0 if self.is_first else table_of(self.container_id, self.interface)

    @property
    def pod_mac(self) -> str:
        """The pod's MAC, by its attachment unless told."""
        return self.mac or made_mac(self.container_id, self.interface)


@dataclass(frozen=True, slots=True)
class MadeVeth:
    """A pair that was made."""

    link: Veth
    mac: str  # of the pod's end
    mtu: int
    netns_cookie: int


def table_of(container_id: str, interface: str) -> int:
    """A pod's routing table for what it sends from one interface's addresses."""
    return TABLES + int(digest(container_id, interface)[:7], 16)


def gateway(address: Address) -> Address:
    """Where the pod sends what leaves it."""
    return GATEWAY4 if isinstance(address, IPv4Address) else GATEWAY6
