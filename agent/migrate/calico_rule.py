"""A rule of Calico's policies, as peers and ports of a NetworkPolicy or a ClusterNetworkPolicy.

Pure. A rule of which anything cannot be said is refused whole: part of a rule would mean more than the rule.
Source: Calico, api/pkg/apis/projectcalico/v3/policy_common.go; Kubernetes, networking/v1; network-policy-api v1beta1.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from agent.migrate import objects
from agent.migrate.calico_selector import NAMESPACE_NAME, Comparison, Unsaid, holds, label_selector, parse, split
from agent.migrate.objects import source
from agent.migrate.report import Object
from agent.model.address import Network, is_within
from agent.options.number import decimal

ALL = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_KNOWN = frozenset({"action", "protocol", "source", "destination", "metadata"})
_PEER = frozenset({"selector", "namespaceSelector", "nets", "notNets"})
_PORTS = frozenset({"ports"})
_TRANSPORTS = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP", "6": "TCP", "17": "UDP", "132": "SCTP"}
LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods by their labels and those of their Namespaces; None for Namespaces is the policy's own."""

    pods: Mapping[str, Any]
    namespaces: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Block:
    """A range of addresses without others."""

    cidr: Network
    but: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What one rule says; None for peers is everybody, for ports every protocol and port."""

    allows: bool
    peers: tuple[Pods | Block, ...] | None
    ports: tuple[tuple[str, int | str, int], ...] | None  # protocol, first port or its name, last port or 0 for all

    @property
    def is_of_all(self) -> bool:
        """Whether everything matches."""
        return self.peers is None and self.ports is None

    @property
    def is_of_none(self) -> bool:
        """Whether nothing matches."""
        return self.peers == ()


@dataclass(frozen=True, slots=True)
class Others:
    """What selectors mean beside pods: NetworkSets and HostEndpoints of the input."""

    items: tuple[Object, ...]


def rule(given: Mapping[str, Any], *, is_ingress: bool, namespace: str, others: Others) -> Rule:
    """The meaning of a rule that allows or denies.

    Raises:
        Unsaid: ours cannot say it.
    """
    for key, value in given.items():
        if key not in _KNOWN and value not in (None, {}, [], ""):
            raise Unsaid(f"a rule has {key}")
    near, far = ("destination", "source") if is_ingress else ("source", "destination")
    _only(given, near, _PORTS if is_ingress else frozenset())
    _only(given, far, _PEER if is_ingress else _PEER | _PORTS)
    peer = objects.part(given, far)
    peers = _peers(peer, namespace, others) if any(peer.get(key) for key in _PEER) else None
    ports = objects.part(given, "destination").get("ports")
    return Rule(str(given["action"]) == "Allow", peers, _ports(given.get("protocol"), ports))


def subjects(selector: str, namespace_selector: str) -> tuple[Pods, ...]:
    """The pods that a policy selects, an entry an alternative.

    Raises:
        Unsaid: label selectors cannot say it.
    """
    return tuple(_pods(selector, namespace_selector))


def _only(given: Mapping[str, Any], side: str, known: frozenset[str]) -> None:
    for key, value in objects.part(given, side).items():
        if key not in known and value not in (None, {}, [], ""):
            raise Unsaid(f"a rule has {side}.{key}")


def _peers(peer: Mapping[str, Any], namespace: str, others: Others) -> tuple[Pods | Block, ...]:
    selects = bool(peer.get("selector") or peer.get("namespaceSelector"))
    if not selects:
        return tuple(_blocks(peer.get("nets") or (), peer.get("notNets") or ()))
    if peer.get("nets") or peer.get("notNets"):
        raise Unsaid("a rule has a selector and ranges, both of which must match")
    selector = str(peer.get("selector") or "all()")
    for other in others.items:
        if holds(parse(selector), objects.labels(other)):
            raise Unsaid(f"the selector {selector!r} means {source(other)} too")
    within = str(peer.get("namespaceSelector") or "")
    if namespace and not within:
        return tuple(_own(selector))
    return tuple(_pods(selector, within))


def _own(selector: str) -> Iterator[Pods]:
    """Pods of the policy's own Namespace."""
    for alternative in parse(selector):
        pods, namespaces = split(alternative)
        if namespaces:
            raise Unsaid(f"the selector {selector!r} names a Namespace")
        yield Pods(label_selector(pods), None)


def _pods(selector: str, namespace_selector: str) -> Iterator[Pods]:
    if namespace_selector.strip() == "global()":
        raise Unsaid("global() means what has no namespace, which no pod is")
    for alternative in parse(selector or "all()"):
        pods, named = split(alternative)
        for within in parse(namespace_selector or "all()"):
            labels, more = split(within)
            yield Pods(label_selector(pods), label_selector((*named, *more, *labels)))


def in_namespace(name: str) -> Mapping[str, Any]:
    """The selector of one Namespace."""
    return label_selector((Comparison(NAMESPACE_NAME, "In", (name,)),))


def _blocks(nets: Sequence[str], but: Sequence[str]) -> Iterator[Block]:
    try:
        wanted = [ip_network(net, strict=False) for net in nets] or list(ALL)
        left_out = [ip_network(net, strict=False) for net in but]
    except ValueError as error:
        raise Unsaid(str(error)) from error
    for cidr in wanted:
        same = [one for one in left_out if one.version == cidr.version]
        if not any(is_within(cidr, one) for one in same):
            yield Block(cidr, tuple(one for one in same if is_within(one, cidr)))


def _ports(protocol: object, ports: Sequence[int | str] | None) -> tuple[tuple[str, int | str, int], ...] | None:
    if protocol is None:
        if ports:
            raise Unsaid("a rule has ports and no protocol")
        return None
    transport = _TRANSPORTS.get(str(protocol).lower())
    if transport is None:
        raise Unsaid(f"a rule has the protocol {protocol}")
    return tuple(_port(transport, port) for port in ports) if ports else ((transport, 0, 0),)


def _port(transport: str, given: int | str) -> tuple[str, int | str, int]:
    low, colon, high = str(given).partition(":")
    if low.isdecimal():
        first, last = decimal(low, LAST_PORT), decimal(high if colon else low, LAST_PORT)
        if first is None or last is None or not 1 <= first <= last:
            raise Unsaid(f"a rule has the ports {given}")
        return transport, first, last
    return transport, str(given), 0


def network_policy_rule(given: Rule, side: str) -> dict[str, Any]:
    """A rule of ``spec.ingress`` or ``spec.egress`` of a NetworkPolicy; *side* is from or to."""
    found: dict[str, Any] = {}
    if given.peers is not None:
        found[side] = [_network_policy_peer(peer) for peer in given.peers]
    if given.ports is not None:
        found["ports"] = [_network_policy_port(*port) for port in given.ports]
    return found


def _network_policy_peer(peer: Pods | Block) -> dict[str, Any]:
    if isinstance(peer, Block):
        but = {"except": [str(one) for one in peer.but]} if peer.but else {}
        return {"ipBlock": {"cidr": str(peer.cidr)} | but}
    namespaces = {} if peer.namespaces is None else {"namespaceSelector": dict(peer.namespaces)}
    return namespaces | {"podSelector": dict(peer.pods)}


def _network_policy_port(protocol: str, first: int | str, last: int) -> dict[str, Any]:
    found: dict[str, Any] = {"protocol": protocol}
    if first:
        found["port"] = first
    if isinstance(first, int) and last > first:
        found["endPort"] = last
    return found


def cluster_policy_rule(given: Rule, side: str, namespace: str) -> dict[str, Any]:
    """A rule of a ClusterNetworkPolicy; *namespace* is the policy's own, if any.

    Raises:
        Unsaid: its peers or ports have no name there.
    """
    if side == "from" and (given.peers is None or any(isinstance(peer, Block) for peer in given.peers)):
        raise Unsaid("a ClusterNetworkPolicy's ingress names pods alone, and a rule denies who is outside")
    peers = tuple(Block(cidr) for cidr in ALL) if given.peers is None else given.peers
    found: dict[str, Any] = {"action": "Accept" if given.allows else "Deny"}
    found[side] = [_cluster_policy_peer(peer, namespace) for peer in peers]
    if given.ports is not None:
        found["protocols"] = [_cluster_policy_port(port, peers) for port in given.ports]
    return found


def _cluster_policy_peer(peer: Pods | Block, namespace: str) -> dict[str, Any]:
    if isinstance(peer, Block):
        if peer.but:
            raise Unsaid("a ClusterNetworkPolicy leaves no range out of another")
        return {"networks": [str(peer.cidr)]}
    return cluster_policy_pods(peer, namespace)


def cluster_policy_pods(pods: Pods, namespace: str = "") -> dict[str, Any]:
    """A subject, or a peer that is pods."""
    namespaces = in_namespace(namespace) if pods.namespaces is None else pods.namespaces
    if not pods.pods:
        return {"namespaces": dict(namespaces)}
    return {"pods": {"namespaceSelector": dict(namespaces), "podSelector": dict(pods.pods)}}


def _cluster_policy_port(port: tuple[str, int | str, int], peers: Sequence[Pods | Block]) -> dict[str, Any]:
    protocol, first, last = port
    if isinstance(first, str):
        if any(isinstance(peer, Block) for peer in peers):
            raise Unsaid("a ClusterNetworkPolicy has no named ports of ranges of addresses")
        raise Unsaid("a ClusterNetworkPolicy's named ports have no protocol")
    if first == last != 0:
        return {protocol.lower(): {"destinationPort": {"number": first}}}
    ports = {"start": first or 1, "end": last or LAST_PORT}
    return {protocol.lower(): {"destinationPort": {"range": ports}}}
