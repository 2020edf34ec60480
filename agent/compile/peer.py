"""Which peers each address of the cluster is: a pod's by labels, named ports and range, a node's by its labels."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from agent.compile.atom import NOBODY, Atom, Atoms, Group, PodIndex, PortPeer, Ranges, Signature
from agent.compile.changes import changed
from agent.model.address import Address
from agent.model.attachment import Attachment, AttachmentKey
from agent.model.name import ObjectName
from agent.model.node import Namespace, Node, Pod
from agent.model.policy import CidrPeer, ContainerPort, NodePeer, PeerPod, PodPeer

Addresses = Mapping[Address, Signature]


@dataclass(frozen=True, slots=True)
class PeerInputs:
    """What peers follow from; *pods* are those of this node's attachments."""

    pods: Mapping[ObjectName, Pod] = field(default_factory=dict)
    peers: Mapping[ObjectName, PeerPod] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    own: frozenset[Address] = frozenset()  # this node's addresses
    node_name: str = ""
    attachments: Mapping[AttachmentKey, Attachment] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers of one moment; addresses that no atom means are left out."""

    inputs: PeerInputs = field(default_factory=PeerInputs)
    atoms: Atoms = field(default_factory=Atoms)
    ranges: Ranges = field(default_factory=lambda: Ranges(()))
    groups: Mapping[Group, Signature] = field(default_factory=dict)
    elsewhere: Addresses = field(default_factory=dict)  # addresses of other nodes' pods, and of nodes
    here: Addresses = field(default_factory=dict)  # of this node's attachments

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


def named_ports(names: frozenset[str], inputs: PeerInputs) -> Iterator[PortPeer]:
    """The ports that any pod gives one of these names."""
    if not names:
        return
    pods: Iterable[Pod | PeerPod] = (*inputs.peers.values(), *inputs.pods.values())
    ports: set[ContainerPort] = {port for pod in pods for port in pod.ports if port.name in names}
    yield from (PortPeer(port) for port in sorted(ports, key=lambda port: (port.name, port.protocol, port.number)))


def peers(now: PeerInputs, atoms: Atoms, before: Peers) -> Peers:
    """The peers of now; tables in which nothing differs are the identical ones."""
    old = before.inputs
    is_same = now == old if now is not old else True
    if atoms is before.atoms and is_same:
        return before
    ranges = before.ranges
    if _cidrs(atoms) != _cidrs(before.atoms):
        ranges = Ranges(atoms.by_meaning.values())
    groups = _groups(now, atoms, before)
    made = replace(before, inputs=now, atoms=atoms, ranges=ranges, groups=groups)
    elsewhere = _elsewhere(made)
    here = _here(made)
    return replace(
        made,
        elsewhere=before.elsewhere if elsewhere == before.elsewhere else elsewhere,
        here=before.here if here == before.here else here,
    )


def moved(old: Peers, new: Peers) -> Iterator[tuple[Address, Signature, Signature]]:
    """The addresses that are other peers than before, with what they were and are."""
    for table, other in ((new.elsewhere, old.elsewhere), (new.here, old.here)):
        if table is other:
            continue
        for address in changed(other, table):
            was, is_now = old.of(address), new.of(address)
            if was is not is_now and was != is_now:
                yield address, was, is_now


def _cidrs(atoms: Atoms) -> set[Atom]:
    return {atom for meaning, atom in atoms.by_meaning.items() if isinstance(meaning, CidrPeer)}


def _groups(now: PeerInputs, atoms: Atoms, before: Peers) -> Mapping[Group, Signature]:
    """What each group of pods is; what was known of a group is kept, but for atoms that came and went."""
    if not needs_pods(atoms):
        return {}
    every: Iterable[Pod | PeerPod] = (*now.peers.values(), *now.pods.values())
    wanted = dict.fromkeys(map(group_of, every))
    stale = set(changed(before.inputs.namespaces, now.namespaces))
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


def group_of(pod: Pod | PeerPod) -> Group:
    """A pod's group."""
    return Group(pod.name.namespace, pod.labels, pod.ports)


def _labels(now: PeerInputs, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The labels of namespaces; one that nobody knows yet has none."""
    return {name: dict(now.namespaces[name].labels) if name in now.namespaces else {} for name in names}


def _elsewhere(made: Peers) -> dict[Address, Signature]:
    now, found = made.inputs, dict[Address, Signature]()
    if made.groups:
        # an address may still be said of a pod that is ending, and be another's already
        for pod in sorted(now.peers.values(), key=lambda pod: not pod.is_ending):
            if pod.name in now.pods or not pod.ips:
                continue
            signature = made.groups[group_of(pod)]
            for address in pod.ips:
                whole = _whole(signature, made.ranges.of(address))
                if whole:
                    found[address] = whole
    for node, signature in _nodes(made):
        addresses = (*node.internal_ips, *node.external_ips, *(now.own if node.name == now.node_name else ()))
        for address in addresses:
            found[address] = _whole(signature, made.ranges.of(address))
    return found


def _nodes(made: Peers) -> Iterator[tuple[Node, Signature]]:
    """The nodes that atoms mean."""
    atoms = [(atom, meaning) for meaning, atom in made.atoms.by_meaning.items() if isinstance(meaning, NodePeer)]
    for node in made.inputs.nodes.values() if atoms else ():
        labels = dict(node.labels)
        signature = frozenset(atom for atom, peer in atoms if peer.nodes.selects(labels))
        if signature:
            yield node, signature


def _here(made: Peers) -> dict[Address, Signature]:
    now, found = made.inputs, dict[Address, Signature]()
    for one in now.attachments.values():
        pod = now.pods.get(one.pod) if one.pod is not None else None
        signature = made.groups.get(group_of(pod), NOBODY) if pod is not None and made.groups else NOBODY
        for address in one.addresses:
            found[address] = _whole(signature, made.ranges.of(address))
    return found


def _whole(one: Signature, other: Signature) -> Signature:
    if not one or not other:
        return one or other
    return one | other
