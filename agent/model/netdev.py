"""A network device that goes from the node into a pod and home, and the routes by it there."""

from dataclasses import dataclass

from agent.model.address import Address, Network


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What can be set of any network device beside address, MTU and names; None: the kernel has no such number."""

    flags: int  # IFF_*, of those that can be set
    alias: str  # as names are
    broadcast: str  # the link's address of all
    link_mode: int | None = None
    group: int | None = None
    tx_queue: int | None = None  # packets
    gso_max_segs: int | None = None
    gso_max_size: int | None = None  # octets, as all sizes
    gro_max_size: int | None = None
    gso_ipv4_max_size: int | None = None
    gro_ipv4_max_size: int | None = None


@dataclass(frozen=True, slots=True)
class Netdev:
    """A network device that pods are given, in whichever namespace it is."""

    name: str  # as all names of it octet by octet, what is no UTF-8 in surrogates
    index: int
    mac: str
    mtu: int
    altnames: tuple[str, ...] = ()
    is_up: bool = False
    settings: LinkSettings | None = None  # None: not noted

    @property
    def shown(self) -> str:
        """The name in messages."""
        return printable(self.name)


def printable(name: str) -> str:
    """A name of a device without surrogates, which no message can have."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


@dataclass(frozen=True, slots=True)
class NetdevRoute:
    """A route by such a device in its pod, with what CNI 1.1.0 says of one; 0: as the kernel has it of itself."""

    destination: Network
    gateway: Address | None = None  # None: what it leads to is on the link
    priority: int = 0
    table: int = 0  # the main one
    scope: int | None = None  # RT_SCOPE_*; None: follows from the gateway
    mtu: int = 0
    advmss: int = 0  # octets of a TCP segment that peers are told
