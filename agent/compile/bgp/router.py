"""BIRD as it is to be: its sessions, and what the node has to tell."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from agent.compile.bgp.plan import Step
from agent.model.address import Address, Network
from agent.model.bgp import AddPath, Bfd, Password, PrefixRange
from agent.model.community import NO_MARKS, Marks
from agent.model.local import FarGateway
from agent.model.name import ObjectName

IPV4 = 4
FAMILIES = (4, 6)
NODE, PEER = "node", "peer"  # with which the names of sessions begin


@dataclass(frozen=True, slots=True)
class Told:
    """A prefix of the node's own."""

    network: Network
    marks: Marks = NO_MARKS  # of numbers alone
    service: ObjectName | None = None  # whose address it is

    def __str__(self) -> str:
        return str(self.network)


@dataclass(frozen=True, slots=True)
class Session:
    """One session, as BIRD is to hold it."""

    name: str  # BIRD's, of the address alone: it stays with its peer
    about: str  # who asked for it: "Node n2", "BGPPeer tor", "--peer-router-ips[0]", "annotation 192.0.2.1"
    address: Address
    asn: int
    local: Address | None  # None: the interface's link-local one
    local_asn: int
    interface: str = ""  # of a link-local *address*
    port: int = 179
    password: Password | None = None
    multihop: int = 0  # hops; 0: of another AS on a subnet of the node's, of the same anywhere
    is_direct: bool = False  # of the same AS, on a subnet of the node's
    ttl_security: bool = False
    is_strict: bool = False  # heard on *local* alone
    hold_s: int = 90
    keepalive_s: int = 0
    restart_s: int = 0  # 0: no graceful restart
    stale_s: int = 0  # for which the peer keeps this node's routes after that; 0: neither keeps any longer
    bfd: Bfd | None = None
    local_as_most: int = 0  # times that the own AS may be in what the peer tells: it may have been this node's
    add_path: AddPath = AddPath.OFF
    extended_next_hop: bool = False
    next_hops: tuple[Address, ...] = ()  # this node's, of each family that the session carries
    next_hop_self: bool = True
    import_limit: int = 0
    reflects: bool = False  # what other nodes told goes on to it
    cluster_id: str = ""  # it is a client of this reflector
    is_node: bool = False  # which is told no marks
    imports: tuple[Step, ...] = ()
    exports: tuple[Step, ...] = ()
    annotation: str = ""  # the Node's that asks for it, and its place there

    @property
    def field(self) -> str:
        """The Node's field, or the option, that asks for it."""
        return self.annotation or self.about

    @property
    def is_internal(self) -> bool:
        """Whether it is of the same AS."""
        return self.asn == self.local_asn

    @property
    def families(self) -> tuple[int, ...]:
        """Of which it carries routes."""
        own = {hop.version for hop in self.next_hops} | ({IPV4} if self.extended_next_hop else set())
        return tuple(version for version in FAMILIES if version in own)


@dataclass(frozen=True, slots=True)
class Source:
    """The node's InternalIP as the source of its own packets by routes that peers told."""

    address: Address
    is_of_all: bool = False  # else of those that nodes told: a router on a link of its own may know of that link alone


@dataclass(frozen=True, slots=True)
class Router:
    """The whole of it."""

    router_id: IPv4Address
    asn: int
    port: int = 179
    sessions: tuple[Session, ...] = ()
    absent: tuple[tuple[str, str], ...] = ()  # who is to be a peer and has no session: who asks for it, and its address
    pods: tuple[Told, ...] = ()  # this node's ranges
    services: tuple[Told, ...] = ()  # host routes, but those that an aggregate stands for
    aggregates: tuple[Told, ...] = ()
    dropped: tuple[Network, ...] = ()  # those of them of which the kernel drops what nothing within them takes
    why_gone: str = ""  # why the node tells of no services, if it is about to go
    tunnelled: tuple[
        Address, ...
    ] = ()  # nodes' own addresses, as next hops of pods' packets reached by the tunnel alone
    relays: bool = False  # what routers tell this node, other nodes are told
    cluster_pods: tuple[Network, ...] = ()  # other nodes' ranges, where some session reflects
    sources: tuple[Source, ...] = ()  # one of a family; none: the kernel chooses
    far_gateways: tuple[FarGateway, ...] = ()  # routes of the node's by which BIRD would find no next hops by itself
    never: tuple[PrefixRange, ...] = ()  # no route of BGP's is the kernel's within these
