"""BGP's sessions of this node: with other nodes, and with routers that options, annotations and BGPPeers name.

What is wrong with one peer costs that peer.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2s
from ipaddress import IPv4Address

from agent.compile.bgp.annotations import NodeBgp
from agent.compile.bgp.believed import believed
from agent.compile.bgp.configured import Unresolved
from agent.compile.bgp.mesh import Mesh, NodePeer
from agent.compile.bgp.own import OwnPrefixes
from agent.compile.bgp.place import placed, speaks_from
from agent.compile.bgp.plan import Refusal
from agent.compile.bgp.policy import Policy, node_exports, node_imports
from agent.compile.bgp.router import IPV4, NODE, PEER, Router, Session
from agent.compile.bgp.settings import BgpSettings
from agent.compile.bgp.unable import not_from, not_heard_at, not_near, not_relayed
from agent.model.address import Address, Network, is_peers
from agent.model.bgp import BgpPeer, Password
from agent.model.cluster import Cluster
from agent.model.name import ObjectName, Problem
from agent.model.node import Node
from agent.options.values import GENERATE

IPV6 = 6
MAX_NAME = 57  # of BIRD's 63 characters six are its filters' own
FAR_HOPS = 64  # between nodes of two AS numbers: anywhere in the cluster


class Making:
    """One making of a Router, and the problems on its way."""

    def __init__(  # noqa: PLR0913, PLR0917  all that it is made from
        self,
        cluster: Cluster,
        options: BgpSettings,
        settings: BgpSettings,
        node: Node,
        said: Mapping[str, tuple[Node, NodeBgp]],
        told: OwnPrefixes,
        subnets: tuple[Network, ...] = (),
        addresses: frozenset[Address] = frozenset(),
    ) -> None:
        """*settings* are this node's, *options* what they are made from; *subnets* the node is on.

        *addresses* its devices have; none: nobody knows.
        """
        self.cluster, self.options, self.settings, self.node, self.said = cluster, options, settings, node, said
        self.told, self.subnets, self.here = told, subnets, addresses
        self.own = said[node.name][1]
        self.problems: list[Problem] = list(self.own.problems)
        if told.unmarked:
            self._refuse("Node", node.name, "spec.podCIDRs", f"{told.why_unmarked}; peers are not told of them")
        ips = (*self.own.local, *node.internal_ips)
        self.local = {v: ip for v in (IPV4, IPV6) if (ip := _first(ips, v)) is not None}
        self.addresses = {v: ip for v in (IPV4, IPV6) if (ip := _first(node.internal_ips, v)) is not None}
        self.mesh = Mesh(options, settings, node, said, cluster.bgp_configurations)
        key = settings.node_password_key
        self.seen = self.mesh.seen(subnets, is_open=not key or key in cluster.bgp_passwords.by_key)
        self.believed = believed(self.seen, cluster.ip_pools.values(), settings.service_cidrs)
        self.asn = self.mesh.asn
        self.policy = Policy(settings, self.own, told, self.believed)
        self.asked: dict[tuple[str, str], None] = {}  # who is to be a peer: by whose word, and at which address

    def router(self) -> Router:
        """All of it."""
        sessions: dict[tuple[Address, str], Session] = {}
        placed_ones = (placed(one, self.local, self.subnets) for one in self._externals())
        for session in (*self._nodes(), *placed_ones):
            key = session.address, session.interface
            taken = sessions.get(key)
            if taken is None:
                sessions[key] = session
            else:
                self._twice(session, taken)
        found = _heard_alike(sessions.values())
        met = {(one.about, str(one.address)) for one in found}
        self._unable(found)
        return Router(
            router_id=self._router_id(),
            asn=self.asn,
            port=self.settings.port,
            sessions=found,
            absent=tuple(one for one in self.asked if one not in met),
            pods=self.told.pods,
            services=self.told.services,
            aggregates=self.told.aggregates,
            dropped=self.told.dropped,
            why_gone=self.told.why_gone,
            relays=bool(self.settings.relayed),
            cluster_pods=self._cluster_pods() if any(one.reflects for one in found) else (),
            never=self.believed.never if any(step.accepts for one in found for step in one.imports) else (),
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
        # from 128.0.0.0 to 223.255.255.255: routers refuse an identifier that no host could have as its address
        return IPv4Address((128 << 24) + int.from_bytes(made, "big") % (96 << 24))

    def _cluster_pods(self) -> tuple[Network, ...]:
        return tuple(cidr for name, node in sorted(self.cluster.nodes.items()) for cidr in self._pods_of(name, node))

    def _pods_of(self, name: str, node: Node) -> tuple[Network, ...]:
        return node.pod_ranges if name != self.node.name else ()

    # ---- other nodes ------------------------------------------------------------------------------------------

    def _nodes(self) -> Iterator[Session]:
        key = self.settings.node_password_key
        password = self.cluster.bgp_passwords.by_key.get(key) if key else None
        if not self.settings.peers_nodes:
            return
        if key and password is None:
            text = f"there is no password {key!r} in --bgp-password-dir; no node is a peer until then"
            self._refuse("Node", self.node.name, "--bgp-node-password-key", text)
        for peer in self.mesh.peers:
            for version, local in self.local.items():
                remote = _first(peer.addresses, version)
                if remote is None:
                    continue
                self._ask(f"Node {peer.node.name}", remote)
                if not key or password is not None:
                    yield replace(self._node_session(peer, remote, local), password=password)

    def _node_session(self, peer: NodePeer, remote: Address, local: Address) -> Session:
        asn, hops = peer.asn, self.mesh.hops(peer, local.version, self.seen.met)
        return Session(
            name=_name(NODE, remote),
            about=f"Node {peer.node.name}",
            address=remote,
            asn=asn,
            local=local,
            local_asn=self.asn,
            port=peer.settings.port,
            multihop=0 if asn == self.asn else FAR_HOPS,
            is_strict=bool(self.own.local),
            hold_s=self.settings.hold_s,
            restart_s=self.settings.restart_s,
            bfd=self.settings.bfd,
            next_hops=(self.addresses.get(local.version, local),),
            imports=node_imports(tuple(hops), self.settings, self.believed),
            exports=node_exports(self.settings, reflects=bool(self.own.server)),
            reflects=bool(self.own.server),
            is_node=True,
            cluster_id=self.own.server if peer.said.client and asn == self.asn else "",
        )

    # ---- those that are no nodes ------------------------------------------------------------------------------

    def _externals(self) -> Iterator[Session]:
        if self.settings.peers:
            yield from self._of_options()
        else:  # as kube-router has it: the options go before a Node's own
            yield from self._annotated()
        for _, peer in sorted(self.cluster.bgp_peers.items()):
            if not peer.nodes.selects(dict(self.node.labels)):
                continue
            address = self._neighbour(peer) if peer.interface else peer.address
            if address is not None and self._is_own(address):
                continue
            self._ask(f"BGPPeer {peer.name}", address)
            if address is not None:
                yield from self._of_object(peer, address)

    def _neighbour(self, peer: BgpPeer) -> Address | None:
        """Who is at the other end of the interface; None where nobody answers, or several do."""
        found = sorted(self.cluster.bgp_neighbours.by_interface.get(peer.interface, ()))
        if len(found) == 1:
            return found[0]
        text = f"on {peer.interface} of Node {self.node.name} nobody answers by a link-local address yet"
        if found:
            text = f"on {peer.interface} of Node {self.node.name} {', '.join(map(str, found))} answer; give an address"
        self._refuse("BGPPeer", peer.name, "spec.interface", text)
        return None

    def _ask(self, about: str, address: Address | None) -> None:
        """Take down who is to be a peer; without an address where nobody knows it."""
        self.asked[about, str(address or "")] = None

    def _is_own(self, address: Address) -> bool:
        """Whether it is this node that all others are to peer with."""
        return address in self.node.internal_ips or address in self.own.local

    def _external(self, about: str, address: Address, asn: int) -> Session | None:
        """What all of them have in common; None where this node has no address of that family."""
        if address.version not in self.local and not (address.version == IPV6 and address.is_link_local):
            return None
        said = next((ip for ip in self.own.local if ip.version == address.version), None)
        local = said or speaks_from(address, self.local.get(address.version), self.subnets)
        imports, exports = self.policy.plain(about)
        return Session(
            name=_name(PEER, address),
            about=about,
            address=address,
            asn=asn,
            local=local,
            local_asn=self.asn,
            multihop=0 if asn == self.asn else self.settings.multihop,
            is_strict=bool(self.own.local) and local is not None,
            hold_s=self.settings.hold_s,
            restart_s=self.settings.restart_s,
            bfd=self.settings.bfd,
            next_hops=tuple(self.addresses.values()),
            next_hop_self=self.settings.next_hop_self,
            imports=imports,
            exports=exports,
        )

    def _of_options(self) -> Iterator[Session]:
        for index, peer in enumerate(self.settings.peers):
            if not self._is_own(peer.address):
                self._ask(f"--peer-router-ips[{index}]", peer.address)
        passwords = self.cluster.bgp_passwords.of_options
        if self.cluster.bgp_passwords.is_list_lost:
            text = "nothing can be read in it; none of --peer-router-ips is a peer until then"
            self._refuse("Node", self.node.name, "--peer-router-passwords-file", text)
            return
        if passwords and len(passwords) != len(self.settings.peers):
            text = f"has {len(passwords)} passwords for {len(self.settings.peers)} peers; give one for each, or none"
            self._refuse("Node", self.node.name, "--peer-router-passwords-file", text)
            return
        for index, peer in enumerate(self.settings.peers):
            where = f"--peer-router-ips[{index}]"
            if self._is_own(peer.address):
                continue
            if not is_peers(peer.address):
                text = f"{peer.address} is no address that other nodes can reach; give a unicast one"
                self._refuse("Node", self.node.name, where, text)
                continue
            session = self._external(where, peer.address, peer.asn)
            if session is None:
                self._no_family("Node", self.node.name, where, peer.address)
                continue
            password = passwords[index] if passwords else Password("")
            if password is None:
                text = "its password in --peer-router-passwords-file cannot be used; the peer is left out until then"
                self._refuse("Node", self.node.name, where, text)
                continue
            yield replace(session, port=peer.port, password=password if password.text else None)

    def _annotated(self) -> Iterator[Session]:
        for unread in self.own.unread:
            if unread.address is None or not self._is_own(unread.address):
                self._ask(f"annotation {unread.address or unread.where}", unread.address)
        for peer in self.own.peers:
            if self._is_own(peer.address):
                continue
            about = f"annotation {peer.address}"
            self._ask(about, peer.address)
            session = self._external(about, peer.address, peer.asn)
            if session is None:
                self._no_family("Node", self.node.name, peer.where, peer.address)
                continue
            bfd = peer.bfd or session.bfd
            local = peer.local or session.local
            yield replace(session, port=peer.port, local=local, password=peer.password, bfd=bfd, annotation=peer.where)

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
        try:
            imports, exports = self.policy.of_peer(peer, self.cluster.bgp_filters)
        except Refusal as error:
            self._refuse("BGPPeer", peer.name, f"spec.filters[{error.index}]", str(error))
            return
        except Unresolved as error:
            where = f"spec.export.communities[{error.index}]"
            self._refuse("BGPPeer", peer.name, where, f"{error}; the peer is left out until then")
            return
        restarts = bool(session.restart_s) if peer.graceful_restart is None else peer.graceful_restart
        restart_s = (peer.restart_time_s or self.settings.restart_time_s) if restarts else 0
        hold_s = peer.hold_s or session.hold_s
        # of a family that the Node object has not, but the annotation of its own addresses
        hop = self.addresses.get(address.version, session.local)
        yield replace(
            session,
            name=_name(PEER, address, peer.interface),
            port=peer.port,
            local=None if peer.interface else peer.source or (hop if peer.from_internal else session.local),
            is_strict=session.is_strict and not peer.interface,
            interface=peer.interface,
            local_asn=peer.local_asn or session.local_asn,
            password=password,
            multihop=peer.multihop,
            ttl_security=peer.ttl_security,
            hold_s=hold_s,
            keepalive_s=self._keepalive(peer, hold_s),
            restart_s=restart_s,
            stale_s=self._stale(peer, restart_s),
            bfd=peer.bfd or session.bfd,
            local_as_most=peer.local_as_most,
            add_path=peer.add_path,
            extended_next_hop=peer.extended_next_hop,
            next_hops=session.next_hops if peer.both_families or hop is None else (hop,),
            next_hop_self=peer.next_hop_self,
            import_limit=peer.import_limit,
            imports=imports,
            exports=exports,
        )

    def _keepalive(self, peer: BgpPeer, hold_s: int) -> int:
        """The peer's, or 0 for a third of the hold time: BIRD takes none that is longer."""
        if peer.keepalive_s <= hold_s:
            return peer.keepalive_s
        text = f"{peer.keepalive_s} is longer than the node's hold time, {hold_s}; a third of that is taken"
        self._refuse("BGPPeer", peer.name, "spec.keepaliveTime", text)
        return 0

    def _stale(self, peer: BgpPeer, restart_s: int) -> int:
        """For how long routes are kept after graceful restart, by which alone they can be (RFC 9494 4.2)."""
        if peer.stale_s and not restart_s:
            text = "counts for nothing without graceful restart, after which it begins"
            self._refuse("BGPPeer", peer.name, "spec.longLivedStaleTime", text)
        return peer.stale_s if restart_s else 0

    # ---- what is wrong ----------------------------------------------------------------------------------------

    def _refuse(self, kind: str, name: str, where: str, text: str) -> None:
        self.problems.append(Problem(kind, ObjectName("", name), where, text))

    def _no_family(self, kind: str, name: str, where: str, address: Address) -> None:
        text = f"{address}: Node {self.node.name} has no IPv{address.version} address to peer from"
        self._refuse(kind, name, where, text)

    def _twice(self, session: Session, taken: Session) -> None:
        self.asked.pop((session.about, str(session.address)), None)
        text = f"{session.address} is the peer of {taken.about} already, which holds"
        self._refuse_session(session, "spec.address", text)

    def _unable(self, found: tuple[Session, ...]) -> None:
        node, own = self.node, self.own
        self.problems += not_heard_at(node, own, self.here)
        for session, field, text in (
            *not_relayed(found, node, own, self.settings),
            *not_near(found, node, self.subnets),
            *not_from(found, node, own, self.here),
        ):
            self._refuse_session(session, field, text)

    def _refuse_session(self, session: Session, field: str, text: str) -> None:
        """*field* is a BGPPeer's."""
        kind, _, name = session.about.partition(" ")
        if kind == "BGPPeer":
            self._refuse(kind, name, field, text)
        else:
            self._refuse("Node", self.node.name, session.field, text)


def _heard_alike(sessions: Iterable[Session]) -> tuple[Session, ...]:
    """Who is heard at every address leaves others no address of the family and the port to be heard at alone."""
    found = tuple(sessions)
    wide = {one.address.version for one in found if not one.is_strict}
    return tuple(replace(one, is_strict=False) if one.address.version in wide else one for one in found)


def _first(addresses: Iterable[Address], version: int) -> Address | None:
    return next((ip for ip in addresses if ip.version == version), None)


def _name(kind: str, address: Address, interface: str = "") -> str:
    """BIRD's; different interfaces have different names, whatever is in them."""
    text = "_".join((str(address), *([interface, interface.encode().hex()] if interface else ())))
    name = f"{kind}_{re.sub('[^0-9a-zA-Z]', '_', text)}"
    return name if len(name) <= MAX_NAME else f"{kind}_{blake2s(text.encode(), digest_size=16).hexdigest()}"
