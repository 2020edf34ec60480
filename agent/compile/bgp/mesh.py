"""Which other nodes are this one's peers, and by which next hop each node's pods may be told of."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.compile.bgp.annotations import NodeBgp
from agent.compile.bgp.believed import Met, Nodes
from agent.compile.bgp.configured import configured
from agent.compile.bgp.plan import Hop, exactly
from agent.compile.bgp.settings import BgpSettings
from agent.model.address import Address, Network
from agent.model.bgp_configuration import BgpConfiguration
from agent.model.node import Node

Said = Mapping[str, tuple[Node, NodeBgp]]


@dataclass(frozen=True, slots=True)
class NodePeer:
    """Another node as a peer."""

    node: Node
    said: NodeBgp
    settings: BgpSettings  # the node's own

    @property
    def asn(self) -> int:
        """Its own."""
        return self.said.asn or self.settings.asn

    @property
    def addresses(self) -> tuple[Address, ...]:
        """By which it peers, and is the next hop; the first of a family goes before others."""
        return addresses(self.node, self.said)


def addresses(node: Node, said: NodeBgp) -> tuple[Address, ...]:
    """A node's, as it speaks BGP from."""
    return tuple(dict.fromkeys((*said.local, *node.internal_ips)))


class Mesh:
    """This node among the others."""

    def __init__(
        self,
        options: BgpSettings,
        settings: BgpSettings,
        node: Node,
        said: Said,
        configurations: Mapping[str, BgpConfiguration],
    ) -> None:
        """*settings* are this node's, *options* what all nodes' are made from."""
        self._settings, self._node, self._said = settings, node, said
        self._own = said[node.name][1]
        self.asn = self._own.asn or settings.asn
        self.others = {name: one for name, (one, _) in sorted(said.items()) if name != node.name}
        found = (
            NodePeer(one, said[name][1], configured(options, configurations, one)) for name, one in self.others.items()
        )
        self.peers = tuple(one for one in found if settings.peers_nodes and self._is_peer(one))

    def _is_peer(self, other: NodePeer) -> bool:
        """Who peers with whom: a reflector's client with the reflectors of its cluster id alone."""
        own, theirs = self._own, other.settings
        is_full = self._settings.full_mesh and theirs.full_mesh
        if not theirs.peers_nodes or not (is_full or other.asn == self.asn):
            return False
        if own.client:
            return other.said.server == own.client
        if other.said.client:
            return own.server == other.said.client
        return True

    def seen(self, subnets: tuple[Network, ...], *, is_open: bool) -> Nodes:
        """The nodes, of which those are met that are peers, or tell a reflector; *is_open*: there are such sessions."""
        met = {version: frozenset(self._met(version)) if is_open else frozenset[str]() for version in (4, 6)}
        named = {name: addresses(*one) for name, one in self._said.items()}
        return Nodes(self._node, self.others, met, named, subnets)

    def _met(self, version: int) -> Iterator[str]:
        own = addresses(self._node, self._own)
        for peer in self.peers:
            if any(ip.version == version for ip in own) and any(ip.version == version for ip in peer.addresses):
                yield peer.node.name
                if peer.said.server and peer.asn == self.asn:  # it leaves next hops as they are
                    yield from self.others

    def hops(self, peer: NodePeer, version: int, met: Met) -> Iterator[Hop]:
        """Which ranges of pods a node may tell, each by whom; a reflector those of other nodes too.

        One of another AS is the next hop itself, of nodes that tell this one nothing.
        """
        yield _hop(peer.addresses, (peer.node,), version)
        if not peer.said.server:
            return
        others = {name: one for name, one in self.others.items() if name != peer.node.name}
        if peer.asn == self.asn:
            yield from (_hop(addresses(*self._said[name]), (one,), version) for name, one in others.items())
        elif unmet := [one for name, one in others.items() if name not in met[version]]:
            yield _hop(peer.addresses, unmet, version)


def _hop(by: Iterable[Address], whose: Iterable[Node], version: int) -> Hop:
    ranges = exactly(cidr for one in whose for cidr in one.pod_ranges if cidr.version == version)
    return Hop(tuple(ip for ip in by if ip.version == version), ranges)
