"""Policies in words: what `policy.json` says of them, which maps hold as numbers and digests alone.

What is known by a digest in the maps is by that digest here, so that words of another moment are never taken for what a
number stands for now.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.compile.atom import Atom, Meaning, PortPeer, Signature
from agent.compile.policy_state import Policies
from agent.compile.rule_set import RuleSet, policy_label
from agent.model.policy import (
    CidrPeer,
    ContainerPort,
    Direction,
    NamedPort,
    NodePeer,
    Operator,
    PodPeer,
    Policy,
    PortRange,
    Requirement,
    Rule,
    Selector,
    Tier,
)


@dataclass(frozen=True, slots=True)
class PortWords:
    """Ports of a protocol, or those that go by a name; *protocol* empty: whichever the name has."""

    protocol: str = ""
    low: int = 0
    high: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class RuleWords:
    """One rule. *peers* are indices of :class:`AtomWords`; None of them, or of the ports: everybody, everything."""

    verdict: str = ""
    peers: tuple[int, ...] | None = None
    ports: tuple[PortWords, ...] | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class PolicyWords:
    """One policy that selects pods of this node; a direction without rules of its own is None."""

    subject: str = ""
    isolates: bool = True  # what none of its rules accepts is denied
    ingress: tuple[RuleWords, ...] | None = None
    egress: tuple[RuleWords, ...] | None = None


@dataclass(frozen=True, slots=True)
class AtomWords:
    """A peer that rules name; *port* is that of pods which are peers for a named port of theirs."""

    text: str = ""
    port: PortWords | None = None


@dataclass(frozen=True, slots=True)
class SetWords:
    """A rule set: its policies by their labels, in the order in which they are asked, and its pods' own named ports."""

    direction: str = ""
    policies: tuple[str, ...] = ()
    ports: tuple[PortWords, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """All that policies and peers are in words; sets and classes are by the digest that the maps have of them."""

    policies: Mapping[str, PolicyWords] = field(default_factory=dict)
    atoms: tuple[AtomWords, ...] = ()
    sets: Mapping[str, SetWords] = field(default_factory=dict)
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def policy_words(now: Policies) -> Words:
    """The words of all rule sets in use."""
    index = {atom: at for at, atom in enumerate(now.peers.atoms.by_meaning.values())}
    by_meaning = {meaning: index[atom] for meaning, atom in now.peers.atoms.by_meaning.items()}
    policies = {policy_label(policy): policy for one in now.sets.values() for policy in one.policies}
    return Words(
        {label: _policy(policy, by_meaning) for label, policy in policies.items()},
        tuple(AtomWords(meaning_words(one), _port_of(one)) for one in by_meaning),
        {one.digest.hex(): _set(one) for one in now.sets.values()},
        {digest.hex(): _indices(signature, index) for signature, digest in now.digests.items()},
    )


def meaning_words(meaning: Meaning) -> str:
    """Who is meant by a peer."""
    match meaning:
        case PodPeer():
            return pod_words(meaning)
        case CidrPeer(cidr, ()):
            return str(cidr)
        case CidrPeer(cidr, excepts):
            return f"{cidr} except {', '.join(map(str, excepts))}"
        case NodePeer(nodes):
            return f"nodes {words}" if (words := selector_words(nodes)) else "all nodes"
        case PortPeer(port):
            return f"pods whose port {port.name!r} is {port.protocol.name} {port.number}"


def pod_words(peer: PodPeer) -> str:
    """Which pods are meant."""
    pods = f"pods {words}" if (words := selector_words(peer.pods)) else "all pods"
    if peer.networks:
        pods += f" on {', '.join(sorted(map(str, peer.networks)))}"
    if peer.namespace:
        return f"{pods} of namespace {peer.namespace}"
    namespaces = selector_words(peer.namespaces)
    return f"{pods} of namespaces {namespaces}" if namespaces else f"{pods} of all namespaces"


def selector_words(selector: Selector) -> str:
    """What labels are asked for, as kubectl writes it; empty: none."""
    return ",".join(map(_requirement, selector.requirements))


def _requirement(one: Requirement) -> str:
    values = ",".join(sorted(one.values))
    match one.operator:
        case Operator.IN:
            return f"{one.key}={values}" if len(one.values) == 1 else f"{one.key} in ({values})"
        case Operator.NOT_IN:
            return f"{one.key}!={values}" if len(one.values) == 1 else f"{one.key} notin ({values})"
        case Operator.EXISTS:
            return one.key
        case Operator.DOES_NOT_EXIST:
            return f"!{one.key}"


def _policy(policy: Policy, by_meaning: Mapping[Meaning, int]) -> PolicyWords:
    sides = {
        direction: None if rules is None else tuple(_rule(rule, by_meaning) for rule in rules)
        for direction in Direction
        for rules in (policy.rules(direction),)
    }
    isolates = policy.tier is Tier.NAMESPACE
    return PolicyWords(pod_words(policy.subject), isolates, sides[Direction.INGRESS], sides[Direction.EGRESS])


def _rule(rule: Rule, by_meaning: Mapping[Meaning, int]) -> RuleWords:
    # of a direction in which the policy selects nobody here, peers are no atoms
    peers = None if rule.peers is None else tuple(by_meaning[one] for one in rule.peers if one in by_meaning)
    ports = None if rule.ports is None else tuple(map(_port, rule.ports))
    return RuleWords(rule.verdict, peers, ports, rule.name)


def _port(port: PortRange | NamedPort) -> PortWords:
    if isinstance(port, PortRange):
        return PortWords(port.protocol.name, port.low, port.high)
    return PortWords(port.protocol.name if port.protocol is not None else "", name=port.name)


def _own(port: ContainerPort) -> PortWords:
    return PortWords(port.protocol.name, port.number, port.number, port.name)


def _port_of(meaning: Meaning) -> PortWords | None:
    return _own(meaning.port) if isinstance(meaning, PortPeer) else None


def _set(one: RuleSet) -> SetWords:
    return SetWords(one.key.direction, one.key.policies, tuple(map(_own, one.key.ports)))


def _indices(signature: Iterable[Atom] | Signature, index: Mapping[Atom, int]) -> tuple[int, ...]:
    return tuple(sorted(index[atom] for atom in signature if atom in index))
