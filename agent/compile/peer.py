"""Which peers each address of a network is: a pod's by labels, named ports and range, a node's by its labels.

Of the cluster's network, and of each one apart, there are such peers of their own; see network_peer.py.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from agent.compile.atom import NOBODY, Atom, Atoms, Group, Past, PodIndex, PortPeer, Ranges, Signature
from agent.compile.changes import changed
from agent.compile.rule_set import Named
from agent.model.address import Address
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.name import ObjectName
from agent.model.node import Namespace, Node, Pod
from agent.model.policy import CidrPeer, ContainerPort, NodePeer, PeerPod, PodPeer

Addresses = Mapping[Address, Signature]


class FurtherPod(NamedTuple):
    """A pod as it is met under addresses that its status does not have."""

    pod: ObjectName
    network: ObjectName | None = None  # the further one that they are of; None: its first, as a VF


PeerName = ObjectName | FurtherPod


@dataclass(frozen=True, slots=True)
class PeerInputs:
    """What peers follow from; *pods* are those of this node's attachments, by further networks too.

    *knows_all*: a namespace that is none of *namespaces* has no labels; else nothing is known of it yet.
    """

    pods: Mapping[PeerName, Pod] = field(default_factory=dict)
    peers: Mapping[PeerName, PeerPod] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    own: frozenset[Address] = frozenset()  # this node's addresses
    node_name: str = ""
    attachments: Mapping[AttachmentKey, Attachment] = field(default_factory=dict)
    knows_all: bool = True


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers of one moment; addresses that no atom means are left out."""

    inputs: PeerInputs = field(default_factory=PeerInputs)
    atoms: Atoms = field(default_factory=Atoms)
    ranges: Ranges = field(default_factory=lambda: Ranges(()))
    without: Signature = NOBODY  # ranges that mean nobody, for there is no room for them
    pods: Mapping[PeerName, Group] = field(default_factory=dict)  # of all nodes
    groups: Mapping[Group, Signature] = field(default_factory=dict)
    holders: Mapping[Address, tuple[PeerName, ...]] = field(default_factory=dict)  # the pods that say they have it
    nodes: Addresses = field(default_factory=dict)
    elsewhere: Addresses = field(default_factory=dict)  # addresses of other nodes' pods, and of nodes
    leaving: frozenset[Address] = frozenset()  # of these, that no atom means but by their ranges
    touched: frozenset[Address] = frozenset()  # of these, that may be other peers than in the Peers before
    here: Addresses = field(default_factory=dict)  # of this node's attachments
    pasts: Mapping[Past, Atom] = field(default_factory=dict)  # what addresses were, see past.py
    changing: frozenset[Address] = frozenset()  # the addresses that have pasts

    def signatures(self) -> set[Signature]:
        """All that there are, but for nobody's."""
        found = {*self.elsewhere.values(), *self.here.values(), *self.ranges.signatures.values()}
        found.discard(NOBODY)
        return found

    def of(self, address: Address) -> Signature:
        """What an address is as a peer."""
        found = self.here.get(address)
        if found is None:
            found = self.elsewhere.get(address)
        return self.ranges.of(address) if found is None else found


def needs_pods(atoms: Atoms) -> bool:
    """Whether rules mean pods by something else than their addresses."""
    return any(isinstance(meaning, PodPeer | PortPeer) for meaning in atoms.by_meaning)


def named_ports(named: Named, inputs: PeerInputs) -> Iterator[PortPeer]:
    """The ports that any pod gives one of these names."""
    if not named:
        return
    pods: Iterable[Pod | PeerPod] = (*inputs.peers.values(), *inputs.pods.values())
    by_name: dict[str, set[ContainerPort]] = {name: set() for name, _ in named}
    for port in (port for pod in pods for port in pod.ports if port.name in by_name):
        by_name[port.name].add(port)
    for name, networks in sorted(named, key=lambda one: (one[0], sorted(one[1]))):
        ports = sorted(by_name[name], key=lambda port: (port.protocol, port.number))
        yield from (PortPeer(port, networks) for port in ports)


def peers(now: PeerInputs, atoms: Atoms, before: Peers, *, settle: bool = False, without: Signature = NOBODY) -> Peers:
    """The peers of now, at the cost of what differs; tables in which nothing does are the identical ones.

    An address that is left to its range stays until *settle*, as what its range is: maps are written first and
    cleared last, and who judges it anew meanwhile is to know. *without* are ranges that mean nobody.
    """
    old = before.inputs
    is_same = atoms is before.atoms and without == before.without
    if is_same and (now is old or now == old) and not (settle and (before.leaving or before.changing)):
        return before
    is_ranged = _cidrs(atoms) - without != _cidrs(before.atoms) - before.without
    ranges = Ranges(_cidrs(atoms) - without) if is_ranged else before.ranges
    made = replace(before, inputs=now, atoms=atoms, ranges=ranges, without=without)
    names = dict.fromkeys((*changed(old.peers, now.peers), *changed(old.pods, now.pods)))
    if needs_pods(atoms):
        # what was not noted while no atom meant pods
        names |= dict.fromkeys(now.peers.keys() - before.pods.keys() | now.pods.keys() - before.pods.keys())
        made = replace(made, pods=_pods(made, names), holders=_holders(made, old, names))
        made = replace(made, groups=_groups(made, before))
    elif before.pods or before.groups or before.holders:
        made = replace(made, pods={}, groups={}, holders={})
    made = replace(made, nodes=_nodes(made))
    touched = _touched(made, before, names, is_ranged=is_ranged)
    if settle:
        touched |= before.leaving | before.changing
        made = replace(made, pasts={}, changing=frozenset())
    made = _placed(made, touched, settle=settle)
    return replace(made, here=_here(made, before, names))


def moved(old: Peers, new: Peers) -> Iterator[tuple[Address, Signature, Signature]]:
    """The addresses that are other peers than before, with what they were and are."""
    for address in (*new.touched, *changed(old.here, new.here)):
        was, is_now = old.of(address), new.of(address)
        if was is not is_now and was != is_now:
            yield address, was, is_now


def _cidrs(atoms: Atoms) -> set[Atom]:
    return {atom for meaning, atom in atoms.by_meaning.items() if isinstance(meaning, CidrPeer)}


def _pods(made: Peers, names: Iterable[PeerName]) -> Mapping[PeerName, Group]:
    """The groups of pods, of which these may have another."""
    found = dict(made.pods)
    for name in names:
        pod: Pod | PeerPod | None = made.inputs.pods.get(name) or made.inputs.peers.get(name)
        if pod is None:
            found.pop(name, None)
        else:
            group = Group(pod.name.namespace, pod.labels, pod.ports, _network(name))
            if found.get(name) != group:
                found[name] = group
    return found


def _network(name: PeerName) -> ObjectName | None:
    """The further network of which it is a pod's name."""
    return name.network if isinstance(name, FurtherPod) else None


def _holders(made: Peers, old: PeerInputs, names: Iterable[PeerName]) -> Mapping[Address, tuple[PeerName, ...]]:
    """Which pods say that they have an address, whoever of them may have it."""
    found = dict(made.holders)
    for name in names:
        was, is_now = (table.get(name) for table in (old.peers, made.inputs.peers))
        for address in was.ips if was is not None else ():
            others = tuple(other for other in found.get(address, ()) if other != name)
            if others:
                found[address] = others
            else:
                found.pop(address, None)
        for address in is_now.ips if is_now is not None else ():
            found[address] = (*(other for other in found.get(address, ()) if other != name), name)
    return found


def _groups(made: Peers, before: Peers) -> Mapping[Group, Signature]:
    """What each group of pods is; what was known of a group is kept, but for atoms that came and went."""
    now, atoms = made.inputs, made.atoms
    wanted = dict.fromkeys(made.pods.values()) if made.pods is not before.pods else before.groups
    stale = set(changed(before.inputs.namespaces, now.namespaces))
    if atoms is before.atoms and not stale and wanted is before.groups:
        return before.groups
    known = before.groups
    found = {group: known[group] for group in wanted if group in known and group.namespace not in stale}
    came = set(atoms.by_meaning.values()).difference(before.atoms.by_meaning.values())
    went = frozenset(before.atoms.by_meaning.values()).difference(atoms.by_meaning.values())
    if (came or went) and found:
        index = PodIndex(came, _labels(now, {group.namespace for group in found}))
        for group, signature in found.items():
            new = index.signature(group)
            if new or not went.isdisjoint(signature):
                found[group] = (signature - went) | new
    missing = [group for group in wanted if group not in found]
    if missing:
        index = PodIndex(atoms.by_meaning.values(), _labels(now, {group.namespace for group in missing}))
        found |= {group: index.signature(group) for group in missing}
    return found


def _labels(now: PeerInputs, names: Iterable[str]) -> dict[str, dict[str, str] | None]:
    """The labels of namespaces; None of one of which nothing is known yet."""
    nothing: dict[str, str] | None = {} if now.knows_all else None
    return {name: dict(now.namespaces[name].labels) if name in now.namespaces else nothing for name in names}


def _nodes(made: Peers) -> Addresses:
    """The addresses of nodes that atoms mean."""
    atoms = [(atom, meaning) for meaning, atom in made.atoms.by_meaning.items() if isinstance(meaning, NodePeer)]
    now, found = made.inputs, dict[Address, Signature]()
    for node in now.nodes.values() if atoms else ():
        labels = dict(node.labels)
        signature = frozenset(atom for atom, peer in atoms if peer.nodes.selects(labels))
        own = now.own if node.name == now.node_name else ()
        if signature:
            found |= dict.fromkeys((*node.internal_ips, *node.external_ips, *own), signature)
    return found if found != made.nodes else made.nodes


def _touched(made: Peers, before: Peers, names: Iterable[PeerName], *, is_ranged: bool) -> set[Address]:
    """The addresses that may be other peers than before."""
    found = set(changed(before.nodes, made.nodes))
    if is_ranged:
        found |= before.elsewhere.keys()
    tables = (before.inputs.peers, made.inputs.peers)
    found |= {address for name in names for table in tables if name in table for address in table[name].ips}
    if made.groups is not before.groups:
        old, new = before.groups, made.groups
        moved_groups = {group for group in new if group in old and old[group] is not new[group]}
        pods = made.inputs.peers
        affected = (name for name, group in made.pods.items() if group in moved_groups and name in pods)
        found |= {address for name in affected for address in pods[name].ips} if moved_groups else set()
        if not new or not old:
            found |= {*made.holders, *before.holders}
    return found


def _placed(made: Peers, touched: set[Address], *, settle: bool) -> Peers:
    """With what these addresses are."""
    if not touched:
        return replace(made, touched=frozenset())
    found, leaving = dict(made.elsewhere), set(made.leaving)
    for address in touched:
        signature, was = made.nodes.get(address) or _held(made, address), found.get(address)
        leaving.discard(address)
        if signature:
            found[address] = _whole(signature, made.ranges.of(address))
        elif was is not None and not settle:
            found[address] = made.ranges.of(address)
            leaving.add(address)
        else:
            found.pop(address, None)
    return replace(made, touched=frozenset(touched), elsewhere=found, leaving=frozenset(leaving))


def _held(made: Peers, address: Address) -> Signature:
    """What the pod is that has an address."""
    name = holder(made, address)
    return made.groups[made.pods[name]] if name is not None else NOBODY


def holder(of: Peers, address: Address) -> PeerName | None:
    """The pod of another node that has an address. One that is ending may say so still when another has it already.

    What a pod's status says is the cluster's word, what is said of its further networks is its owner's, and comes last.
    """
    here, peers_now = of.inputs.pods, of.inputs.peers
    every = [name for name in of.holders.get(address, ()) if name not in here]
    holders = [name for name in every if _network(name) is None] or every
    return next((name for name in reversed(holders) if not peers_now[name].is_ending), holders[-1] if holders else None)


def _here(made: Peers, before: Peers, names: Container[PeerName | None]) -> Addresses:
    """What this node's attachments are, of which pods of these names may be others.

    But for VFs, which the node's devices do not meet: those are as pods of other nodes.
    """
    now, old, pods = made.inputs.attachments, before.inputs.attachments, made.inputs.pods
    touched: Iterable[AttachmentKey] = now
    found: dict[Address, Signature] = {}
    if made.groups is before.groups and made.ranges is before.ranges and made.changing == before.changing:
        keys = changed(old, now)
        touched = (*keys, *(key for key, one in now.items() if any(name in names for name in _names(one))))
        if not touched:
            return before.here
        gone = {address for key in keys if key in old and not old[key].is_in_pod for address in old[key].addresses}
        found = {address: one for address, one in before.here.items() if address not in gone}
    for one in (now[key] for key in touched if key in now and not now[key].is_in_pod):
        signature = NOBODY
        for group in (made.pods.get(name) for name in _names(one) if name in pods):
            signature = _whole(signature, made.groups.get(group, NOBODY) if group is not None else NOBODY)
        for address in one.addresses:
            found[address] = _whole(signature, made.ranges.of(address))
    return before.here if found == before.here else found


def _names(one: Attachment) -> tuple[PeerName, ...]:
    """As whom an attachment of the cluster's network is known: its pod, on a further network by that too."""
    if one.pod is None:
        return ()
    return (one.pod,) if one.network is None else (one.pod, FurtherPod(one.pod, one.network))


def _whole(one: Signature, other: Signature) -> Signature:
    if not one or not other:
        return one or other
    return one | other
