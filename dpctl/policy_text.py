"""Rules in words: which of a policy's rules decided, and what each says."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.serve.policy_words import PolicyWords, PortWords, RuleWords, SetWords
from dpctl.format import protocol as protocol_name
from dpctl.judge import WITH_PORTS, Judgement, PolicyMaps
from dpctl.names import Names

ALL_PORTS = (0, 65535)
VERDICTS = {"Accept": "accepted", "Deny": "denied", "Pass": "passed on"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What rules of one direction are asked about, besides the peer."""

    protocol: int  # IANA's
    port: int
    is_egress: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A rule with where it stands in its policy, ``ingress[0]``."""

    where: str
    rule: RuleWords


def direction_word(*, is_egress: bool) -> str:
    """A direction, as a policy's field."""
    return "egress" if is_egress else "ingress"


def rules_of(policy: PolicyWords, *, is_egress: bool) -> Iterator[Found]:
    """A policy's rules of a direction."""
    side = direction_word(is_egress=is_egress)
    for index, rule in enumerate((policy.egress if is_egress else policy.ingress) or ()):
        yield Found(f"{side}[{index}]" + (f" {rule.name!r}" if rule.name else ""), rule)


def decider(names: Names, maps: PolicyMaps, said: Judgement, asked: Asked) -> Found | None:
    """The rule that a judgement follows from; None: none does, or it is not known."""
    policy = names.report.policies.get(maps.policy(said.policy))
    atoms = frozenset[int]() if not said.peer_class else names.atoms(maps.class_digest(said.peer_class))
    own = names.report.sets.get(maps.set_digest(said.rules))
    if policy is None or atoms is None or own is None:
        return None
    ports = tuple(names.named_ports(atoms)) if asked.is_egress else own.ports
    verdict = "Accept" if said.accepts else "Deny"
    for found in rules_of(policy, is_egress=asked.is_egress):
        rule = found.rule
        is_meant = rule.peers is None or not atoms.isdisjoint(rule.peers)
        if rule.verdict == verdict and is_meant and _has_port(rule, asked, ports):
            return found
    return None


def isolating(names: Names, maps: PolicyMaps, said: Judgement) -> tuple[str, ...]:
    """The policies of a rule set of which one would have to accept; empty: what none means is accepted."""
    own, known = names.report.sets.get(maps.set_digest(said.rules)), names.report.policies
    if own is None:
        return (maps.policy(said.policy),)
    return tuple(label for label in own.policies if label not in known or known[label].isolates)


def rule_text(names: Names, rule: RuleWords, own: SetWords | None, *, is_egress: bool) -> str:
    """What a rule says: ``TCP 80-90 from pods app=web of namespace shop``."""
    way = "to" if is_egress else "from"
    if rule.peers is None:
        peers = [f"{way} everybody"]
    else:
        peers = [f"{way} {names.peers((at,))}" for at in rule.peers] or [f"{way} nobody"]
    return f"{ports_text(rule.ports, None if is_egress else own)} {' or '.join(peers)}"


def ports_text(ports: tuple[PortWords, ...] | None, own: SetWords | None) -> str:
    """Ports in words; of names, which ports they are for pods with the named ports of *own*."""
    if ports is None:
        return "everything"
    return ", ".join(_port_text(port, own) for port in ports) or "no port"


def range_text(protocol: int, low: int, high: int) -> str:
    """Ports as the maps have them."""
    return _range(protocol_name(protocol), low, high)


def _port_text(port: PortWords, own: SetWords | None) -> str:
    if not port.name:
        return _range(port.protocol, port.low, port.high)
    text = f"{port.protocol} port {port.name!r}".strip()
    if own is None:
        return text
    meant = [f"{one.protocol} {one.low}" for one in _resolved(port, own.ports)]
    return f"{text} ({', '.join(meant) or 'which it has not'})"


def _range(protocol: str, low: int, high: int) -> str:
    if (low, high) == ALL_PORTS:
        return protocol
    return f"{protocol} {low}" if low == high else f"{protocol} {low}-{high}"


def _has_port(rule: RuleWords, asked: Asked, named: Iterable[PortWords]) -> bool:
    if rule.ports is None:
        return True
    if asked.protocol not in WITH_PORTS:
        return False
    name = protocol_name(asked.protocol)
    ranges = (one for said in rule.ports for one in (_resolved(said, named) if said.name else (said,)))
    return any(one.protocol == name and one.low <= asked.port <= one.high for one in ranges)


def _resolved(said: PortWords, named: Iterable[PortWords]) -> Iterator[PortWords]:
    return (one for one in named if one.name == said.name and said.protocol in {"", one.protocol})
