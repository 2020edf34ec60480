"""The rules of ClusterNetworkPolicies: what each says of which peers, at which ports.

The first rule that matches decides, so that one which lost a peer or a port would give way to the next. What the API
asks for where a peer is not known holds for whatever is not understood of a rule: one that accepts matches nothing, one
that denies or passes denies all.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct, field

from agent.model.policy import CidrPeer, Direction, NamedPort, NodePeer, Peer, PodPeer, PortRange, Rule, Verdict
from agent.model.service import Protocol
from agent.watch.decode.reader import Reader
from agent.watch.decode.selector import LabelSelector, selector


class _NamespacedPod(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """``pods`` of a subject or a peer."""

    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None


class Pods(Struct, frozen=True, forbid_unknown_fields=True):
    """``spec.subject``, and ``from[]`` of a rule."""

    namespaces: LabelSelector | None = None
    pods: _NamespacedPod | None = None


class _To(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """``to[]`` of a rule."""

    namespaces: LabelSelector | None = None
    pods: _NamespacedPod | None = None
    nodes: LabelSelector | None = None
    networks: list[str] | None = None
    domain_names: list[str] | None = None


class _Range(Struct, frozen=True, forbid_unknown_fields=True):
    """``range`` of a port."""

    start: int | None = None
    end: int | None = None


class _Port(Struct, frozen=True, forbid_unknown_fields=True):
    """``destinationPort`` of a protocol."""

    number: int | None = None
    range: _Range | None = None


class _Transport(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """``tcp``, ``udp`` and ``sctp`` of a protocol."""

    destination_port: _Port | None = None


class _Protocol(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """``protocols[]`` of a rule."""

    tcp: _Transport | None = None
    udp: _Transport | None = None
    sctp: _Transport | None = None
    destination_named_port: str = ""


class _Head(Struct, frozen=True):
    """A rule as far as it says what becomes of what it matches."""

    name: str = ""
    action: str = ""


class _Ingress(Struct, frozen=True, forbid_unknown_fields=True):
    """``spec.ingress[]`` of a ClusterNetworkPolicy."""

    name: str = ""
    action: str = ""
    peers: list[Raw] | None = field(name="from", default=None)
    protocols: list[Raw] | None = None


class _Egress(Struct, frozen=True, forbid_unknown_fields=True):
    """``spec.egress[]`` of a ClusterNetworkPolicy."""

    name: str = ""
    action: str = ""
    peers: list[Raw] | None = field(name="to", default=None)
    protocols: list[Raw] | None = None


PODS = msgspec.json.Decoder(Pods)
_TO = msgspec.json.Decoder(_To)
_PROTOCOL = msgspec.json.Decoder(_Protocol)
_HEAD = msgspec.json.Decoder(_Head)
_INGRESS, _EGRESS = msgspec.json.Decoder(_Ingress), msgspec.json.Decoder(_Egress)


def rules(read: Reader, given: list[Raw] | None, direction: Direction) -> Iterator[Rule]:
    """The rules of a direction, in order; each that is given has its place."""
    for index, content in enumerate(given or ()):
        where = f"spec.{direction.lower()}[{index}]"
        head = read.part(_HEAD, content, where)
        yield Rule(Verdict.DENY) if head is None else _rule(read, head, content, direction, where)


def _rule(read: Reader, head: _Head, content: Raw, direction: Direction, where: str) -> Rule:
    verdict = _verdict(read, head.action, f"{where}.action")
    before = len(read.problems)
    peers: list[Peer] = []
    ports: list[PortRange | NamedPort] | None = None
    if direction is Direction.INGRESS:
        ingress = read.part(_INGRESS, content, where)
        if ingress is not None:
            peers = list(_sources(read, ingress.peers, f"{where}.from"))
            ports = _ports(read, ingress.protocols, f"{where}.protocols")
    else:
        egress = read.part(_EGRESS, content, where)
        if egress is not None:
            peers = list(_destinations(read, egress.peers, f"{where}.to"))
            ports = _ports(read, egress.protocols, f"{where}.protocols")
            _check_named(read, peers, ports, f"{where}.protocols")
    if len(read.problems) > before and verdict is Verdict.ACCEPT:
        return Rule(verdict, peers=(), name=head.name)
    if len(read.problems) > before:
        read.refuse(where, f"denies all {direction.lower()}, as long as not all of it is understood")
        return Rule(Verdict.DENY, name=head.name)
    return Rule(verdict, tuple(peers), None if ports is None else tuple(ports), head.name)


def _verdict(read: Reader, text: str, where: str) -> Verdict:
    if text in set(Verdict):
        return Verdict(text)
    read.refuse(where, f"{text!r} is none of {', '.join(Verdict)}; what the rule matches is denied")
    return Verdict.DENY


def _sources(read: Reader, given: list[Raw] | None, where: str) -> Iterator[Peer]:
    if not given:
        read.refuse(where, "has no peer; give one at least, such as {namespaces: {}}")
    for index, content in enumerate(given or ()):
        found = read.part(PODS, content, f"{where}[{index}]")
        peer = None if found is None else pod_peer(read, found, f"{where}[{index}]")
        if peer is not None:
            yield peer


def _destinations(read: Reader, given: list[Raw] | None, where: str) -> Iterator[Peer]:
    if not given:
        read.refuse(where, "has no peer; give one at least, such as {namespaces: {}}")
    for index, content in enumerate(given or ()):
        found = read.part(_TO, content, f"{where}[{index}]")
        if found is not None:
            yield from _destination(read, found, f"{where}[{index}]")


def _destination(read: Reader, found: _To, where: str) -> Iterator[Peer]:
    is_of_pods = found.namespaces is not None or found.pods is not None
    if is_of_pods + (found.nodes is not None) + bool(found.networks) + bool(found.domain_names) != 1:
        read.refuse(where, "has not one kind of peer; give namespaces, pods, nodes or networks, and each an entry")
    elif found.domain_names:
        read.refuse(f"{where}.domainNames", "are not served; give networks")
    elif found.nodes is not None:
        nodes = selector(read, found.nodes, f"{where}.nodes")
        if nodes is not None:
            yield NodePeer(nodes)
    elif found.networks:
        for index, text in enumerate(found.networks):
            peer = _network(read, text, f"{where}.networks[{index}]")
            if peer is not None:
                yield peer
    else:
        pods = pod_peer(read, Pods(found.namespaces, found.pods), where)
        if pods is not None:
            yield pods


def pod_peer(read: Reader, given: Pods, where: str) -> PodPeer | None:
    """The pods of a subject or a peer."""
    if (given.namespaces is None) == (given.pods is None):
        read.refuse(where, "has not one kind of pods; give namespaces or pods")
    elif given.namespaces is not None:
        namespaces = selector(read, given.namespaces, f"{where}.namespaces")
        return None if namespaces is None else PodPeer(namespaces=namespaces)
    elif given.pods is not None:
        if given.pods.pod_selector is None:
            read.refuse(f"{where}.pods.podSelector", "is missing; an empty one selects all pods")
            return None
        pods = selector(read, given.pods.pod_selector, f"{where}.pods.podSelector")
        named = given.pods.namespace_selector or LabelSelector()
        namespaces = selector(read, named, f"{where}.pods.namespaceSelector")
        return None if pods is None or namespaces is None else PodPeer(pods, namespaces)
    return None


def _network(read: Reader, text: str, where: str) -> CidrPeer | None:
    network = read.network(text, where)
    if network is None:
        return None
    if read.address(text.partition("/")[0], where) != network.network_address:
        read.refuse(where, f"{text} has bits behind its length; write {network} if it is meant")
        return None
    return CidrPeer(network)


def _ports(read: Reader, given: list[Raw] | None, where: str) -> list[PortRange | NamedPort] | None:
    if not given:
        return None
    found = [_protocol(read, content, f"{where}[{index}]") for index, content in enumerate(given)]
    return [one for one in found if one is not None]


def _protocol(read: Reader, content: Raw, where: str) -> PortRange | NamedPort | None:
    found = read.part(_PROTOCOL, content, where)
    if found is None:
        return None
    transports = {Protocol.TCP: found.tcp, Protocol.UDP: found.udp, Protocol.SCTP: found.sctp}
    given = [(protocol, transport) for protocol, transport in transports.items() if transport is not None]
    if len(given) + bool(found.destination_named_port) != 1:
        read.refuse(where, "is not one protocol; give tcp, udp, sctp or destinationNamedPort, and each an entry")
        return None
    for protocol, transport in given:
        return _port(read, protocol, transport.destination_port, f"{where}.{protocol.name.lower()}.destinationPort")
    return NamedPort(found.destination_named_port)


def _port(read: Reader, protocol: Protocol, given: _Port | None, where: str) -> PortRange | None:
    if given is None or (given.number is None) == (given.range is None):
        read.refuse(where, "is not one port; give a number or a range")
        return None
    if given.range is None:
        low = high = read.port(given.number, f"{where}.number")
    else:
        low = read.port(given.range.start, f"{where}.range.start")
        high = read.port(given.range.end, f"{where}.range.end")
    if low is None or high is None:
        return None
    if given.range is not None and high <= low:
        read.refuse(f"{where}.range.end", f"{high} is not greater than start {low}; give a number for one port")
        return None
    return PortRange(protocol, low, high)


def _check_named(read: Reader, peers: list[Peer], ports: list[PortRange | NamedPort] | None, where: str) -> None:
    """Nodes and networks give no port a name."""
    for index, port in enumerate(ports or ()):
        if isinstance(port, NamedPort) and any(not isinstance(peer, PodPeer) for peer in peers):
            text = "means nothing to nodes and networks; make a rule for those, with numbers"
            read.refuse(f"{where}[{index}].destinationNamedPort", text)
