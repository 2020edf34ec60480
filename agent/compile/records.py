"""What compile makes of a Cluster: each owner's records, packed as the maps hold them.

Packed bytes hash and compare at once and are not tracked by the garbage collector; ``maps.abi`` turns them back
into values for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.compile.ids import Ids
from agent.compile.route import Route
from agent.model.address import Address
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.service import EndpointSlice, Service
from maps.record import Packed


@dataclass(frozen=True, slots=True)
class SetRecords:
    """One backend set: the endpoints of one port, protocol, family and view of a service."""

    label: str
    set_id: int
    parts: int
    names: Packed  # backend_sets
    maglevs: Packed
    backends: Packed


@dataclass(frozen=True, slots=True)
class Frontend:
    """One address and port at which a service is reached."""

    key: bytes  # in the services map
    field: str  # of the Service object it comes from
    port: int  # index in the Service's ports
    ipv6: bool
    local: bool  # served by the endpoints of this node alone


@dataclass(frozen=True, slots=True)
class Frontends:
    """All of a service's frontends, and what is wrong with those it cannot have."""

    entries: tuple[Frontend, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that is known of one service: an owner."""

    service: Service
    slices: tuple[EndpointSlice, ...]
    frontends: Frontends
    lost: Mapping[bytes, ObjectName]  # frontends that another service has


@dataclass(frozen=True, slots=True)
class ServiceRecords:
    """What follows from one service's inputs."""

    inputs: Inputs
    unplaced: frozenset[Address]  # endpoints that no slice places on a node
    sets: tuple[SetRecords, ...]
    services: Packed
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """The node map's one value, but for the generation and the tunnel's ifindex, which reconcile knows."""

    addr4: Address | None = None
    addr6: Address | None = None
    netns_cookie: int = 0
    nat_ports: tuple[int, int] = (0, 0)
    node_ports: tuple[int, int] = (0, 0)
    tunnel_vni: int = 0
    tunnel_port: int = 0
    flags: int = 0  # abi.NodeFlag


@dataclass(frozen=True, slots=True)
class LocalRecords:
    """This node's own share: its addresses and its pods'."""

    endpoints: Packed = field(default_factory=dict)
    pod_netns: Packed = field(default_factory=dict)
    limits: Packed = field(default_factory=dict)
    node: NodeRecord = field(default_factory=NodeRecord)
    addresses: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class BetweenRecords:
    """What is between this node and the others."""

    prefixes: Packed = field(default_factory=dict)
    remotes: Packed = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    overhead: int = 0  # bytes that encapsulation adds to a packet


@dataclass(frozen=True, slots=True)
class Place:
    """What a service's records know of the node they are for."""

    name: str = ""
    zone: str = ""
    addresses: frozenset[Address] = frozenset()  # the node's own and its pods'


@dataclass(frozen=True, slots=True)
class Desired:
    """The content of every map that a Cluster asks for, by owner."""

    source: Cluster = field(default_factory=Cluster)
    served: Cluster = field(default_factory=Cluster)  # the same, with pods' host ports among the services
    place: Place = field(default_factory=Place)
    services: Mapping[ObjectName, ServiceRecords] = field(default_factory=dict)
    # who wants a frontend; the first has it
    claims: Mapping[bytes, tuple[ObjectName, ...]] = field(default_factory=dict)
    local: LocalRecords = field(default_factory=LocalRecords)
    between: BetweenRecords = field(default_factory=BetweenRecords)
    ids: Ids = field(default_factory=Ids)
    problems: tuple[Problem, ...] = ()
