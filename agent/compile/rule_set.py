"""Rule sets: what the policies that select a pod say together in one direction; pods of the same policies share one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from struct import Struct

from agent.compile.atom import Atom, Atoms, PortPeer, Signature, as_before, digest, meaning_digest
from agent.compile.records import Records
from agent.compile.verdict import Match, Outcome, PortOutcome, Table, table
from agent.model.name import ObjectName
from agent.model.policy import (
    OWN_NETWORK,
    ContainerPort,
    Direction,
    NamedPort,
    Networks,
    Peer,
    Policy,
    PortRange,
    Rule,
    Tier,
    Verdict,
)
from maps import abi
from maps.record import Packed

MOST_READ = 1 << 18  # ranges of ports that a rule set is worked out of, some seconds' worth; maps hold far fewer
EVERYBODY = 0  # the class of whom no rule means in particular
PORT_BITS = 16
LIST_BITS = 48  # of a list's key before the port: its number, protocol and padding
_RULE_KEY = Struct("=II")  # of abi.RuleKey; in a loop over all classes
NO_RANGE = abi.PortRange(0, 0, 0, 0, 0)
Named = frozenset[tuple[str, Networks]]  # names of ports, with the networks on which pods are meant by them


def policy_label(policy: Policy) -> str:
    """A policy by its kind and name, as the maps have it."""
    return f"{policy.kind} {policy.name}"


def _order(policy: Policy) -> tuple[Tier, int, ObjectName, str]:
    return policy.tier, policy.priority, policy.name, policy.kind


@dataclass(frozen=True, slots=True)
class SetKey:
    """What tells rule sets apart: a direction, who speaks in it, and what a subject's own named ports are.

    *ports* are those of the subject's that ingress rules name; a rule to a named port means each pod's own.
    """

    direction: Direction
    policies: tuple[str, ...]  # their labels, in the order in which they are asked
    ports: tuple[ContainerPort, ...] = ()


def set_key(direction: Direction, policies: Iterable[Policy], ports: Sequence[ContainerPort]) -> SetKey | None:
    """The rule set of a pod that these policies select; None: none of them speaks of the direction."""
    speaking = tuple(sorted((p for p in policies if p.rules(direction) is not None), key=_order))
    if not speaking:
        return None
    named: frozenset[str] = frozenset()
    if direction is Direction.INGRESS and ports:
        named = frozenset(one.name for policy in speaking for one in _named_ports(policy.rules(direction) or ()))
    own = tuple(sorted((port for port in ports if port.name in named), key=lambda port: (port.name, port.protocol)))
    return SetKey(direction, tuple(map(policy_label, speaking)), own)


def _named_ports(rules: Iterable[Rule]) -> Iterator[NamedPort]:
    return (port for rule in rules for port in rule.ports or () if isinstance(port, NamedPort))


@dataclass(frozen=True)
class RuleSet:
    """A rule set: *policies* are its key's, in that order. What it says never changes: pods get another one instead."""

    key: SetKey
    policies: tuple[Policy, ...]

    def rules(self) -> Iterator[tuple[Policy, Rule]]:
        """Every rule with its policy, in the order in which they are asked."""
        return ((policy, rule) for policy in self.policies for rule in policy.rules(self.key.direction) or ())

    @cached_property
    def digest(self) -> bytes:
        """Of all that it says; outlives the agent, as its number does."""
        own = (_port_words(port) for port in self.key.ports)
        return digest((self.key.direction, *self.key.policies, "", *own, "", *self._words()))

    def _words(self) -> Iterator[bytes | str]:
        for policy, rule in self.rules():
            yield f"{policy_label(policy)} {policy.tier} {rule.verdict}"
            yield from ("everybody",) if rule.peers is None else map(meaning_digest, rule.peers)
            yield from ("any",) if rule.ports is None else map(_port_words, rule.ports)
            yield ""

    @cached_property
    def peers(self) -> frozenset[Peer]:
        """The peers that the rules name."""
        return frozenset(chain.from_iterable(rule.peers or () for _, rule in self.rules()))

    @cached_property
    def named(self) -> Named:
        """The names of destination ports that peers have."""
        if self.key.direction is Direction.INGRESS:
            return frozenset()
        every = ((port.name, policy.networks) for policy, rule in self.rules() for port in _named_ports((rule,)))
        return frozenset((name, networks or OWN_NETWORK) for name, networks in every)


def _port_words(port: PortRange | NamedPort | ContainerPort) -> str:
    match port:
        case PortRange(protocol, low, high):
            return f"{protocol} {low}-{high}"
        case NamedPort(name, protocol):
            return f"{protocol} {name}"
        case ContainerPort(name, protocol, number):
            return f"{protocol} {name} {number}"


class Reader:
    """What a rule set says of peers, by the atoms that mean them."""

    def __init__(self, rules: RuleSet, atoms: Atoms, numbers: Mapping[str, int], left_at: int | None = None) -> None:
        """*numbers* are those of policies, by their labels; one without a number is nobody's by name, and holds.

        *left_at*: the change with which pods leave the rule set, for which peers are what they were until then.
        """
        self.left_at = left_at
        known = atoms.by_meaning
        self._rules = [
            (policy, rule, None if rule.peers is None else frozenset(known[peer] for peer in rule.peers), number)
            for policy, rule in rules.rules()
            for number in (numbers.get(policy_label(policy), 0),)
        ]
        self._everybodys = [at for at, (_, _, peers, _) in enumerate(self._rules) if peers is None]
        self._by_atom: dict[Atom, list[int]] = {}  # the rules that mean it, by their places
        for at, (_, _, peers, _) in enumerate(self._rules):
            for atom in peers or ():
                self._by_atom.setdefault(atom, []).append(at)
        self._own = rules.key.ports if rules.key.direction is Direction.INGRESS else None
        isolating = (policy for policy in rules.policies if policy.tier is Tier.NAMESPACE)
        self._isolated_by = next((numbers.get(policy_label(policy), 0) for policy in isolating), None)
        every = known.items() if rules.named else ()
        ports = ((meaning, atom) for meaning, atom in every if isinstance(meaning, PortPeer))
        named = [atom for meaning, atom in ports if (meaning.port.name, meaning.networks) in rules.named]
        peers = frozenset(known[peer] for peer in rules.peers)
        self.atoms: Signature = peers.union(named)
        self.only_accepts = all(rule.verdict is Verdict.ACCEPT for _, rule in rules.rules())
        self._named: Signature = frozenset(named)
        self._tables: dict[Signature, Table] = {}
        self._read = 0  # ranges of ports
        self.is_void = False  # more are asked for than there may be: it denies, and nobody has it
        self._same: dict[tuple[tuple[int, ...], Signature], Table] = {}  # by what they are made of

    def meant(self, signature: Signature) -> Signature:
        """Those of some atoms that are its own."""
        if self.left_at is not None:
            signature = as_before(signature, self.left_at)
        return signature & self.atoms

    def table(self, signature: Signature) -> Table:
        """What it says of peers that these atoms mean, of which others than its own count for nothing."""
        meant = self.meant(signature)
        found = self._tables.get(meant)
        if self.is_void:
            return Table(Outcome(accepts=False, policy=self._isolated_by or 0))
        if found is None:
            places = {at for atom in meant for at in self._by_atom.get(atom, ())}
            made_of = tuple(sorted(places.union(self._everybodys))), meant & self._named
            found = self._same.get(made_of)
            if found is None:
                matches = tuple(self._matches(made_of[0], meant))
                self._read += sum(len(match.ports or ()) for match in matches)
                if self._read > MOST_READ:
                    self.is_void = True
                    return self.table(signature)
                found = self._same[made_of] = table(matches, self._isolated_by)
            self._tables[meant] = found
        return found

    def _matches(self, places: Iterable[int], meant: Signature) -> Iterator[Match]:
        for policy, rule, _, number in map(self._rules.__getitem__, places):
            networks = policy.networks or OWN_NETWORK
            ports = None if rule.ports is None else tuple(self._resolved(rule.ports, meant, networks))
            if ports is None or ports:
                yield Match(policy.tier, rule.verdict, ports, number)

    def _resolved(
        self, ports: Iterable[PortRange | NamedPort], meant: Signature, networks: Networks
    ) -> Iterator[PortRange]:
        own: Mapping[str, Sequence[ContainerPort]] | None = None
        for port in ports:
            if isinstance(port, PortRange):
                yield port
                continue
            if own is None:
                own = by_name(self._own if self._own is not None else _ports_of(meant, networks))
            for one in own.get(port.name, ()):
                if port.protocol in {None, one.protocol}:
                    yield PortRange(one.protocol, one.number, one.number)


def by_name(ports: Iterable[ContainerPort]) -> Mapping[str, Sequence[ContainerPort]]:
    """Ports by the names that pods give them, of which there may be very many."""
    found: dict[str, list[ContainerPort]] = {}
    for one in ports:
        found.setdefault(one.name, []).append(one)
    return found


def _ports_of(meant: Iterable[Atom], networks: Networks) -> Iterator[ContainerPort]:
    peers = (atom.meaning for atom in meant if isinstance(atom.meaning, PortPeer))
    return (peer.port for peer in peers if peer.networks == networks)


class Packer:
    """One rule set's records; lists of ports that are too long for a rule get numbers from *next_list* on."""

    def __init__(self, number: int, next_list: int) -> None:
        self._number, self._next = number, next_list
        self._lists: dict[tuple[PortOutcome, ...], int] = {}
        self._packed: dict[int, bytes] = {}  # by what is said: most classes are told the same
        self._rules: dict[bytes, bytes] = {}
        self._ports: dict[bytes, bytes] = {}

    def add(self, peer_class: int, said: Table) -> None:
        """What is said of a class; *said* lives as long as this does."""
        packed = self._packed.get(id(said))
        if packed is None:
            packed = self._packed[id(said)] = self._rule(said)
        self._rules[_RULE_KEY.pack(self._number, peer_class)] = packed

    def _rule(self, said: Table) -> bytes:
        is_long = len(said.ports) > abi.RULE_RANGES
        ranges = () if is_long else tuple(map(_range, said.ports))
        return abi.Rule(
            self._list(said.ports) if is_long else 0,
            said.otherwise.policy,
            _verdict(said.otherwise),
            len(ranges),
            (*ranges, *(NO_RANGE,) * (abi.RULE_RANGES - len(ranges))),  # type: ignore[arg-type]
        ).pack()

    def _list(self, ports: tuple[PortOutcome, ...]) -> int:
        number = self._lists.get(ports)
        if number is None:
            number = self._lists[ports] = self._next
            self._next += 1
            for one in ports:
                value = abi.PortVerdict(one.outcome.policy, _verdict(one.outcome)).pack()
                for low, bits in blocks(one.low, one.high):
                    key = abi.PortVerdictKey(LIST_BITS + bits, number, one.protocol, low).pack()
                    self._ports[key] = value
        return number

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return len(self._lists)

    def records(self, label: bytes) -> Records:
        """All of it."""
        name: Packed = {abi.RULE_SETS.key.pack(self._number): abi.PolicyDigest(label).pack()}
        return Records.of({"rule_sets": name, "port_verdicts": self._ports, "rules": self._rules})


def blocks(low: int, high: int) -> Iterator[tuple[int, int]]:
    """The fewest aligned blocks that make up a range of ports: each one's first port, and the bits its ports share."""
    while low <= high:
        size = low & -low or 1 << PORT_BITS
        while low + size - 1 > high:
            size >>= 1
        yield low, PORT_BITS - size.bit_length() + 1
        low += size


def _range(one: PortOutcome) -> abi.PortRange:
    return abi.PortRange(one.low, one.high, one.protocol, _verdict(one.outcome), one.outcome.policy)


def _verdict(outcome: Outcome) -> abi.PolicyVerdict:
    return abi.PolicyVerdict.POLICY_ACCEPT if outcome.accepts else abi.PolicyVerdict.POLICY_DENY
