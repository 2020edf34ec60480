"""BGP: whom the cluster's resources and Nodes name as peers, and what is told to and believed of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv6Address

from agent.model.accepted import UNKNOWN, Standing
from agent.model.address import Address, Network
from agent.model.community import Community
from agent.model.policy import EVERYTHING, Selector

MAX_PASSWORD = 80  # octets: the kernel's TCP_MD5SIG_MAXKEYLEN
# annotations of Nodes and Services, as kube-router names them
PREFIX = "kube-router.io/"
NODE_ANNOTATIONS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "node.asn", "rr.server", "rr.client", "peers", "peer.ips", "peer.asns", "peer.ports", "peer.passwords",
        "peer.localips", "path-prepend.as", "path-prepend.repeat-n", "node.bgp.communities",
        "node.bgp.customimportreject", "bgp-local-addresses",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Password:
    """A password of TCP's MD5 option (RFC 2385), which nothing prints."""

    text: str = field(repr=False)

    def __str__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class Bfd:
    """How fast a peer's silence is noticed (RFC 5880)."""

    transmit_ms: int = 1000
    receive_ms: int = 1000
    multiplier: int = 3
    is_graceful: bool = False  # a session that BFD ends may come back by graceful restart


@dataclass(frozen=True, slots=True)
class PrefixRange:
    """Prefixes within *network*, from *least* to *most* bits long."""

    network: Network
    least: int
    most: int


def within(network: Network) -> PrefixRange:
    """What is meant by a range alone: it, and all within it; but a default route alone by 0.0.0.0/0 and ::/0."""
    return PrefixRange(network, network.prefixlen, network.max_prefixlen if network.prefixlen else 0)


class AddPath(StrEnum):
    """In which direction several ways of one prefix are told (RFC 7911), in BIRD's words."""

    OFF = "off"
    RECEIVE = "rx"
    SEND = "tx"
    BOTH = "on"


@dataclass(frozen=True, slots=True)
class PeerExport:
    """What is added to what a peer is told."""

    communities: tuple[Community, ...] = ()
    med: int | None = None
    local_preference: int | None = None  # to peers of the same AS alone
    prepends: tuple[int, ...] = ()  # AS numbers
    pods: bool | None = None  # whether pod CIDRs are told; None: as the node does
    services: bool = True  # whether the Services' addresses are, of which the node tells


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """A BGPPeer (sluiceway.io/v1alpha1); a mistake in one never makes it accept or tell more."""

    name: str
    address: Address | None = None  # None: it is whom *interface* leads to, or cannot be used
    asn: int = 0
    nodes: Selector = EVERYTHING  # that peer with it
    port: int = 179
    source: Address | None = None
    from_internal: bool = False  # in place of *source*: from the node's InternalIP, wherever the peer is
    local_asn: int = 0  # 0: the node's
    password_key: str = ""  # the file in --bgp-password-dir; empty: none
    multihop: int = 0  # hops; 0: it is on a subnet of the node's
    ttl_security: bool = False
    hold_s: int = 0  # 0: the node's
    keepalive_s: int = 0  # 0: a third of it
    graceful_restart: bool | None = None  # None: as the node does
    restart_time_s: int = 0  # for which either keeps the other's routes then; 0: the node's
    local_as_most: int = 0  # how often the session's own AS may be in the path of what is taken
    bfd: Bfd | None = None
    both_families: bool = False  # the session carries the other family too
    next_hop_self: bool = True
    imports: tuple[PrefixRange, ...] | None = None  # None: --bgp-import-cidrs
    import_limit: int = 0  # prefixes; 0: any number
    export: PeerExport = PeerExport()
    interface: str = ""  # where its link-local address is to be found; empty: it has an address
    filters: tuple[str, ...] = ()  # BGPFilters, whose rules go before, in this order
    stale_s: int = 0  # how long it keeps a node's routes after graceful restart (RFC 9494); 0: neither keeps any longer
    add_path: AddPath = AddPath.OFF
    extended_next_hop: bool = False  # IPv4 by IPv6 next hops (RFC 8950)
    standing: Standing = UNKNOWN


@dataclass(frozen=True, slots=True)
class Passwords:
    """What files hold: by the file's name, and those of --peer-router-passwords-file in their order."""

    by_key: Mapping[str, Password] = field(default_factory=dict)
    of_options: tuple[Password | None, ...] = ()  # an empty one: none is wanted; None: one that cannot be used
    is_list_lost: bool = False  # there is to be such a file, and nothing can be read in it


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Who answers on the interfaces by which BGPPeers are reached: link-local addresses."""

    by_interface: Mapping[str, frozenset[IPv6Address]] = field(default_factory=dict)
    is_known: bool = True  # all have been asked, and had time to answer


def interfaces(peers: Iterable[BgpPeer], labels: Mapping[str, str]) -> frozenset[str]:
    """By which a node with these labels reaches peers that are at an interface."""
    return frozenset(one.interface for one in peers if one.interface and one.nodes.selects(labels))
