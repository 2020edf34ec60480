"""NetworkPolicies: which pods they select, and whom they let reach those, or be reached by them.

A MultiNetworkPolicy says the same, of the networks that it is for (``multi_network_policy``).

A mistake costs the entry that it is in, and a rule of which all peers or all ports are lost matches nothing. Rules of
NetworkPolicies add up, so that what is left out never opens anything.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct, field

from agent.model.address import Network
from agent.model.name import ObjectName
from agent.model.policy import (
    EVERYTHING,
    OWN_NETWORK,
    CidrPeer,
    Direction,
    NamedPort,
    Networks,
    Peer,
    PodPeer,
    Policy,
    PortRange,
    Rule,
    Selector,
)
from agent.model.service import Protocol
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Metadata
from agent.watch.decode.reader import Reader
from agent.watch.decode.selector import LabelSelector, selector

MOST_SELECTED = 1024  # peers by selectors of one policy's direction: each is asked of every group of pods there is
_EMPTY = Raw(b"{}")


class _IPBlock(Struct, frozen=True, forbid_unknown_fields=True):
    """``ipBlock`` of a peer."""

    cidr: str = ""
    excepts: list[str] | None = field(name="except", default=None)


class _Peer(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """``from[]`` and ``to[]`` of a rule."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: _IPBlock | None = None


class _Port(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """``ports[]`` of a rule."""

    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class _Ingress(Struct, frozen=True, forbid_unknown_fields=True):
    """``spec.ingress[]`` of a NetworkPolicy."""

    peers: list[Raw] | None = field(name="from", default=None)
    ports: list[Raw] | None = None


class _Egress(Struct, frozen=True, forbid_unknown_fields=True):
    """``spec.egress[]`` of a NetworkPolicy."""

    peers: list[Raw] | None = field(name="to", default=None)
    ports: list[Raw] | None = None


class PolicySpec(Struct, rename="camel", frozen=True):
    """``spec`` of a NetworkPolicy; what is decoded alone costs no more than itself."""

    pod_selector: Raw = _EMPTY
    policy_types: list[str] | None = None
    ingress: list[Raw] | None = None
    egress: list[Raw] | None = None


class _NetworkPolicy(Struct, frozen=True):
    """A NetworkPolicy, networking.k8s.io/v1."""

    metadata: Metadata = Metadata()
    spec: PolicySpec = PolicySpec()


_POLICY = msgspec.json.Decoder(_NetworkPolicy)
_SELECTOR = msgspec.json.Decoder(LabelSelector)
_PEER = msgspec.json.Decoder(_Peer)
_PORT = msgspec.json.Decoder(_Port)
_INGRESS, _EGRESS = msgspec.json.Decoder(_Ingress), msgspec.json.Decoder(_Egress)


def _decode(content: Content, context: Context) -> Decoded:
    found = _POLICY.decode(content)
    read = Reader(NETWORK_POLICY, found.metadata, context.shared)
    return read.result(policy_of(read, found.spec))


def policy_of(read: Reader, spec: PolicySpec, networks: Networks | None = None) -> Policy:
    """What a policy says; *networks* are those that a MultiNetworkPolicy is for, on which it means pods."""
    pods = _subject(read, spec.pod_selector)
    named, is_known = _directions(read, spec)
    sides: dict[Direction, tuple[Rule, ...] | None] = dict.fromkeys(Direction, None if is_known else ())
    if Direction.INGRESS in named:
        sides[Direction.INGRESS] = tuple(_rules(read, spec.ingress, Direction.INGRESS, networks))
    if Direction.EGRESS in named:
        sides[Direction.EGRESS] = tuple(_rules(read, spec.egress, Direction.EGRESS, networks))
    if pods is None:
        # It is not known whom it means, so all pods of its namespace are denied what it judges. Its rules are left out:
        # they would let in what other policies keep from pods that this one does not mean.
        pods, sides = EVERYTHING, {way: None if rules is None else () for way, rules in sides.items()}
    subject = PodPeer(pods, namespace=read.name.namespace)
    return Policy(read.name, subject, sides[Direction.INGRESS], sides[Direction.EGRESS], networks=networks)


def _unreadable(name: ObjectName) -> Policy:
    """What a policy of a wrong shape stands for: nothing passes its namespace's pods by it."""
    return Policy(name, PodPeer(namespace=name.namespace), ingress=(), egress=())


def _subject(read: Reader, given: Raw) -> Selector | None:
    found = read.part(_SELECTOR, _EMPTY if bytes(given) == b"null" else given, "spec.podSelector")
    return None if found is None else selector(read, found, "spec.podSelector")


def _directions(read: Reader, spec: PolicySpec) -> tuple[frozenset[Direction], bool]:
    """Those that it judges, and whether all that it says of them is known; what is not may mean any direction.

    Source: the API server's SetDefaults_NetworkPolicy.
    """
    if not spec.policy_types:
        return frozenset(Direction) if spec.egress else frozenset({Direction.INGRESS}), True
    known = frozenset(way for way in Direction if way in spec.policy_types)
    unknown = [(index, text) for index, text in enumerate(spec.policy_types) if text not in known]
    for index, text in unknown:
        where = f"spec.policyTypes[{index}]"
        read.refuse(where, f"{text!r} is none of {', '.join(Direction)}; all that the others do not name is denied")
    return known, not unknown


def _rules(read: Reader, given: list[Raw] | None, direction: Direction, networks: Networks | None) -> Iterator[Rule]:
    side = "from" if direction is Direction.INGRESS else "to"
    selected = 0
    for index, content in enumerate(given or ()):
        where = f"spec.{direction.lower()}[{index}]"
        rule: _Ingress | _Egress | None
        if direction is Direction.INGRESS:
            rule = read.part(_INGRESS, content, where)
        else:
            rule = read.part(_EGRESS, content, where)
        if rule is None:
            continue
        on = networks or OWN_NETWORK
        peers = [_peer(read, peer, f"{where}.{side}[{at}]", on) for at, peer in enumerate(rule.peers or ())]
        kept = _first(peers, MOST_SELECTED - selected)
        if kept != peers:
            read.refuse(f"{where}.{side}", f"goes beyond {MOST_SELECTED} peers by selectors, which match nobody then")
        selected += sum(isinstance(peer, PodPeer) for peer in peers)
        ports = [_port(read, port, f"{where}.ports[{at}]") for at, port in enumerate(rule.ports or ())]
        yield Rule(
            peers=tuple(peer for peer in kept if peer is not None) if kept else None,
            ports=tuple(port for port in ports if port is not None) if ports else None,
        )


def _first(peers: list[Peer | None], room: int) -> list[Peer | None]:
    """With as many peers by selectors as there is room for; None stands for one that matches nobody."""
    kept: list[Peer | None] = []
    for peer in peers:
        room -= isinstance(peer, PodPeer)
        kept.append(None if room < 0 and isinstance(peer, PodPeer) else peer)
    return kept


def _peer(read: Reader, content: Raw, where: str, networks: Networks) -> Peer | None:
    found = read.part(_PEER, content, where)
    if found is None:
        return None
    if found.ip_block is not None:
        if found.pod_selector is not None or found.namespace_selector is not None:
            read.refuse(where, "has an ipBlock beside a selector; make two entries of them")
            return None
        return _cidr(read, found.ip_block, f"{where}.ipBlock")
    if found.pod_selector is None and found.namespace_selector is None:
        read.refuse(where, "matches nothing; give a podSelector, a namespaceSelector or an ipBlock")
        return None
    pods = selector(read, found.pod_selector or LabelSelector(), f"{where}.podSelector")
    namespaces = selector(read, found.namespace_selector or LabelSelector(), f"{where}.namespaceSelector")
    if pods is None or namespaces is None:
        return None
    namespace = "" if found.namespace_selector is not None else read.name.namespace
    return PodPeer(pods, namespaces, namespace, networks)


def _cidr(read: Reader, given: _IPBlock, where: str) -> CidrPeer | None:
    cidr = read.network(given.cidr, f"{where}.cidr")
    excepts = [read.network(text, f"{where}.except[{index}]") for index, text in enumerate(given.excepts or ())]
    if cidr is None or None in excepts:
        return None
    within: list[Network] = []
    for index, network in enumerate(excepts):
        at = f"{where}.except[{index}]"
        if network is None or network.version != cidr.version or not network.overlaps(cidr):
            read.refuse(at, f"{network} lies outside {cidr} and excepts nothing; leave it out")
        elif network.prefixlen <= cidr.prefixlen:
            read.refuse(at, f"{network} leaves nothing of {cidr}; leave out the peer")
            return None
        else:
            within.append(network)
    return CidrPeer(cidr, tuple(dict.fromkeys(within)))


def _port(read: Reader, content: Raw, where: str) -> PortRange | NamedPort | None:
    found = read.part(_PORT, content, where)
    protocol = None if found is None else read.protocol(found.protocol, f"{where}.protocol")
    if found is None or protocol is None:
        return None
    if isinstance(found.port, int):
        return _range(read, protocol, found.port, found.end_port, where)
    if found.end_port is not None:
        read.refuse(f"{where}.endPort", "has no meaning without a number as port; give that, or leave it out")
    elif found.port is None:
        return PortRange(protocol)
    elif not any(letter.isalpha() for letter in found.port):
        read.refuse(f"{where}.port", f"{found.port!r} is no port's name; write a number without quotes")
    else:
        return NamedPort(found.port, protocol)
    return None


def _range(read: Reader, protocol: Protocol, first: int, last: int | None, where: str) -> PortRange | None:
    low = read.port(first, f"{where}.port")
    high = low if last is None else read.port(last, f"{where}.endPort")
    if low is None or high is None:
        return None
    if high < low:
        read.refuse(f"{where}.endPort", f"{high} is less than port {low}; give the last port of the range")
        return None
    return PortRange(protocol, low, high)


NETWORK_POLICY = Kind(
    "NetworkPolicy", "/apis/networking.k8s.io/v1/networkpolicies", "policies", _decode, unreadable=_unreadable
)
