"""BGP's sessions of this node, and what it has to tell: from Nodes, BGPPeers, Services and the options.

What is wrong with one peer costs that peer. BIRD's configuration is made of the Router in bird.py.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2s
from ipaddress import IPv4Address

from agent.compile.bgp_annotations import NodeBgp, node_bgp
from agent.compile.bgp_prefix import Prefixes, prefixes
from agent.compile.bgp_settings import BgpSettings
from agent.compile.public_range import PublicRanges
from agent.model.address import Address, Network
from agent.model.bgp import Bfd, BgpPeer, Password, PeerExport, PrefixRange
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.node import Node
from agent.options.values import GENERATE

IPV4, IPV6 = 4, 6
NOTHING_ADDED = PeerExport()
FAR_HOPS = 64  # between nodes of two AS numbers: anywhere in the cluster


@dataclass(frozen=True, slots=True)
class Session:
    """One session, as BIRD is to hold it."""

    name: str  # BIRD's, of the address alone: it stays with its peer
    about: str  # who asked for it: "Node n2", "BGPPeer tor", "--peer-router-ips[0]"
    address: Address
    asn: int
    local: Address
    local_asn: int
    port: int = 179
    password: Password | None = None
    multihop: int = 0  # of other AS numbers; 0: on a subnet of the node's
    ttl_security: bool = False
    is_strict: bool = False  # heard on *local* alone
    hold_s: int = 90
    keepalive_s: int = 0
    restart_s: int = 0  # 0: no graceful restart
    bfd: Bfd | None = None
    next_hops: tuple[Address, ...] = ()  # this node's, of each family that the session carries
    next_hop_self: bool = True
    imports: tuple[PrefixRange, ...] = ()
    rejects: tuple[Network, ...] = ()
    import_limit: int = 0
    tells_pods: bool = True
    tells_services: bool = False
    reflects: bool = False  # what other nodes told goes on to it
    cluster_id: str = ""  # it is a client of this reflector
    export: PeerExport = NOTHING_ADDED

    @property
    def is_internal(self) -> bool:
        """Whether it is of the same AS."""
        return self.asn == self.local_asn


@dataclass(frozen=True, slots=True)
class Router:
    """The whole of it."""

    router_id: IPv4Address
    asn: int
    port: int = 179
    sessions: tuple[Session, ...] = ()
    pods: tuple[Network, ...] = ()  # this node's ranges
    services: tuple[Network, ...] = ()  # host routes
    cluster_pods: tuple[Network, ...] = ()  # other nodes' ranges, where some session reflects


@dataclass(frozen=True, slots=True)
class Bgp:
    """The Router, and what the next one is made from."""

    router: Router | None = None  # None: the node is not known yet
    problems: tuple[Problem, ...] = ()
    prefixes: Prefixes = field(default_factory=Prefixes)
    said: Mapping[str, tuple[Node, NodeBgp]] = field(default_factory=dict)
    source: Cluster | None = None


OFF = Bgp()


def bgp(cluster: Cluster, settings: BgpSettings, ranges: PublicRanges | None, own: str, before: Bgp) -> Bgp:
    """What BGP is to be now; the identical value while nothing of it changed."""
    old = before.source
    is_same_prefixes = old is not None and cluster.services is old.services and cluster.slices is old.slices
    told = before.prefixes if is_same_prefixes else prefixes(cluster, settings, ranges, own, before.prefixes)
    if (
        old is not None
        and cluster.nodes is old.nodes
        and cluster.bgp_peers is old.bgp_peers
        and cluster.bgp_passwords is old.bgp_passwords
    ):
        if told.networks is before.prefixes.networks or before.router is None:
            return before if is_same_prefixes else replace(before, prefixes=told, source=cluster)
        return replace(before, router=replace(before.router, services=told.networks), prefixes=told, source=cluster)
    known = before.said
    said = {
        name: known[name] if name in known and known[name][0] is node else (node, node_bgp(node))
        for name, node in cluster.nodes.items()
    }
    node = cluster.nodes.get(own)
    if node is None or not node.internal_ips:
        return Bgp(before.router, before.problems, told, said, cluster)
    made = _Making(cluster, settings, node, said)
    router = made.router(told.networks)
    if router == before.router:
        router = before.router
    return Bgp(router, tuple(made.problems), told, said, cluster)


class _Making:
    """One making of a Router, and the problems on its way."""

    def __init__(
        self, cluster: Cluster, settings: BgpSettings, node: Node, said: Mapping[str, tuple[Node, NodeBgp]]
    ) -> None:
        self.cluster, self.settings, self.node, self.said = cluster, settings, node, said
        self.own = said[node.name][1]
        self.asn = self.own.asn or settings.asn
        self.problems: list[Problem] = list(self.own.problems)
        ips = (*self.own.local, *node.internal_ips)
        self.local = {v: ip for v in (IPV4, IPV6) if (ip := _first(ips, v)) is not None}
        self.addresses = {v: ip for v in (IPV4, IPV6) if (ip := _first(node.internal_ips, v)) is not None}

    def router(self, services: tuple[Network, ...]) -> Router:
        """All of it."""
        sessions: dict[Address, Session] = {}
        for session in (*self._nodes(), *self._externals()):
            taken = sessions.get(session.address)
            if taken is None:
                sessions[session.address] = session
            else:
                self._twice(session, taken)
        found = tuple(sessions.values())
        return Router(
            router_id=self._router_id(),
            asn=self.asn,
            port=self.settings.port,
            sessions=found,
            pods=self.node.pod_cidrs,
            services=services,
            cluster_pods=self._cluster_pods() if any(one.reflects for one in found) else (),
        )

    def _router_id(self) -> IPv4Address:
        """One of the node's own, as --router-id says; of its first address where it has no other."""
        given = self.settings.router_id
        if given and given != GENERATE:
            return IPv4Address(given)
        four = self.addresses.get(IPV4)
        if isinstance(four, IPv4Address) and not given:
            return four
        made = blake2s(self.node.internal_ips[0].packed, digest_size=4).digest()
        return IPv4Address(max(1, int.from_bytes(made, "big")))

    def _cluster_pods(self) -> tuple[Network, ...]:
        return tuple(cidr for name, node in sorted(self.cluster.nodes.items()) for cidr in self._pods_of(name, node))

    def _pods_of(self, name: str, node: Node) -> tuple[Network, ...]:
        return node.pod_cidrs if name != self.node.name else ()

    # ---- other nodes ------------------------------------------------------------------------------------------

    def _nodes(self) -> Iterator[Session]:
        key = self.settings.node_password_key
        password = self.cluster.bgp_passwords.by_key.get(key) if key else None
        if not self.settings.peers_nodes:
            return
        if key and password is None:
            text = f"there is no password {key!r} in --bgp-password-dir; no node is a peer until then"
            self._refuse("Node", self.node.name, "--bgp-node-password-key", text)
            return
        for name, (node, said) in sorted(self.said.items()):
            if name == self.node.name or not self._is_peer(said):
                continue
            for version, local in self.local.items():
                remote = _first((*said.local, *node.internal_ips), version)
                if remote is not None:
                    yield replace(self._node_session(node, said, remote, local), password=password)

    def _is_peer(self, other: NodeBgp) -> bool:
        """Who peers with whom: a reflector's client with the reflectors of its cluster id alone."""
        own = self.own
        if not self.settings.full_mesh and (other.asn or self.settings.asn) != self.asn:
            return False
        if own.client:
            return other.server == own.client
        if other.client:
            return own.server == other.client
        return True

    def _node_session(self, node: Node, said: NodeBgp, remote: Address, local: Address) -> Session:
        asn = said.asn or self.settings.asn
        # a reflector tells of other nodes' ranges too
        cidrs = self._cluster_pods() if said.server else node.pod_cidrs
        return Session(
            name=_name("node", remote),
            about=f"Node {node.name}",
            address=remote,
            asn=asn,
            local=local,
            local_asn=self.asn,
            port=self.settings.port,
            multihop=0 if asn == self.asn else FAR_HOPS,
            is_strict=bool(self.own.local),
            hold_s=self.settings.hold_s,
            restart_s=self.settings.restart_s,
            bfd=self.settings.bfd,
            next_hops=(self.addresses.get(local.version, local),),
            imports=tuple(PrefixRange(c, c.prefixlen, c.prefixlen) for c in cidrs if c.version == local.version),
            reflects=bool(self.own.server),
            cluster_id=self.own.server if said.client else "",
        )

    # ---- those that are no nodes ------------------------------------------------------------------------------

    def _externals(self) -> Iterator[Session]:
        if self.settings.peers:
            yield from self._of_options()
        else:  # as kube-router has it: the options go before a Node's own
            yield from self._annotated()
        for _, peer in sorted(self.cluster.bgp_peers.items()):
            if peer.address is not None and peer.nodes.selects(dict(self.node.labels)):
                yield from self._of_object(peer, peer.address)

    def _external(self, about: str, address: Address, asn: int) -> Session | None:
        """What all of them have in common; None where this node has no address of that family."""
        local = self.local.get(address.version)
        if local is None:
            return None
        said = self.own
        return Session(
            name=_name("peer", address),
            about=about,
            address=address,
            asn=asn,
            local=local,
            local_asn=self.asn,
            multihop=self.settings.multihop,
            is_strict=bool(said.local),
            hold_s=self.settings.hold_s,
            restart_s=self.settings.restart_s,
            bfd=self.settings.bfd,
            next_hops=tuple(self.addresses.values()),
            next_hop_self=self.settings.next_hop_self,
            imports=self.settings.imports,
            rejects=said.rejects,
            tells_pods=self.settings.pods,
            tells_services=True,
            export=PeerExport(communities=said.communities, prepends=said.prepends),
        )

    def _of_options(self) -> Iterator[Session]:
        passwords = self.cluster.bgp_passwords.of_options
        if passwords and len(passwords) != len(self.settings.peers):
            text = f"has {len(passwords)} passwords for {len(self.settings.peers)} peers; give one for each, or none"
            self._refuse("Node", self.node.name, "--peer-router-passwords-file", text)
            return
        for index, peer in enumerate(self.settings.peers):
            where = f"--peer-router-ips[{index}]"
            session = self._external(where, peer.address, peer.asn)
            if session is None:
                self._no_family("Node", self.node.name, where, peer.address)
                continue
            password = passwords[index] if passwords and passwords[index].text else None
            yield replace(session, port=peer.port, password=password)

    def _annotated(self) -> Iterator[Session]:
        for peer in self.own.peers:
            session = self._external(f"Node {self.node.name}", peer.address, peer.asn)
            local = peer.local or (session.local if session else None)
            if session is None or local is None or local.version != peer.address.version:
                self._no_family("Node", self.node.name, peer.where, peer.address)
                continue
            bfd = peer.bfd or session.bfd
            yield replace(session, port=peer.port, local=local, password=peer.password, bfd=bfd)

    def _of_object(self, peer: BgpPeer, address: Address) -> Iterator[Session]:
        session = self._external(f"BGPPeer {peer.name}", address, peer.asn)
        if session is None:
            self._no_family("BGPPeer", peer.name, "spec.address", address)
            return
        password = self.cluster.bgp_passwords.by_key.get(peer.password_key)
        if peer.password_key and password is None:
            text = f"there is no password {peer.password_key!r} in --bgp-password-dir; the peer is left out until then"
            self._refuse("BGPPeer", peer.name, "spec.passwordKey", text)
            return
        export = peer.export
        own = session.export
        yield replace(
            session,
            port=peer.port,
            local=peer.source or session.local,
            local_asn=peer.local_asn or session.local_asn,
            password=password,
            multihop=peer.multihop,
            ttl_security=peer.ttl_security,
            hold_s=peer.hold_s or session.hold_s,
            keepalive_s=peer.keepalive_s,
            restart_s=session.restart_s if peer.graceful_restart is None else 120 * peer.graceful_restart,
            bfd=peer.bfd or session.bfd,
            next_hops=session.next_hops if peer.both_families else (self.addresses[address.version],),
            next_hop_self=peer.next_hop_self,
            imports=session.imports if peer.imports is None else peer.imports,
            import_limit=peer.import_limit,
            tells_pods=session.tells_pods if export.pods is None else export.pods,
            tells_services=export.services,
            export=replace(
                export,
                communities=(*own.communities, *export.communities),
                prepends=(*own.prepends, *export.prepends),
            ),
        )

    # ---- what is wrong ----------------------------------------------------------------------------------------

    def _refuse(self, kind: str, name: str, where: str, text: str) -> None:
        self.problems.append(Problem(kind, ObjectName("", name), where, text))

    def _no_family(self, kind: str, name: str, where: str, address: Address) -> None:
        text = f"{address}: Node {self.node.name} has no IPv{address.version} address to peer from"
        self._refuse(kind, name, where, text)

    def _twice(self, session: Session, taken: Session) -> None:
        kind, _, name = session.about.partition(" ")
        where = "spec.address" if kind == "BGPPeer" else session.about
        if kind != "BGPPeer":
            kind, name = "Node", self.node.name
        self._refuse(kind, name, where, f"{session.address} is the peer of {taken.about} already, which holds")


def _first(addresses: Iterable[Address], version: int) -> Address | None:
    return next((ip for ip in addresses if ip.version == version), None)


def _name(kind: str, address: Address) -> str:
    return f"{kind}_{re.sub('[.:]', '_', str(address))}"
