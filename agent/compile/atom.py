"""Atoms: each peer that rules of this node's pods name, once, however many rules name it.

What is so of an address as a peer is the set of atoms that mean it. Atoms are compared with `is`: who holds the same
book's gets the same atom for equal peers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2s

from agent.model.address import Address, Network
from agent.model.name import ObjectName
from agent.model.policy import OWN_NETWORK, CidrPeer, ContainerPort, Networks, NodePeer, Peer, PodPeer, Selector
from maps import abi

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PortPeer:
    """Pods that give a port of theirs this name, protocol and number: a rule to a named port means each at its own."""

    port: ContainerPort
    networks: Networks = OWN_NETWORK  # on which they are meant


@dataclass(frozen=True, slots=True)
class Past:
    """What somebody was as a peer until a change: rule sets that pods leave with it, or left before, go by that."""

    epoch: int
    signature: "Signature"


Meaning = Peer | PortPeer  # what rules can name


@dataclass(frozen=True, slots=True, eq=False)
class Atom:
    """A peer with a digest of what it means, which outlives the agent."""

    meaning: Meaning | Past
    digest: bytes


Signature = frozenset[Atom]
NOBODY: Signature = frozenset()


def digest(parts: Iterable[bytes | str]) -> bytes:
    """A digest of these parts, in their order, as the maps keep it."""
    found = blake2s(digest_size=abi.PolicyDigest.SIZE)
    for part in parts:
        octets = part.encode() if isinstance(part, str) else part
        found.update(len(octets).to_bytes(4, "big") + octets)
    return found.digest()


def signature_digest(signature: Signature) -> bytes:
    """The digest of all that a signature's atoms mean."""
    return digest(sorted(atom.digest for atom in signature))


def as_before(signature: Signature, epoch: int) -> Signature:
    """What who has this signature was before a change."""
    pasts = (atom.meaning for atom in signature if isinstance(atom.meaning, Past))
    first = min((past for past in pasts if past.epoch >= epoch), key=lambda past: past.epoch, default=None)
    return signature if first is None else first.signature


@dataclass(frozen=True, slots=True)
class Atoms:
    """A book of atoms."""

    by_meaning: Mapping[Meaning, Atom] = field(default_factory=dict)

    def of(self, meanings: Iterable[Meaning]) -> "Atoms":
        """The atoms of these peers alone; those that are known stay what they are."""
        wanted = dict.fromkeys(meanings)
        if wanted.keys() == self.by_meaning.keys():
            return self
        return Atoms({one: self.by_meaning.get(one) or Atom(one, meaning_digest(one)) for one in wanted})


def meaning_digest(meaning: Meaning | Past) -> bytes:
    """What outlives the agent of a peer."""
    return digest(_words(meaning))


def _words(meaning: Meaning | Past) -> Iterator[str]:
    """All that an atom says, in an order that does not depend on the process."""
    yield type(meaning).__name__
    match meaning:
        case PodPeer(pods, namespaces, namespace, networks):
            yield namespace
            yield from _selector_words(pods)
            yield from _selector_words(namespaces)
            yield from sorted(map(str, networks))
        case CidrPeer(cidr, excepts):
            yield str(cidr)
            yield from sorted(map(str, excepts))
        case NodePeer(nodes):
            yield from _selector_words(nodes)
        case PortPeer(port, networks):
            yield f"{port.name}/{port.protocol}/{port.number}"
            yield from sorted(map(str, networks))
        case Past(epoch, signature):
            yield f"{epoch} {signature_digest(signature).hex()}"


def _selector_words(selector: Selector) -> Iterator[str]:
    yield str(len(selector.requirements))
    for requirement in selector.requirements:
        yield f"{requirement.key} {requirement.operator} {' '.join(sorted(requirement.values))}"


@dataclass(frozen=True, slots=True)
class Group:
    """What selectors can tell of a pod: pods of one group are the same peers, but for ranges of addresses."""

    namespace: str
    labels: Labels
    ports: tuple[ContainerPort, ...]
    network: ObjectName | None = None  # on which the pods are met; None: the cluster's

    def is_on(self, networks: Networks) -> bool:
        """Whether who means pods on these networks means them."""
        return self.network in networks if networks else self.network is None


class PodIndex:
    """Atoms of pods by what a pod must have, so that each is asked of few pods."""

    def __init__(self, atoms: Iterable[Atom], namespaces: Mapping[str, Mapping[str, str] | None]) -> None:
        """*namespaces* are the labels of each by its name, None of one of which nothing is known yet."""
        self._anchored: dict[tuple[str, str, str], list[tuple[Atom, PodPeer]]] = {}
        self._others: dict[str, list[tuple[Atom, PodPeer]]] = {}
        self._ports: dict[ContainerPort, list[tuple[Atom, Networks]]] = {}
        for atom in atoms:
            match atom.meaning:
                case PodPeer() as peer:
                    of = peer.namespace
                    self._enter(atom, peer, (of,) if of else _selected(peer.namespaces, namespaces))
                case PortPeer(port, networks):
                    self._ports.setdefault(port, []).append((atom, networks))
                case _:
                    pass

    def _enter(self, atom: Atom, peer: PodPeer, namespaces: Iterable[str]) -> None:
        anchor = _anchor(peer.pods)
        for namespace in namespaces:
            if anchor is None:
                self._others.setdefault(namespace, []).append((atom, peer))
            else:
                self._anchored.setdefault((namespace, *anchor), []).append((atom, peer))

    def signature(self, group: Group) -> Signature:
        """The atoms that mean pods of a group."""
        candidates = [*self._others.get(group.namespace, ())]
        for key, value in group.labels:
            candidates += self._anchored.get((group.namespace, key, value), ())
        ports = (one for port in group.ports for one in self._ports.get(port, ()))
        found = [atom for atom, networks in ports if group.is_on(networks)]
        if candidates:
            labels = dict(group.labels)
            found += [atom for atom, peer in candidates if group.is_on(peer.networks) and peer.pods.selects(labels)]
        return frozenset(found) if found else NOBODY


def _selected(selector: Selector, namespaces: Mapping[str, Mapping[str, str] | None]) -> Iterator[str]:
    """The namespaces that are selected; one of unknown labels by what selects all."""
    return (
        name
        for name, labels in namespaces.items()
        if (selector.selects(labels) if labels is not None else not selector.requirements)
    )


def _anchor(selector: Selector) -> tuple[str, str] | None:
    """A label that each pod must have which is selected; None: there may be several, or none."""
    for requirement in selector.requirements:
        if requirement.operator == "In" and len(requirement.values) == 1:
            (value,) = requirement.values
            return requirement.key, value
    return None


class Ranges:
    """The ranges that atoms name, and what each address in them is a peer by."""

    def __init__(self, atoms: Iterable[Atom]) -> None:
        named = [(atom, atom.meaning) for atom in atoms if isinstance(atom.meaning, CidrPeer)]
        begun: dict[Network, list[Atom]] = {}
        excepted: dict[Network, list[Atom]] = {}
        for atom, peer in named:
            begun.setdefault(peer.cidr, []).append(atom)
            for network in peer.excepts:
                excepted.setdefault(network, []).append(atom)
        self.signatures: dict[Network, Signature] = {}
        # of each version, the longest prefixes first: how far an address is shifted, and what stands under the rest
        self._lengths: dict[int, list[tuple[int, dict[int, Signature]]]] = {}
        # a range has what the narrowest one around it has, with its own begun and excepted
        for network in sorted(begun.keys() | excepted.keys(), key=lambda one: one.prefixlen):
            around = self._longest(network.version, int(network.network_address))
            signature = around.union(begun.get(network, ())).difference(excepted.get(network, ()))
            self._enter(network, signature)

    def _enter(self, network: Network, signature: Signature) -> None:
        shift = network.max_prefixlen - network.prefixlen
        lengths = self._lengths.setdefault(network.version, [])
        if not lengths or lengths[0][0] != shift:
            lengths.insert(0, (shift, {}))
        lengths[0][1][int(network.network_address) >> shift] = signature
        self.signatures[network] = signature

    def of(self, address: Address) -> Signature:
        """The atoms that mean an address by its range."""
        return self._longest(address.version, int(address)) if self._lengths else NOBODY

    def _longest(self, version: int, number: int) -> Signature:
        for shift, signatures in self._lengths.get(version, ()):
            found = signatures.get(number >> shift)
            if found is not None:
                return found
        return NOBODY
